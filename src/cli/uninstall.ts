import { parseConflist, readableConflist, withoutPlugins } from '../cni/conflist.ts'
import { Code, collectFaults, Fault } from '../core/errors.ts'
import { clusterNode, readCluster } from '../overlay/cluster_file.ts'
import { removeMeshAddresses } from '../overlay/mesh/addresses.ts'
import { removeOverlay } from '../overlay/reconcile.ts'
import type { Command, CommandContext, Options } from './command.ts'
import {
  INSTALL_OPTIONS,
  IPAM_LINK,
  type Places,
  PROGRAM,
  placesOf,
  publishConflist,
  readConf,
  report,
  withInstallLock,
} from './installation.ts'

/** Where the agent keeps what it needs for a start without the API server. */
const AGENT_DIR = '/var/lib/cni/bowline-agent'
const CLUSTER_FILE = 'cluster.json'
const AGENT_FILES = [CLUSTER_FILE, 'overlay.json', 'checksum_offload.json'] as const

/** Removes what `install` and the agent have made, and nothing else. */
export const UNINSTALL: Command = {
  summary: 'take the plugin and its configuration off this node',
  options: {
    ...INSTALL_OPTIONS,
    conf: { value: 'FILE', help: 'the list that was installed: its other plugins go too' },
    force: { help: 'even with pods attached, which then cannot be removed' },
  },
  examples: [
    ['bowline uninstall', 'on a drained node'],
    ['bowline uninstall --force', 'on a node that is thrown away'],
  ],
  run: uninstall,
}

function uninstall(options: Options, context: CommandContext): number {
  const places = placesOf(options)
  const source = options['conf']
  const types =
    source === undefined
      ? [PROGRAM]
      : parseConflist(readConf(source, context), source).plugins.map(({ type }) => type)
  if (options['force'] === undefined) assertUnused(context)
  const [{ conflist, warnings }, program, overlay] = withInstallLock(context, () => [
    removeConflist(types, places, context),
    removeProgram(places, context),
    removeNetwork(context),
  ])
  return report({ program, conflist, warnings: [...warnings, ...overlay] }, places, options, context)
}

/** Without the program no runtime can remove a pod, which would stay in the state "Terminating". */
function assertUnused({ countAttachments }: CommandContext): void {
  const count = countAttachments()
  if (count === 0) return
  throw new Fault(`pods are attached to the network of this node: ${count}`, {
    code: Code.tryLater,
    hint: 'Drain the node (kubectl drain NODE --ignore-daemonsets), or add --force.',
  })
}

/** `changed`: plugins of others stay in it. */
type Removal = 'removed' | 'absent' | 'changed'

/** Removes our part of the conflist, before the program: the runtime must not start a pod without it. */
function removeConflist(
  types: readonly string[],
  { conflist }: Places,
  { files }: CommandContext,
): { conflist: Removal; warnings: readonly string[] } {
  const text = files.readForeign(conflist)
  if (text === undefined) return { conflist: 'absent', warnings: [] }
  const list = readableConflist(text)
  if (!list)
    return { conflist: 'absent', warnings: [staying(conflist, 'is no list of plugins, and was not touched')] }
  const rest = withoutPlugins(list, types)
  if (!rest) return { conflist: files.remove(conflist) ? 'removed' : 'absent', warnings: [] }
  const others = rest.plugins.map(({ type }) => type)
  const warnings = [
    staying(
      conflist,
      `stays with plugins of others (${others.join(', ')}), which alone give pods no network`,
    ),
  ]
  if (others.length === list.plugins.length) return { conflist: 'absent', warnings }
  publishConflist(files, conflist, rest)
  return { conflist: 'changed', warnings }
}

function staying(conflist: string, why: string): string {
  return `${conflist} ${why}; if nobody needs it, run: rm ${conflist}`
}

function removeProgram({ binDir }: Places, { files }: CommandContext): Removal {
  const removed = [IPAM_LINK, PROGRAM].map((name) => files.remove(`${binDir}/${name}`))
  return removed.some(Boolean) ? 'removed' : 'absent'
}

/** Removes what the agent has made between this node and the others: links, routes, elements of sets, and what it has stored. */
function removeNetwork({ ports: { kernel }, files }: CommandContext): string[] {
  const { failures } = removeOverlay(kernel)
  const cluster = readCluster(files, `${AGENT_DIR}/${CLUSTER_FILE}`) ?? []
  const addresses = collectFaults([
    () =>
      removeMeshAddresses(
        kernel.host(),
        cluster.flatMap((node) => clusterNode(node).podCidrs),
      ),
  ])
  for (const name of AGENT_FILES) files.remove(`${AGENT_DIR}/${name}`)
  files.removeDirectory(AGENT_DIR)
  return [...failures, ...addresses].map(({ message }) => message)
}
