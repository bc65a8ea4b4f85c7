import type { FakeAnswer, FakeNode, Phase, Stop } from '../fakes/node.ts'

const MAX_STEPS = 600

/** One node on which a call met its fault. */
export type Struck = {
  readonly node: FakeNode
  readonly answer: FakeAnswer
  /** Which fault at which step, for messages. */
  readonly where: string
}

export type Fault = { readonly how: Stop; readonly phases: readonly Phase[] }

/** When a process can die. After one step is before the next: only the last has an end of its own, see `atEachStep`. */
export const KILLS: Fault = { how: 'SIGKILL', phases: ['before', 'midway'] }

/**
 * Makes a call meet the fault at every one of its steps (or every `stride`th), on a fresh node each time, and hands over
 * each node as the next process finds it; last of all the node on which the call came to its end, but nobody was told.
 * Returns how many there were.
 */
export function atEachStep(
  prepare: () => FakeNode,
  call: (node: FakeNode) => FakeAnswer,
  { how, phases }: Fault,
  verify: (struck: Struck) => void,
  stride = 1,
): number {
  let struck = 0
  for (const phase of phases) {
    for (let step = 1; ; step += stride) {
      if (step > MAX_STEPS) throw new Error(`the call has more than ${MAX_STEPS} steps`)
      const node = prepare()
      const before = node.steps()
      node.stopAt(step, how, phase)
      const answer = call(node)
      const isHit = !node.isDue()
      const isOver = !isHit && node.steps() - before < step
      node.revive()
      if (isOver && how === 'SIGKILL') verify({ node, answer, where: `${how} after the last step` })
      if (isOver) break
      // Not every step has a middle.
      if (!isHit) continue
      struck++
      verify({ node, answer, where: `${how} at step ${step}, ${node.where()}` })
    }
  }
  return struck
}

export type Blow = {
  readonly call: (node: FakeNode) => FakeAnswer
  readonly how: Stop
  readonly stride?: number
}

/** Two calls, the second on what the first has left: each meets its fault before every `stride`th of its steps. */
export function atEachPair(
  prepare: () => FakeNode,
  first: Blow,
  second: Blow,
  verify: (struck: Struck) => void,
): number {
  let pairs = 0
  for (let step = 1; ; step += first.stride ?? 1) {
    let isOver = false
    let where = ''
    const struckOnce = (): FakeNode => {
      const node = prepare()
      node.stopAt(step, first.how)
      first.call(node)
      isOver = node.isDue()
      node.revive()
      where = `${first.how} at step ${step}, ${node.where()}`
      return node
    }
    pairs += atEachStep(
      struckOnce,
      second.call,
      { how: second.how, phases: ['before'] },
      (struck) => verify({ ...struck, where: `${where}; then ${struck.where}` }),
      second.stride,
    )
    if (isOver) return pairs
  }
}
