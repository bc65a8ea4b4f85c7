import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { openHandle, within } from '../../src/kernel/linux/namespace.ts'
import { run } from '../../test/support/node/private_namespaces.ts'
import type { Netns } from '../../test/support/node/sandbox.ts'
import { addPod, type Bench, experimentOn } from './nodes.ts'
import type { Contender, Experiment, Unit } from './rounds.ts'
import type { Subject } from './subjects.ts'

const TOOL = join(import.meta.dirname, 'traffic_tool.ts')
/** Each of two hosts has a subnet, and a route to that of the other. */
const SUBNETS = ['10.20.1.0/24', '10.20.2.0/24'] as const
const PLACES = ['pods of one node', 'pods of two hosts'] as const
/** The kinds of traffic, and the factor from the tool's number to ours. */
const LOADS: readonly { metric: string; command: string; unit: Unit; scale: number }[] = [
  { metric: 'round trips', command: 'exchange', unit: 'per second', scale: 1 },
  { metric: 'one stream', command: 'stream', unit: 'Gbit/s', scale: 8e-9 },
]
/**
 * Both ends stay on one processor, the last: then a round trip takes as long as the kernel's work for it. Where the
 * scheduler chooses, it puts them on one or on two, and that alone is a factor of two or three.
 */
const PROCESSOR = /^Cpus_allowed_list:.*?(\d+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0'

/** Measures TCP between two pods: a byte each way, and one stream; on one node, and across two. */
export function trafficExperiments(
  subjects: readonly Subject[],
  rounds: number,
  seconds: number,
): Experiment[] {
  return PLACES.flatMap((title) =>
    LOADS.map((load) =>
      experimentOn(subjects, {
        title,
        unit: load.unit,
        rounds,
        warmUps: 1,
        contendersOf: (bench) => [trafficContender(bench, title, load, seconds)],
      }),
    ),
  )
}

function trafficContender(
  bench: Bench,
  place: (typeof PLACES)[number],
  { metric, command, scale }: (typeof LOADS)[number],
  seconds: number,
): Contender {
  const { near, far, address } = attachPair(bench, place === 'pods of one node' ? 0 : 1)
  // The process ends with its namespace.
  inside(far, () => Bun.spawn(toolCommand('serve'))).unref()
  const measure = () => {
    const { exitCode, stdout, stderr } = inside(near, () =>
      Bun.spawnSync(toolCommand(command, address, `${seconds}`)),
    )
    if (exitCode === 0) return { [metric]: Number(stdout) * scale }
    throw new Error(`${bench.subject.name}: no traffic to ${address}: ${stderr}`)
  }
  return { ...bench.contender, measure }
}

/** Attaches two pods to networks of the shipped kind, the far one to the given node. Returns its address as well. */
function attachPair(bench: Bench, farNode: 0 | 1): { near: Netns; far: Netns; address: string } {
  const [near, far] = bench.pods(2)
  if (!near || !far) throw new Error('no pods')
  const shapeOf = (node: 0 | 1) => ({ masquerade: true, subnet4: SUBNETS[node] })
  addPod(bench.network(shapeOf(0)), near)
  const { added } = addPod(bench.network(shapeOf(farNode), farNode), far)
  if (farNode === 1)
    run(`ip -n ${bench.nodes[0].name} route add ${SUBNETS[1]} via 192.0.2.2
      ip -n ${bench.nodes[1].name} route add ${SUBNETS[0]} via 192.0.2.1`)
  return { near, far, address: added.prevResult?.ips?.[0]?.address.replace(/\/.*/, '') ?? '' }
}

function toolCommand(...args: string[]): string[] {
  return ['taskset', '-c', PROCESSOR, process.execPath, TOOL, ...args]
}

function inside<T>({ path }: Netns, work: () => T): T {
  return within(openHandle(path), work)
}
