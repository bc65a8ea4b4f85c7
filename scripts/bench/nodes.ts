import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type NamespaceHandle, openHandle, within } from '../../src/kernel/linux/namespace.ts'
import { environmentOf, inputOf, type PluginCall, type PluginOutput } from '../../test/support/node/plugin.ts'
import { run } from '../../test/support/node/private_namespaces.ts'
import { createNetns, type Netns } from '../../test/support/node/sandbox.ts'

/** Our plugin, in both modes, and the reference plugins. */
export const PLUGINS = '/run/bench-plugins'
/** Deletes a link, and does nothing else. */
export const DELETE_LINK = '/run/bench-delete-link'
const DATA_DIR = '/var/lib/cni/bench'

/** A plugin in one of its modes. */
export type Subject = { readonly name: string; readonly directory: string; readonly keys: PluginKeys }
type PluginKeys = Readonly<Record<string, unknown>> & { readonly type: string }

/** The subject that the ratios are to. */
export const REFERENCE = 'reference'
const BRIDGE = { bridge: 'cni0', isGateway: true }

/** Returns the reference, ours in both modes, and the given plugins, which get the configuration of the reference. */
export function subjectsOf(others: readonly { directory: string; type: string }[]): Subject[] {
  return [
    { name: REFERENCE, directory: PLUGINS, keys: { type: 'bridge', ...BRIDGE } },
    { name: 'l3', directory: PLUGINS, keys: { type: 'bowline', mode: 'l3' } },
    { name: 'l2', directory: PLUGINS, keys: { type: 'bowline', mode: 'l2', ...BRIDGE } },
    ...others.map(({ directory, type }) => ({ name: type, directory, keys: { type, ...BRIDGE } })),
  ]
}

/** What a network gives its pods, whichever plugin makes it. */
export type Network = {
  readonly subnets: readonly string[]
  readonly ipMasq?: boolean
  readonly runtimeConfig?: object
  /** Keys that only our plugin has. */
  readonly ours?: object
  /** The reference plugins that do the rest of it behind a plugin that is not ours. */
  readonly chained?: readonly PluginKeys[]
}

/** The programs of a subject, with the IPAM plugin that it starts. */
export const programsOf = ({ directory, keys: { type } }: Subject): string[] =>
  type === 'bowline' ? [join(directory, type)] : [join(directory, type), join(PLUGINS, 'host-local')]

/** A network on a node. */
export type Place = {
  readonly node: NamespaceHandle
  /** Leases and records are stored under this name. */
  readonly name: string
  readonly plugins: readonly [Plugin, ...Plugin[]]
}
type Plugin = { readonly program: string; readonly config: object }

/** A container in a pod, and the result of its last ADD. */
export type Container = { readonly id: string; readonly pod: Netns; readonly prevResult?: PluginOutput }

/** A subject with two nodes of its own, joined by a veth pair: no subject meets the rules and bridges of another. */
export type Bench = {
  readonly subject: Subject
  readonly nodes: readonly [string, string]
  readonly place: (network: Network, options?: { node?: 0 | 1; name?: string }) => Place
  /** Creates pods without a network. */
  readonly pods: (count: number) => Netns[]
  readonly remove: () => void
}

/** The kernel finishes some work after a call has returned. This pause keeps it out of the next measurement. */
const SETTLE_MS = 5
let serial = 0

