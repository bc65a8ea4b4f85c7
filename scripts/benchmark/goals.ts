/** What a measurement is to reach: a ratio to its base, or where `isAbsolute` a value of its own. */
export type Goal = {
  readonly limit: number
  /** Whether less is better than the limit, or more. */
  readonly sign: '≤' | '≥'
  readonly isAbsolute?: boolean
}

/** The goal of a contender's metric in an experiment, if it has one. */
export function goalOf(experiment: string, metric: string, contender: string): Goal | undefined {
  return GOALS[`${metric}, ${experiment}`]?.[contender]
}

export function isMet({ limit, sign }: Goal, reached: number): boolean {
  return sign === '≤' ? reached <= limit : reached >= limit
}

const both = (goal: Goal) => ({ l3: goal, l2: goal })
const atMost = (limit: number): Goal => ({ sign: '≤', limit })

const GOALS: Readonly<Record<string, Readonly<Record<string, Goal>>>> = {
  'ADD, plain': both(atMost(0.48)),
  'ADD, ipMasq': both(atMost(0.25)),
  'ADD, dual stack + ipMasq': both(atMost(0.18)),
  'DEL, plain': both(atMost(0.8)),
  'DEL, ipMasq': both(atMost(0.35)),
  'DEL, dual stack + ipMasq': both(atMost(0.25)),
}
