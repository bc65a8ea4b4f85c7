/** An upper limit: of the ratio to the base, or of the value if `isAbsolute`. */
export type Goal = { readonly limit: number; readonly isAbsolute?: boolean }

/** Returns the goal of a contender in a metric, if it has one. */
export function goalOf(what: string, contender: string): Goal | undefined {
  return GOALS[what]?.[contender]
}

const both = (limit: number, isAbsolute = false): Record<string, Goal> => {
  const goal = { limit, ...(isAbsolute && { isAbsolute }) }
  return { l3: goal, l2: goal }
}
const BURST = '100 pods, 8 at a time, ipMasq'
const FOOTPRINT = 'of an ADD, dual stack + ipMasq'

const GOALS: Readonly<Record<string, Readonly<Record<string, Goal>>>> = {
  'VERSION, the start': both(0.35),
  'ADD, plain': { l3: { limit: 0.36 }, l2: { limit: 0.4 } },
  'ADD, ipMasq': both(0.2),
  'ADD, dual stack + ipMasq': both(0.15),
  'DEL, plain': both(0.75),
  'DEL, ipMasq': both(0.45),
  'DEL, dual stack + ipMasq': both(0.32),
  [`ADD, ${BURST}`]: both(0.18),
  [`DEL, ${BURST}`]: both(0.2),
  'ADD, with leases': {
    'a /16 with 3,000 leases': { limit: 1.05 },
    'a /16 with 60,000 leases': { limit: 1.05 },
  },
  'ADD, the first of a network': { 'a /16': { limit: 1.05 } },
  [`size of the programs, ${FOOTPRINT}`]: both(2.7, true),
  [`private dirty, ${FOOTPRINT}`]: both(0.6, true),
}
