import type { Netns } from '../../test/support/sandbox.ts'
import { BARE, installBare } from './bare.ts'
import { type Bench, createBenches } from './benches.ts'
import type { Contender, Experiment, Sample } from './experiment.ts'
import { type NetworkShape, REFERENCE, type Subject } from './networks.ts'
import { type Added, addPod, call, deletePod, type Network } from './plugin_calls.ts'
import { type Ended, pause, runProgram } from './processes.ts'

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

/** How processes start, then ADD and DEL of one pod on each kind of network. */
export function callExperiments(subjects: readonly Subject[], rounds: number, work: string): Experiment[] {
  return [
    startExperiment(subjects, rounds, work),
    ...Object.keys(SHAPES).map(attachExperiment(subjects, rounds, work)),
  ]
}

/** VERSION, which is the start of the process alone, beside a program of the same make that does nothing. */
function startExperiment(subjects: readonly Subject[], rounds: number, work: string): Experiment {
  // In VERSION our modes are the same.
  const different = subjects.filter(({ name }) => name !== 'l2')
  return {
    title: 'start',
    unit: 'ms',
    rounds,
    warmUps: 2,
    secondsPerRound: 0.04,
    prepare: () => {
      const { benches, remove } = createBenches(different)
      const bare = installBare(work)
      return {
        contenders: [
          { name: BARE, measure: () => ({ VERSION: quietly(() => runProgram(bare)) }) },
          ...benches.map((bench) => startContender(bench)),
        ],
        remove,
      }
    },
  }
}

function startContender({ subject: { name }, network }: Bench): Contender {
  const on = network(SHAPES['plain'] as NetworkShape)
  return { name, base: BARE, measure: () => ({ VERSION: quietly(() => call(on, 'VERSION')) }) }
}

function attachExperiment(
  subjects: readonly Subject[],
  rounds: number,
  work: string,
): (title: string) => Experiment {
  return (title) => ({
    title,
    unit: 'ms',
    rounds,
    warmUps: LIVING,
    secondsPerRound: 0.25,
    prepare: () => {
      const { benches, remove } = createBenches(subjects)
      const bare = installBare(work)
      return {
        contenders: [
          ...benches.map((bench) => attachContender(bench, SHAPES[title] as NetworkShape)),
          // What an ADD would take if it did nothing: no plugin that is started for each call gets below it.
          { name: BARE, base: REFERENCE, measure: () => ({ ADD: quietly(() => runProgram(bare)) }) },
        ],
        remove,
      }
    },
  })
}

/** ADD of one pod, and once the node has its pods, DEL of the oldest. */
function attachContender({ contender, network, pods }: Bench, shape: NetworkShape): Contender {
  const idle = pods(LIVING + 1)
  const living: Added[] = []
  const on = network(shape)
  return {
    ...contender,
    measure: () => {
      const { sample: ADD, added } = quietAdd(on, taken(idle))
      living.push(added)
      const oldest = living.length > LIVING ? living.shift() : undefined
      if (!oldest) return { ADD }
      idle.push(oldest.pod)
      return { ADD, DEL: quietly(() => deletePod(on, oldest)) }
    },
  }
}

/** ADD on a machine that has nothing else to do. */
export function quietAdd(network: Network, pod: Netns): { readonly sample: Sample; readonly added: Added } {
  pause(SETTLE_MS)
  const { ended, added } = addPod(network, pod)
  return { sample: sampleOf(ended), added }
}

function quietly(work: () => Ended): Sample {
  pause(SETTLE_MS)
  return sampleOf(work())
}

function sampleOf({ ms, cpuMs }: Ended): Sample {
  return { value: ms, cpuMs }
}

function taken(idle: Netns[]): Netns {
  const pod = idle.shift()
  if (pod) return pod
  throw new Error('no pod is idle')
}
