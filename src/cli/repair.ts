import type { NetworkConfig } from '../cni/config.ts'
import { Fault } from '../core/errors.ts'
import { driftOf, specOfRecord } from '../plugin/drift.ts'
import { apply } from '../state/apply.ts'
import type { Difference } from '../state/explain.ts'
import type { Command, CommandContext, Options } from './command.ts'
import { isConfirmed, YES_OPTION } from './confirm.ts'
import { CONF_DIR_OPTION, confDirOf } from './installation.ts'
import { readNetworks } from './networks.ts'
import { type AttachmentView, podName, viewNode } from './node_view.ts'
import { type Case, isDoable, planText, scriptOf } from './repair_plan.ts'
import { counted, painter, progress } from './screen.ts'

/** A repair may show what else is missing: a bridge without its address, say. */
const MAX_ROUNDS = 6
/** Every change names its links by their present index: nothing is known of links that are to be created. */
const NOTHING_KNOWN = { places: new Map(), nft: new Map() }

export const REPAIR: Command = {
  summary: 'make again what is missing of the networks and pods of this node',
  options: {
    ...YES_OPTION,
    commands: { help: 'print the commands as a shell script, and do nothing' },
    ...CONF_DIR_OPTION,
  },
  examples: [
    ['bowline repair', 'shows what is wrong, and asks'],
    ['bowline repair --yes', 'makes it again'],
    ['bowline repair --commands | sh -e', 'the same by ip, nft and sysctl'],
  ],
  run: repair,
}

function repair(options: Options, context: CommandContext): number {
  const cases = examine(options, context)
  const broken = cases.filter(({ found }) => found.length > 0)
  const unjudged = cases.filter(({ unknown }) => unknown !== undefined)
  const isJson = options['json'] !== undefined
  const { print, warn } = context
  if (!isJson && options['commands'] !== undefined) {
    for (const line of scriptOf(broken)) print(line)
    return broken.length > 0 ? 1 : 0
  }
  if (!isJson) {
    print(planText(broken, unjudged, cases.length, painter(context)))
    if (broken.length === 0) return 0
  }
  const isWanted =
    broken.length > 0 && broken.some(({ found }) => found.some(isDoable)) && isConfirmed(options, context)
  const faults: string[] = []
  if (isWanted) for (const one of broken) faults.push(...mend(one, context))
  const left = isWanted ? examine(options, context).filter(({ found }) => found.length > 0) : broken
  if (isJson) {
    const plain = (some: readonly Case[]) =>
      some.map(({ record, pod, found }) => ({
        network: record.network,
        pod,
        ifName: record.ifName,
        found: found.map(plainDifference),
      }))
    print(
      JSON.stringify({
        repaired: isWanted,
        found: plain(broken),
        left: plain(left),
        unjudged: unjudged.map(({ pod, record: { network, ifName }, unknown: reason }) => ({
          network,
          pod,
          ifName,
          reason,
        })),
        errors: faults,
      }),
    )
  } else {
    for (const fault of faults) warn(`bowline: ${fault}`)
    if (isWanted && left.length === 0)
      print(`${painter(context)('green', '✓')} ${counted(broken.length, 'attachment')} repaired`)
    else if (isWanted) print(planText(left, [], left.length, painter(context)))
  }
  return left.length > 0 ? 1 : 0
}

/** Looks at every attachment of this boot whose pod is there. What several pods share is named with the first. */
function examine(options: Options, context: CommandContext): Case[] {
  const networks = readNetworks(confDirOf(options), context.files)
  const live = viewNode(context).attachments.filter(({ record, stale }) => !stale && record.mode)
  const shown = progress(context, 'Looking at pods', live.length)
  const known = new Set<string>()
  const cases = live.map((view, i): Case => {
    shown.step(i)
    const { record } = view
    const pod = podName(context.files, record)
    const config = networks.find(({ name, config }) => config && name === record.network)?.config
    if (!config)
      return {
        record,
        pod,
        found: [],
        unknown: `no conflist of network ${record.network} is in ${confDirOf(options)}`,
      }
    const found = judge(view, config, context)
    if (typeof found === 'string') return { record, pod, found: [], unknown: found }
    const fresh = found.filter((one) => !known.has(keyOf(one)))
    for (const one of found) known.add(keyOf(one))
    return { record, pod, config, found: fresh }
  })
  shown.end()
  return cases
}

function judge(
  { record }: AttachmentView,
  config: NetworkConfig,
  { ports }: CommandContext,
): Difference[] | string {
  try {
    if (!record.complete) return 'its ADD was not completed'
    const judged = specOfRecord(record, config, ports)
    if ('unknown' in judged) return judged.unknown
    if (!record.netns) return 'its namespace is not recorded'
    const netns = ports.kernel.openNetns(record.netns.path)
    try {
      return driftOf(record, judged.spec, netns, record.netns.path, ports)
    } finally {
      netns.close()
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return error.message
  }
}

/** Applies what the engine can do, then looks again, until nothing new is found. Returns what was refused. */
function mend({ record, config }: Case, { ports }: CommandContext): string[] {
  if (!config || !record.netns) return []
  const { path } = record.netns
  const netns = ports.kernel.openNetns(path)
  try {
    const isBusy = !ports.locks.whenIdle(record, () => {
      let before = ''
      for (let round = 0; round < MAX_ROUNDS; round++) {
        const judged = specOfRecord(record, config, ports)
        const drift = 'spec' in judged ? driftOf(record, judged.spec, netns, path, ports) : []
        const found = drift.filter(isDoable)
        const now = found.map(keyOf).join()
        if (found.length === 0 || now === before) break
        before = now
        apply(ports.kernel, upToNewLink(found), NOTHING_KNOWN)
      }
      return true
    })
    return isBusy ? [`${record.containerId}: a call of the plugin works on it; try again`] : []
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    return [error.message]
  } finally {
    netns.close()
  }
}

/** The index of a new link is known only when it is there. */
function upToNewLink(found: readonly Difference[]): readonly Difference[] {
  const isNew = ({ steps }: Difference): boolean =>
    steps.some(({ action }) => action && 'change' in action && /^create/.test(action.change.op))
  const at = found.findIndex(isNew)
  return at < 0 ? found : found.slice(0, at + 1)
}

function keyOf({ what, steps }: Difference): string {
  return [what, ...steps.map(({ command }) => command)].join('\n')
}

function plainDifference(one: Difference) {
  return { what: one.what, commands: one.steps.map(({ command }) => command), automatic: isDoable(one) }
}
