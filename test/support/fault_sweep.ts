import type { FakeAnswer, FakeNode, Phase, Stop } from '../fakes/node.ts'

const MAX_STEPS = 600

/** One node on which a call met its fault. */
export type Outcome = {
  readonly node: FakeNode
  readonly answer: FakeAnswer
  /** Which fault at which step, for messages. */
  readonly where: string
}

export type Fault = {
  readonly how: Stop
  readonly phases: readonly Phase[]
  /** Verifies after each step, also where the node is as it was after another one. */
  readonly everyStep?: boolean
}

/** When a process can die. After one step is before the next: only the last has an end of its own, see `atEachStep`. */
export const KILLS: Fault = { how: 'SIGKILL', phases: ['before', 'midway'] }

/**
 * Makes a call meet the fault at every one of its steps (or every `stride`th), on a fresh node each time, and hands over
 * each node as the next process finds it; last of all the node on which the call came to its end, but nobody was told.
 * A node that is as another one that was handed over is passed over, so most of SIGKILL's are: the step before changed
 * nothing. Returns how many faults there were.
 */
export function atEachStep(
  prepare: () => FakeNode,
  call: (node: FakeNode) => FakeAnswer,
  fault: Fault,
  verify: (struck: Outcome) => void,
  stride = 1,
  seen = new Set<string>(),
): number {
  const { how, phases } = fault
  const verifyNew = (struck: Outcome): void => {
    const state = outcomeOf(struck)
    if (fault.everyStep || !seen.has(state)) verify(struck)
    seen.add(state)
  }
  const stepsFor = rehearse(prepare, call)
  let struck = 0
  for (const phase of phases) {
    for (const step of stepsFor(fault, phase).filter((_, i) => i % stride === 0)) {
      const node = prepare()
      node.stopAt(step, how, phase)
      const answer = call(node)
      if (node.isDue()) throw new Error(`step ${step} did not come: the call is not the same each time`)
      node.revive()
      struck++
      verifyNew({ node, answer, where: `${how} at step ${step}, ${node.where()}` })
    }
  }
  if (how === 'SIGKILL') {
    const node = prepare()
    const answer = call(node)
    node.revive()
    verifyNew({ node, answer, where: `${how} after the last step` })
  }
  return struck
}

/** Runs the call once without a fault; returns how to ask which of its steps a fault has to meet in a phase. */
function rehearse(prepare: () => FakeNode, call: (node: FakeNode) => FakeAnswer) {
  const node = prepare()
  const first = node.steps()
  const changed = new Set<number>()
  let state = ''
  node.beforeStep(() => {
    const now = stateOf(node)
    if (now !== state) changed.add(node.steps())
    state = now
  })
  call(node)
  if (node.steps() - first > MAX_STEPS) throw new Error(`the call has more than ${MAX_STEPS} steps`)
  return ({ how, everyStep }: Omit<Fault, 'phases'>, phase: Phase): number[] => {
    const takesAll = how !== 'SIGKILL' || phase !== 'before' || everyStep
    const steps = node.metBy(how, phase).filter((step) => step > first && (takesAll || changed.has(step)))
    return steps.map((step) => step - first)
  }
}

/** All that what is verified goes by: how the call ended, and the node. */
function outcomeOf({ node, answer: { exitCode, stdout } }: Outcome): string {
  return `${exitCode} ${exitCode === 0 ? stdout : ''} ${stateOf(node)}`
}

/** All that the next process can find: the whole kernel, the whole disk, and the leases of other plugins. */
export function stateOf({ kernel, files, delegate }: FakeNode): string {
  return JSON.stringify([kernel.dump(), files.dump(), [...delegate.leases]])
}

export type InjectedFault = {
  readonly call: (node: FakeNode) => FakeAnswer
  readonly how: Stop
  readonly stride?: number
}

/** Two calls, the second on what the first has left: each meets its fault before every `stride`th of its steps. */
export function atEachPair(
  prepare: () => FakeNode,
  first: InjectedFault,
  second: InjectedFault,
  verify: (struck: Outcome) => void,
): number {
  let pairs = 0
  const seen = new Set<string>()
  const steps = rehearse(prepare, first.call)({ how: first.how }, 'before')
  for (const step of steps.filter((_, i) => i % (first.stride ?? 1) === 0)) {
    const where = `${first.how} at step ${step}`
    const struckOnce = (): FakeNode => {
      const node = prepare()
      node.stopAt(step, first.how)
      first.call(node)
      node.revive()
      return node
    }
    pairs += atEachStep(
      struckOnce,
      second.call,
      { how: second.how, phases: ['before'] },
      (struck) => verify({ ...struck, where: `${where}; then ${struck.where}` }),
      second.stride,
      seen,
    )
  }
  return pairs
}
