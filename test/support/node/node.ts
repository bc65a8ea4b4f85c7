import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type PluginAnswer, type PluginCall, runPlugin } from './plugin.ts'
import { run } from './private_namespaces.ts'
import {
  clearNode,
  createNetns,
  filesBelow,
  type LinkJson,
  links,
  type Netns,
  parseRuleset,
  type Residue,
  residueOf,
} from './sandbox.ts'
import { NodeShell } from './shell.ts'

/** Settings of the whole node that an ADD may turn on. */
export const FORWARDING = ['/proc/sys/net/ipv4/ip_forward', '/proc/sys/net/ipv6/conf/all/forwarding']

/** What a plugin is called with on a node; the pod's namespace is given by its number. */
export type NodeCall = Omit<PluginCall, 'inside' | 'netns'> & {
  readonly pod?: number
  readonly netns?: string
}

/** One of several nodes of a test file, with a network, a /var/lib and pods of its own. */
export type TestNode = {
  readonly network: Netns
  /** What the node sees as /var/lib is here below /var/lib. */
  readonly root: string
  readonly pods: readonly Netns[]
  /** The call as the plugin has to be started with it on this node. */
  place(call: NodeCall): PluginCall
  call(call: NodeCall): Promise<PluginAnswer>
  /** The path of the record of a container, and what is in it. */
  record(containerId: string): { readonly path: string; readonly record: RecordJson } | undefined
  /** All of ours that is on the node. */
  left(): Promise<Residue>
  /** What is in the pods besides `lo`, such as `node0-pod1 eth0`. */
  inPods(): Promise<string[]>
  /** The values of FORWARDING, a line each. */
  forwarding(): Promise<string>
  /** Saves the store as it is now, for `renew`. */
  keepStore(): void
  /**
   * Puts back the store that was kept, or an empty one; with it goes a bridge without a pod. Forwarding is switched off
   * again, unless a pod that stays needs it.
   */
  renew(options?: Renewal): Promise<void>
  /** Makes it the node that it was at first: without bridges, forwarding and any trace in the store. */
  clear(): Promise<void>
}

export type Renewal = { readonly bridge?: string | undefined; readonly keepForwarding?: boolean }

export type RecordJson = {
  readonly complete: boolean
  readonly containerId: string
  readonly leases?: { readonly addresses: readonly string[] }
}

/** Makes a node in a sandbox that was entered. Its pods `NAME-pod0`, `NAME-pod1` … are empty namespaces. */
export async function createNode(name: string, podCount = 1): Promise<TestNode> {
  const pods = Array.from({ length: podCount }, (_, i) => createNetns(`${name}-pod${i}`))
  const network = createNetns(name)
  const root = `/run/nodes/${name}`
  run(`mkdir -p ${root}/var/lib/cni`)
  // The pods must be there before, as mounts that are made later do not show in it. (To mount the namespace itself on a file
  // fails at times on Linux 6.18: it compares numbers of namespaces that do not rise with time any more.)
  const shell = new NodeShell(network)
  await shell.run(`mount --bind ${root}/var/lib /var/lib`)
  const inside = ['nsenter', `--net=${network.path}`, `--mount=/proc/${shell.pid}/ns/mnt`, '--']
  const place = ({ pod, ...call }: NodeCall): PluginCall => ({
    ...call,
    inside,
    ...(pod !== undefined && { netns: pods[pod]?.path ?? '' }),
  })
  return {
    network,
    root,
    pods,
    place,
    call: (call) => runPlugin(place(call)),
    record: (containerId) => findRecord(`${root}/var/lib/cni/bowline`, containerId),
    async left() {
      const seen = await shell.run('ip -j -d address\nnft -j list ruleset')
      const [links = '[]', ruleset = ''] = seen.split('\n')
      return residueOf(
        JSON.parse(links) as LinkJson[],
        parseRuleset(ruleset),
        filesBelow(`${root}/var/lib/cni`),
      )
    },
    inPods: () => linksIn(pods),
    forwarding: () => shell.run(`cat ${FORWARDING.join(' ')}`),
    keepStore: () => void run(`cp -a ${root}/var/lib/cni/. ${root}/kept`),
    renew: (options) => renew(shell, root, options),
    async clear() {
      run(`rm -rf ${root}/kept; mkdir ${root}/kept`)
      await clearNode({ netns: network, root })
      await renew(shell, root)
    },
  }
}

/** Does `work` for every item, with as many at a time as there are workers, such as nodes. The first error ends it. */
export async function onEach<W, T>(
  workers: readonly W[],
  items: readonly T[],
  work: (worker: W, item: T) => Promise<void>,
): Promise<void> {
  const queue = items.values()
  const outcomes = await Promise.allSettled(
    workers.map(async (worker) => {
      for (const item of queue) {
        await work(worker, item).catch((error: unknown) => {
          // Nobody begins another item; what is under way ends before the test does.
          for (const _ of queue);
          throw error
        })
      }
    }),
  )
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}

function findRecord(directory: string, containerId: string) {
  return filesBelow(directory)
    .filter((name) => /\/[0-9a-f]{32}$/.test(name))
    .map((name) => `${directory}/${name}`)
    .map((path) => ({ path, record: JSON.parse(readFileSync(path, 'utf8')) as RecordJson }))
    .find(({ record }) => record.containerId === containerId)
}

async function linksIn(pods: readonly Netns[]): Promise<string[]> {
  const found = await Promise.all(
    pods.map(async (pod) => (await links(pod)).map(({ ifname }) => `${pod.name} ${ifname}`)),
  )
  return found.flat().filter((text) => !text.endsWith(' lo'))
}

async function renew(
  shell: NodeShell,
  root: string,
  { bridge, keepForwarding }: Renewal = {},
): Promise<void> {
  const [store, kept] = [`${root}/var/lib/cni`, `${root}/kept`]
  rmSync(store, { recursive: true })
  if (readdirSync(kept).length === 0) mkdirSync(store)
  const commands = [
    ...(existsSync(store) ? [] : [`cp -a ${kept} ${store}`]),
    ...(bridge ? [`ip link delete ${bridge} 2>/dev/null || true`] : []),
    // To write the value that is there costs as much as a change.
    ...(keepForwarding
      ? []
      : FORWARDING.map((path) => `read -r is < ${path} || :; [ "$is" = 0 ] || echo 0 > ${path}`)),
  ]
  if (commands.length > 0) await shell.run(commands.join('\n'))
}
