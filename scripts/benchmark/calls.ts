import { type Bench, createBenches } from './benches.ts'
import type { Contender, Experiment, Sample } from './experiment.ts'
import { type NetworkShape, named, type Subject } from './networks.ts'
import { createPods } from './nodes.ts'
import { type Added, addPod, call, deletePod, type Network } from './plugin_calls.ts'
import { type Ended, pause } from './processes.ts'

/** The networks that single calls are measured on. */
const SHAPES: Readonly<Record<string, NetworkShape>> = {
  plain: { masquerade: false, subnet4: '10.10.0.0/24' },
  ipMasq: { masquerade: true, subnet4: '10.10.0.0/24' },
  'dual stack + ipMasq': { masquerade: true, subnet4: '10.10.0.0/24', subnet6: 'fd00:10:10::/64' },
}
/**
 * How many pods a node has while calls are measured. A pod is detached when so many others have come after it, which
 * takes a second or two: by then its addresses are settled, as those of nearly every pod are in real life.
 */
const LIVING = 8
/** The kernel ends some of its work after the call that asked for it: the next one is not to pay for it. */
const SETTLE_MS = 5

/** VERSION, which is the start of the process alone, then ADD and DEL of one pod on each kind of network. */
export function callExperiments(subjects: readonly Subject[], rounds: number): Experiment[] {
  return [startExperiment(subjects, rounds), ...Object.keys(SHAPES).map(attachExperiment(subjects, rounds))]
}

function startExperiment(subjects: readonly Subject[], rounds: number): Experiment {
  return {
    title: 'start',
    unit: 'ms',
    rounds,
    warmUps: 2,
    secondsPerRound: 0.04,
    prepare: () => {
      const { benches, remove } = createBenches(subjects)
      const shape = SHAPES['plain'] as NetworkShape
      return {
        contenders: benches.map((bench) => startContender(bench.subject.name, bench.network(shape))),
        remove,
      }
    },
  }
}

function startContender(name: string, network: Network): Contender {
  return { ...named(name), measure: () => ({ VERSION: quietly(() => call(network, 'VERSION')) }) }
}

function attachExperiment(subjects: readonly Subject[], rounds: number): (title: string) => Experiment {
  return (title) => ({
    title,
    unit: 'ms',
    rounds,
    warmUps: LIVING,
    secondsPerRound: 0.25,
    prepare: () => {
      const { benches, remove } = createBenches(subjects)
      const shape = SHAPES[title] as NetworkShape
      return { contenders: benches.map((bench) => attachContender(bench, shape)), remove }
    },
  })
}

/** ADD of one pod, and once the node has its pods, DEL of the oldest. */
function attachContender({ subject, node, network }: Bench, shape: NetworkShape): Contender {
  const idle = createPods(node.name, LIVING + 1)
  const living: Added[] = []
  const on = network(shape)
  return {
    ...named(subject.name),
    measure: () => {
      const pod = idle.shift()
      if (!pod) throw new Error('no idle pod')
      const ADD = quietly(() => {
        const { ended, added } = addPod(on, pod)
        living.push(added)
        return ended
      })
      const oldest = living.length > LIVING ? living.shift() : undefined
      if (!oldest) return { ADD }
      idle.push(oldest.pod)
      return { ADD, DEL: quietly(() => deletePod(on, oldest)) }
    },
  }
}

function quietly(work: () => Ended): Sample {
  pause(SETTLE_MS)
  const { ms, cpuMs } = work()
  return { value: ms, cpuMs }
}