export function createBench(subject: Subject): Bench {
  const nodes = [`bench${++serial}-1`, `bench${serial}-2`] as const
  const namespaces = nodes.map(createNetns)
  // Kubernetes nodes forward; some plugins leave it to their agent.
  const handles = namespaces.map(({ path }) => openHandle(path)) as [NamespaceHandle, NamespaceHandle]
  for (const key of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'])
    for (const handle of handles) within(handle, () => writeFileSync(`/proc/sys/net/${key}`, '1'))
  run(`ip -n ${nodes[0]} link add up0 type veth peer name up0 netns ${nodes[1]}`)
  for (const [i, node] of nodes.entries())
    run(`ip -n ${node} address add 192.0.2.${i + 1}/24 dev up0
      ip -n ${node} address add 2001:db8::${i + 1}/64 dev up0 nodad; ip -n ${node} link set up0 up
      ip -n ${node} route add default via 192.0.2.${2 - i}; ip -n ${node} route add default via 2001:db8::${2 - i}`)
  return {
    subject,
    nodes,
    place: (network, { node = 0, name = nodes[node] } = {}) => ({
      node: handles[node],
      name,
      plugins: pluginsOf(subject, network, name),
    }),
    pods: (count) => {
      const pods = Array.from({ length: count }, () => createNetns(`${nodes[0]}-pod${++serial}`))
      namespaces.push(...pods)
      return pods
    },
    remove: () => {
      for (const { name } of namespaces)
        run(`ip netns pids ${name} | xargs -r kill -9; ip netns delete ${name}`)
      run('rm -rf /var/lib/cni/*')
    },
  }
}

function pluginsOf({ directory, keys }: Subject, network: Network, name: string): Place['plugins'] {
  const { subnets, ipMasq = false, runtimeConfig, ours = {}, chained = [] } = network
  const isOurs = keys.type === 'bowline'
  const ipam = {
    type: isOurs ? 'bowline-ipam' : 'host-local',
    dataDir: `${DATA_DIR}/${name}`,
    ranges: subnets.map((subnet) => [{ subnet }]),
    routes: subnets.map((subnet) => ({ dst: subnet.includes(':') ? '::/0' : '0.0.0.0/0' })),
  }
  const plugin = (program: string, more: object): Plugin => ({
    program,
    config: { cniVersion: '1.0.0', name, ...more, ...(runtimeConfig && { runtimeConfig }) },
  })
  const others = isOurs ? [] : chained.map((more) => plugin(join(PLUGINS, more.type), more))
  return [plugin(join(directory, keys.type), { ...keys, ipMasq, ipam, ...(isOurs && ours) }), ...others]
}

/** The directory of a network's leases. */
export const leaseDirOf = ({ name }: Place): string => `${DATA_DIR}/${name}/${name}`

/** Returns a container with a new id. */
export const containerIn = (pod: Netns): Container => ({ id: `${++serial}`.padStart(64, 'c'), pod })

type Command = 'ADD' | 'DEL' | 'VERSION'

/** Calls the plugins of a network in turn. Returns the time of their processes, and the container with its result. */
export function call(
  place: Place,
  command: Command,
  container: Container,
): { ms: number; container: Container } {
  let [ms, prevResult] = [0, container.prevResult]
  for (const plugin of command === 'DEL' ? place.plugins.toReversed() : place.plugins) {
    const request = requestOf(plugin, command, { ...container, ...(prevResult && { prevResult }) })
    const [env, stdin] = [environmentOf(request), inputOf(request)]
    const { ms: taken, exitCode, stdout, stderr } = timed(place, [request.program], { env, stdin })
    ms += taken
    const output = outputOf(request, exitCode, `${stdout}`, `${stderr}`)
    if (command === 'ADD') prevResult = output
  }
  return { ms, container: { ...container, ...(prevResult && { prevResult }) } }
}

/** Runs a program on the node of a network, and takes the time of its process. */
export function timed(
  { node }: Place,
  command: readonly string[],
  given: { env?: Record<string, string>; stdin?: Uint8Array<ArrayBuffer> } = {},
) {
  Bun.sleepSync(SETTLE_MS)
  const started = Bun.nanoseconds()
  const { exitCode, stdout, stderr } = within(node, () =>
    Bun.spawnSync([...command], { ...given, stdout: 'pipe', stderr: 'pipe', timeout: 60_000 }),
  )
  return { ms: (Bun.nanoseconds() - started) / 1e6, exitCode, stdout, stderr }
}

/** Returns the call of a plugin, as from a runtime. */
export function requestOf({ program, config }: Plugin, command: Command, container: Container) {
  const { id: containerId, pod, prevResult } = container
  const cniPath = `${program.replace(/\/[^/]*$/, '')}:${PLUGINS}`
  return {
    command,
    program,
    config: { ...config, prevResult },
    containerId,
    netns: pod.path,
    cniPath,
  } satisfies PluginCall
}

/** Returns the result of a call. Throws if it failed: a failed call would count as a fast one. */
export function outputOf(
  { command, program }: PluginCall,
  exitCode: number | null | undefined,
  stdout: string,
  stderr: string,
): PluginOutput {
  if (exitCode === 0) return JSON.parse(stdout || '{}') as PluginOutput
  throw new Error(`${command} of ${program} failed with exit code ${exitCode}: ${stdout} ${stderr}`)
}
