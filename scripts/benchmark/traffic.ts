import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openHandle, within } from '../../src/kernel/linux/namespace.ts'
import { run } from '../../test/support/private_namespaces.ts'
import type { Netns } from '../../test/support/sandbox.ts'
import { type Bench, createBenches } from './benches.ts'
import type { Contender, Experiment, Unit } from './experiment.ts'
import type { NetworkShape, Subject } from './networks.ts'
import { addPod } from './plugin_calls.ts'
import { kill, type Program, type Running, runProgram, startProgram } from './processes.ts'

const TOOL = join(import.meta.dirname, 'traffic_tool.ts')
const PORT = 5001
/** Two hosts have two subnets, and a route each to that of the other. */
const SUBNETS = ['10.20.1.0/24', '10.20.2.0/24'] as const

/** What two pods can do to each other, and how the tool's number becomes ours. */
const LOADS: readonly { metric: string; command: string; unit: Unit; scale: number }[] = [
  { metric: 'round trips', command: 'exchange', unit: 'per second', scale: 1 },
  { metric: 'one stream', command: 'stream', unit: 'Gbit/s', scale: 8e-9 },
]
const PLACES = ['pods of one node', 'pods of two hosts'] as const

export type TrafficOptions = {
  readonly rounds: number
  readonly seconds: number
  /**
   * Whether both ends stay on one processor: then a round trip takes as long as the kernel's work for it. Where the
   * scheduler chooses, it puts them on one or on two, and that alone is a factor of two or three.
   */
  readonly isPinned: boolean
}

/** TCP between two pods: a byte each way, and one stream; on one node, and across two. */
export function trafficExperiments(subjects: readonly Subject[], options: TrafficOptions): Experiment[] {
  return PLACES.flatMap((title) =>
    LOADS.map(
      ({ unit, ...load }): Experiment => ({
        title,
        unit,
        rounds: options.rounds,
        warmUps: 1,
        secondsPerRound: subjects.length * (options.seconds + 0.2),
        prepare: () => {
          const { benches, remove } = createBenches(subjects)
          const pairs = benches.map((bench) => trafficContender(bench, title, load, options))
          return {
            contenders: pairs.map(({ contender }) => contender),
            remove: () => {
              for (const { server } of pairs) kill(server)
              remove()
            },
          }
        },
      }),
    ),
  )
}

function trafficContender(
  bench: Bench,
  place: (typeof PLACES)[number],
  { metric, command, scale }: Omit<(typeof LOADS)[number], 'unit'>,
  { seconds, isPinned }: TrafficOptions,
): { readonly contender: Contender; readonly server: Running } {
  const { near, far, address } = place === 'pods of one node' ? onOneNode(bench) : onTwoHosts(bench)
  const cpu = isPinned ? lastProcessor() : 'any'
  const server = enter(far, () => startProgram(tool(cpu, 'serve', `${PORT}`)))
  const client = tool(cpu, command, address, `${PORT}`, `${seconds}`)
  const measure = () => {
    const { exitCode, stdout, stderr } = enter(near, () => runProgram(client))
    if (exitCode === 0) return { [metric]: { value: Number(stdout) * scale } }
    throw new Error(`${bench.subject.name}: no traffic to ${address}: ${stderr.trim()}`)
  }
  return { contender: { ...bench.contender, measure }, server }
}

/** The first one has most of the machine's interrupts. */
function lastProcessor(): string {
  const allowed = /^Cpus_allowed_list:.*?(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))
  return allowed?.[1] ?? 'any'
}

/** Two pods that can talk, and the address of the far one. */
type Pair = { readonly near: Netns; readonly far: Netns; readonly address: string }

function onOneNode(bench: Bench): Pair {
  const [near, far] = bench.pods(2)
  if (!near || !far) throw new Error('no pods')
  const network = bench.network(shapeOf(SUBNETS[0]))
  addPod(network, near)
  return { near, far, address: addressOf(addPod(network, far)) }
}

function onTwoHosts(bench: Bench): Pair {
  const [near, far] = bench.pods(2)
  if (!near || !far) throw new Error('no pods')
  const { node, other } = bench
  addPod(bench.network(shapeOf(SUBNETS[0]), node), near)
  const added = addPod(bench.network(shapeOf(SUBNETS[1]), other), far)
  run(`ip -n ${node.name} route add ${SUBNETS[1]} via ${other.address}
    ip -n ${other.name} route add ${SUBNETS[0]} via ${node.address}`)
  return { near, far, address: addressOf(added) }
}

/** As shipped. */
function shapeOf(subnet4: string): NetworkShape {
  return { masquerade: true, subnet4 }
}

function addressOf({ added }: ReturnType<typeof addPod>): string {
  return added.prevResult.ips?.[0]?.address.replace(/\/.*/, '') ?? ''
}

function tool(cpu: string, ...args: string[]): Program {
  return { path: process.execPath, args: [TOOL, cpu, ...args], env: {} }
}

function enter<T>({ path }: Netns, work: () => T): T {
  return within(openHandle(path), work)
}
