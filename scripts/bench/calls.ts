import { type Added, addPod, type Bench, call, experimentOn } from './nodes.ts'
import type { Contender, Experiment } from './rounds.ts'
import type { NetworkShape, Subject } from './subjects.ts'

export const DUAL: NetworkShape = { masquerade: true, subnet4: '10.10.0.0/24', subnet6: 'fd00:10:10::/64' }
const PLAIN: NetworkShape = { masquerade: false, subnet4: '10.10.0.0/24' }
const SHAPES: readonly (readonly [string, NetworkShape])[] = [
  ['plain', PLAIN],
  ['ipMasq', { ...PLAIN, masquerade: true }],
  ['dual stack + ipMasq', DUAL],
]
/**
 * The number of pods on a node while calls are measured. A pod is detached when this many others have been attached after
 * it, a second or two later: by then its addresses are no longer tentative, as for nearly every pod in real life.
 */
const LIVING = 8

/** Measures VERSION, which is only the start of the process; then ADD and DEL of one pod on each kind of network. */
export function callExperiments(subjects: readonly Subject[], rounds: number): Experiment[] {
  const experiment = (title: string, warmUps: number, contenderOf: (bench: Bench) => Contender) =>
    experimentOn(subjects, {
      title,
      unit: 'ms',
      rounds,
      warmUps,
      contendersOf: (bench) => [contenderOf(bench)],
    })
  return [
    experiment('the start', 2, startContender),
    ...SHAPES.map(([title, shape]) => experiment(title, LIVING, (bench) => attachContender(bench, shape))),
  ]
}

function startContender({ contender, network }: Bench): Contender {
  const on = network(PLAIN)
  return { ...contender, measure: () => ({ VERSION: call(on, 'VERSION').ms }) }
}

/** Measures ADD of one pod and, once the node has its pods, DEL of the oldest. */
function attachContender({ contender, network, pods }: Bench, shape: NetworkShape): Contender {
  const idle = pods(LIVING + 1)
  const living: Added[] = []
  const on = network(shape)
  return {
    ...contender,
    measure: () => {
      const pod = idle.shift()
      if (!pod) throw new Error('no pod is idle')
      const { ms: ADD, added } = addPod(on, pod)
      living.push(added)
      const oldest = living.length > LIVING ? living.shift() : undefined
      if (!oldest) return { ADD }
      idle.push(oldest.pod)
      return { ADD, DEL: call(on, 'DEL', oldest).ms }
    },
  }
}
