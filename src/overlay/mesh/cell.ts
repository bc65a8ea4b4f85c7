/*
 * One way from one node to another in 16 bits, as it stands in probes and in the matrix: 3 bits of state, one that says whether the packets
 * are encapsulated, 12 of the round trip on a logarithmic scale.
 */

/** The order is that of the numbers in packets. */
export const STATES = ['unmeasured', 'ok', 'lossy', 'small', 'silent', 'noAgent'] as const

/**
 * What a way is like. `lossy`: some packets are lost; `small`: only small ones arrive; `silent`: none does; `noAgent`: the node is up, and
 * no agent listens.
 */
export type WayState = (typeof STATES)[number]

/** 16 bits. */
export type Cell = number

export type CellParts = {
  readonly state: WayState
  readonly isTunnelled: boolean
  /** Microseconds; undefined if no answer has come yet. */
  readonly rttUs?: number | undefined
}

/** Steps for each doubling: 0.3 % of a round trip. From 5 µs to 5 minutes, less the lowest, which says that there is none. */
const STEPS = 256
const LEAST_US = 5
const MAX_SCALE = 0xfff

export function encodeCell({ state, isTunnelled, rttUs }: CellParts): Cell {
  const steps =
    rttUs === undefined ? 0 : Math.round(Math.log2(Math.max(rttUs, LEAST_US) / LEAST_US) * STEPS) + 1
  return (STATES.indexOf(state) << 13) | (isTunnelled ? 1 << 12 : 0) | Math.min(steps, MAX_SCALE)
}

/** Reads a cell. A state of a later release counts as not measured. */
export function decodeCell(cell: Cell): CellParts {
  const steps = cell & MAX_SCALE
  return {
    state: STATES[cell >> 13] ?? 'unmeasured',
    isTunnelled: (cell & (1 << 12)) !== 0,
    ...(steps > 0 && { rttUs: LEAST_US * 2 ** ((steps - 1) / STEPS) }),
  }
}
