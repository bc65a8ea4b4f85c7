import { ownerOfAlias } from '../attachment/alias.ts'
import type { AttachmentId } from '../core/names.ts'
import { deriveNames } from '../core/names.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { isConfirmed, YES_OPTION } from './confirm.ts'
import { isJudgeable, judgeable } from './in_container.ts'
import { PLACE_OPTIONS, placesOf } from './installation.ts'
import { type NetworkFile, readNetworks } from './networks.ts'
import { type NodeView, podName, stale, viewNode, whyStale } from './node_view.ts'
import { counted, painter } from './screen.ts'

export const GC: Command = {
  summary: 'remove what pods have left that are gone',
  options: { ...YES_OPTION, ...PLACE_OPTIONS },
  examples: [
    ['bowline gc', 'shows what it would remove, and asks'],
    ['bowline gc --yes', 'removes it'],
  ],
  run: gc,
}

type Leftover = { readonly network: string; readonly what: string; readonly reason: string }

function gc(options: Options, context: CommandContext): number {
  const places = placesOf(options)
  const view = judgeable(viewNode(context), context)
  const found = leftovers(view, context)
  const isJson = options['json'] !== undefined
  const paint = painter(context)
  const { print, warn } = context
  if (!isJson) {
    const lines = found.map(
      ({ network, what, reason }) => `${paint('yellow', '-')} ${what} on ${network}: ${reason}`,
    )
    print(
      found.length > 0 ? lines.join('\n') : `${paint('green', '✓')} nothing is left of pods that are gone`,
    )
    if (found.length === 0) return 0
  }
  const isWanted = found.length > 0 && isConfirmed(options, context)
  const errors = isWanted
    ? collect(view, found, readNetworks(places.confDir, context.files), places.binDir, context)
    : []
  const isDone = isWanted && errors.length === 0
  if (isJson) print(JSON.stringify({ found, removed: isDone, errors }))
  else {
    for (const error of errors) warn(`bowline: ${error}`)
    if (isDone) print(`${paint('green', '✓')} ${counted(found.length, 'leftover')} removed`)
  }
  return found.length > 0 && !isDone ? 1 : 0
}

function leftovers(view: NodeView, { files }: CommandContext): Leftover[] {
  return [
    ...stale(view).map(({ record, link, stale: reason = '' }) => ({
      network: record.network,
      what: [
        `${podName(files, record)} ${record.ifName}`,
        ...(link ? [link.name] : []),
        ...(record.leases?.addresses ?? []),
      ].join(', '),
      reason,
    })),
    ...view.damaged.map((place) => {
      const [network = '', key = ''] = place.split('/')
      return { network, what: `record ${key}`, reason: 'it cannot be read' }
    }),
  ]
}

/** Calls GC of the plugin for each network, with all as valid that may be of a pod that lives. Returns the errors. */
function collect(
  view: NodeView,
  found: readonly Leftover[],
  networks: readonly NetworkFile[],
  binDir: string,
  context: CommandContext,
): string[] {
  return [...new Set(found.map(({ network }) => network))].flatMap((name) => {
    const { config, text = JSON.stringify({ name, type: 'bowline' }) } =
      networks.find((one) => one.name === name && one.config) ?? {}
    const valid = validOn(name, config?.ipam?.dataDir, view, context).map(({ containerId, ifName }) => ({
      containerID: containerId,
      ifname: ifName,
    }))
    const call = { ...(JSON.parse(text) as object), cniVersion: '1.1.0', 'cni.dev/valid-attachments': valid }
    const { exitCode, stdout } = context.callPlugin({
      command: 'GC',
      config: JSON.stringify(call),
      cniPath: binDir,
      // An attachment that was added, or added again, since the view was taken is not in it.
      mayRemove: (record) => whyStale(context.ports, record) !== undefined && isJudgeable(record, context),
    })
    return exitCode === 0 ? [] : [(JSON.parse(stdout) as { msg: string }).msg]
  })
}

/** Links and leases without a record may be of a pod that lives: host-local's, or of a store that was lost. */
function validOn(
  network: string,
  dataDir: string | undefined,
  view: NodeView,
  { ports }: CommandContext,
): AttachmentId[] {
  const records = view.attachments.filter(({ record }) => record.network === network)
  const keys = new Set([
    ...records.map(({ record }) => deriveNames(record).key),
    ...view.damaged.map((place) => place.split('/')[1]),
  ])
  const isUnrecorded = (id: AttachmentId): boolean => !keys.has(deriveNames(id).key)
  const owners = ports.pools.view(network, dataDir).owners()
  return [
    ...records.filter((one) => !one.stale).map(({ record }) => record),
    ...view.links
      .flatMap(({ alias }) => ownerOfAlias(alias) ?? [])
      .filter((id) => id.network === network && isUnrecorded(id)),
    ...owners
      .map(({ containerId, ifName = 'eth0' }) => ({ network, containerId, ifName }))
      .filter(isUnrecorded),
  ]
}
