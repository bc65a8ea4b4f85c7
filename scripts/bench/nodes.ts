import { writeFileSync } from 'node:fs'
import { openHandle, within } from '../../src/kernel/linux/namespace.ts'
import type { PluginOutput } from '../../test/support/node/plugin.ts'
import { run } from '../../test/support/node/private_namespaces.ts'
import { createNetns, type Netns } from '../../test/support/node/sandbox.ts'
import type { Contender, Experiment } from './rounds.ts'
import { type NetworkShape, REFERENCE, type Subject } from './subjects.ts'

/** A network namespace as a machine: plugins are called in it, pods are attached to it. */
type Node = { readonly name: string; readonly enter: <T>(work: () => T) => T }

/** A network of one subject on one node. */
export type Network = {
  readonly subject: Subject
  readonly node: Node
  /** Leases and records are stored under this name. */
  readonly name: string
  readonly shape: NetworkShape
}

/** An attached pod. */
export type Added = {
  readonly pod: Netns
  readonly containerId: string
  /** The result of ADD. DEL gets it, as from a runtime. */
  readonly prevResult?: PluginOutput
}

/** A subject with two nodes of its own, joined by a veth pair: no subject meets the rules and bridges of another. */
export type Bench = {
  readonly subject: Subject
  /** The name and base of this subject as a contender. Every other subject is compared with the reference. */
  readonly contender: { readonly name: string; readonly base?: string }
  readonly nodes: readonly [Node, Node]
  /** The subject's network on the first node, or the second. */
  readonly network: (shape: NetworkShape, node?: 0 | 1) => Network
  /** Creates pods without a network. */
  readonly pods: (count: number) => Netns[]
}

export type Verb = 'ADD' | 'DEL' | 'VERSION'

/** The kernel finishes some work after a call has returned. This pause keeps it out of the next measurement. */
const SETTLE_MS = 5
/** Removed namespaces keep the kernel busy for longer. */
const REMOVAL_MS = 500
const TIMEOUT_MS = 60_000
const DATA_DIRS = '/var/lib/cni/bench'

let serial = 0

/** Returns an experiment that gives each subject nodes of its own, and removes them at the end, with pods and stores. */
export function experimentOn(
  subjects: readonly Subject[],
  { contendersOf, ...rest }: Omit<Experiment, 'prepare'> & { contendersOf: (bench: Bench) => Contender[] },
): Experiment {
  const prepare = () => {
    const names: string[] = []
    const contenders = subjects.map((subject) => createBench(subject, names)).flatMap(contendersOf)
    const remove = () => {
      run(names.map((name) => `ip netns pids ${name} | xargs -r kill -9; ip netns delete ${name}`).join('\n'))
      run('rm -rf /var/lib/cni/*')
      Bun.sleepSync(REMOVAL_MS)
    }
    return { contenders, remove }
  }
  return { ...rest, prepare }
}

function createBench(subject: Subject, names: string[]): Bench {
  const id = `bench${++serial}`
  const nodes = [createNode(`${id}-1`), createNode(`${id}-2`)] as const
  names.push(...nodes.map(({ name }) => name))
  run(`ip -n ${id}-1 link add up0 type veth peer name up0 netns ${id}-2
    ${uplink(`${id}-1`, 1, 2)}
    ${uplink(`${id}-2`, 2, 1)}`)
  const { name } = subject
  return {
    subject,
    contender: name === REFERENCE ? { name } : { name, base: REFERENCE },
    nodes,
    network: (shape, node = 0) => ({ subject, node: nodes[node], shape, name: nodes[node].name }),
    pods: (count) => {
      const pods = Array.from({ length: count }, () => createNetns(`${id}-pod${names.length}-${++serial}`))
      names.push(...pods.map((pod) => pod.name))
      return pods
    },
  }
}

function createNode(name: string): Node {
  const handle = openHandle(createNetns(name).path)
  const enter = <T>(work: () => T) => within(handle, work)
  // Kubernetes nodes forward; some plugins leave it to their agent.
  for (const key of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'])
    enter(() => writeFileSync(`/proc/sys/net/${key}`, '1'))
  return { name, enter }
}

function uplink(node: string, own: number, other: number): string {
  return `ip -n ${node} address add 192.0.2.${own}/24 dev up0
    ip -n ${node} -6 address add 2001:db8::${own}/64 dev up0 nodad
    ip -n ${node} link set up0 up
    ip -n ${node} route add default via 192.0.2.${other}
    ip -n ${node} -6 route add default via 2001:db8::${other}`
}

/** Returns a container with a new id. */
export function unattached(pod: Netns): Added {
  return { pod, containerId: (++serial).toString(16).padStart(64, 'c') }
}

/** Attaches a pod. Returns the time that it took. */
export function addPod(network: Network, pod: Netns): { readonly ms: number; readonly added: Added } {
  const added = unattached(pod)
  const { ms, output } = call(network, 'ADD', added)
  return { ms, added: { ...added, prevResult: output } }
}

/** Calls the plugin on its node and waits for its end. Throws an error with its answer if it fails. */
export function call(
  network: Network,
  verb: Verb,
  pod?: Added,
): { readonly ms: number; readonly output: PluginOutput } {
  const { command, env, input } = commandOf(network, verb, pod)
  Bun.sleepSync(SETTLE_MS)
  const started = Bun.nanoseconds()
  const { exitCode, stdout, stderr } = network.node.enter(() =>
    Bun.spawnSync(command, { env, stdin: input, stdout: 'pipe', stderr: 'pipe', timeout: TIMEOUT_MS }),
  )
  const ms = (Bun.nanoseconds() - started) / 1e6
  return { ms, output: outputOf(network, verb, { exitCode, text: `${stdout}`, errors: `${stderr}` }) }
}

/** Returns the command, environment and input of a call, as from a runtime. */
export function commandOf({ subject, name, shape }: Network, verb: Verb, pod?: Added) {
  const config = {
    cniVersion: '1.0.0',
    name,
    ...subject.configOf(shape, `${DATA_DIRS}/${name}`),
    ...(pod?.prevResult && { prevResult: pod.prevResult }),
  }
  const env = {
    PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin',
    CNI_COMMAND: verb,
    CNI_CONTAINERID: pod?.containerId ?? '',
    CNI_NETNS: pod?.pod.path ?? '',
    CNI_IFNAME: 'eth0',
    CNI_ARGS: '',
    CNI_PATH: subject.cniPath,
  }
  return { command: [subject.programs[0]], env, input: new TextEncoder().encode(JSON.stringify(config)) }
}

/** Returns the result of a call. Throws if it failed: a failed call would count as a fast one. */
export function outputOf(
  { subject, name }: Network,
  verb: Verb,
  { exitCode, text, errors = '' }: { exitCode: number | null; text: string; errors?: string },
): PluginOutput {
  if (exitCode === 0) return JSON.parse(text.trim() || '{}') as PluginOutput
  throw new Error(
    `${subject.name}: ${verb} on network ${name} failed with exit code ${exitCode}: ${text} ${errors}`,
  )
}

/** Returns the directory of a network's leases. */
export function leaseDirOf({ name }: Network): string {
  return `${DATA_DIRS}/${name}/${name}`
}
