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

const atLeast = (limit: number): Goal => ({ sign: '≥', limit })

const GOALS: Readonly<Record<string, Readonly<Record<string, Goal>>>> = {
  'ADD, plain': both(atMost(0.48)),
  'ADD, ipMasq': both(atMost(0.25)),
  'ADD, dual stack + ipMasq': both(atMost(0.18)),
  'DEL, plain': both(atMost(0.8)),
  'DEL, ipMasq': both(atMost(0.35)),
  'DEL, dual stack + ipMasq': both(atMost(0.25)),
  'VERSION, start': { l3: atMost(1.15) },
  'ADD, 100 pods, 8 at a time, ipMasq': both(atMost(0.35)),
  'DEL, 100 pods, 8 at a time, ipMasq': both(atMost(0.3)),
  'private dirty, ADD, dual stack + ipMasq': both({ ...atMost(4), isAbsolute: true }),
  'round trips, pods of one node': { l3: atLeast(1.25), l2: atLeast(0.98) },
  'round trips, pods of two hosts': { l3: atLeast(1.1), l2: atLeast(0.98) },
  'one stream, pods of one node': { l3: atLeast(1), l2: atLeast(0.98) },
  'one stream, pods of two hosts': { l3: atLeast(1), l2: atLeast(0.98) },
  'ADD, leases present': { 'l3, 3,000 leases': atMost(1.05), 'l3, 60,000 leases': atMost(1.05) },
  'ADD, pods present': { 'l3, 250 pods, 1,000 elements': atMost(1.1) },
}
