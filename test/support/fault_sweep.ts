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
 * Runs a call once for each of its steps (or every `stride`th) with the fault at that step, on a fresh node each time, and
 * verifies each node as the next process finds it. With SIGKILL, the last is the node on which the call was complete, but its
 * answer was lost. A node in a state that was verified already is skipped: most of SIGKILL's are, as the step before changed
 * nothing. Returns the number of faults.
 */
export function atEachStep(
  prepare: () => FakeNode,
  call: (node: FakeNode) => FakeAnswer,
  fault: Fault,
  verify: (outcome: Outcome) => void,
  stride = 1,
  seen = new Set<string>(),
): number {
  const { how, phases } = fault
  const verifyNew = (outcome: Outcome): void => {
    const state = stateAndAnswer(outcome)
    if (fault.everyStep || !seen.has(state)) verify(outcome)
    seen.add(state)
  }
  const stepsFor = rehearse(prepare, call)
  let faults = 0
  for (const phase of phases) {
    for (const step of stepsFor(fault, phase).filter((_, i) => i % stride === 0)) {
      const node = prepare()
      node.stopAt(step, how, phase)
      const answer = call(node)
      if (node.isDue()) throw new Error(`step ${step} did not come: the call is not the same each time`)
      node.revive()
      faults++
      verifyNew({ node, answer, where: `${how} at step ${step}, ${node.where()}` })
    }
  }
  if (how === 'SIGKILL') {
    const node = prepare()
    const answer = call(node)
    node.revive()
    verifyNew({ node, answer, where: `${how} after the last step` })
  }
  return faults
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

/** Returns all that a verification depends on: how the call ended, and the state of the node. */
function stateAndAnswer({ node, answer: { exitCode, stdout } }: Outcome): string {
  return `${exitCode} ${exitCode === 0 ? stdout : ''} ${stateOf(node)}`
}

/** Returns all that the next process can find: the whole kernel, the whole disk, and the leases of other plugins. */
export function stateOf({ kernel, files, delegate }: FakeNode): string {
  return JSON.stringify([kernel.dump(), files.dump(), [...delegate.leases]])
}

export type InjectedFault = {
  readonly call: (node: FakeNode) => FakeAnswer
  readonly how: Stop
  readonly stride?: number
}

/** Runs two calls, the second on the node that the first has left, each with its fault before every `stride`th of its steps. */
export function atEachPair(
  prepare: () => FakeNode,
  first: InjectedFault,
  second: InjectedFault,
  verify: (outcome: Outcome) => void,
): number {
  let pairs = 0
  const seen = new Set<string>()
  const steps = rehearse(prepare, first.call)({ how: first.how }, 'before')
  for (const step of steps.filter((_, i) => i % (first.stride ?? 1) === 0)) {
    const where = `${first.how} at step ${step}`
    const afterFirst = (): FakeNode => {
      const node = prepare()
      node.stopAt(step, first.how)
      first.call(node)
      node.revive()
      return node
    }
    pairs += atEachStep(
      afterFirst,
      second.call,
      { how: second.how, phases: ['before'] },
      (outcome) => verify({ ...outcome, where: `${where}; then ${outcome.where}` }),
      second.stride,
      seen,
    )
  }
  return pairs
}
