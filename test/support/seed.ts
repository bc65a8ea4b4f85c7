import { randomInt } from 'node:crypto'

/** The seed of this run: BOWLINE_SEED, or one that nobody has chosen. To be printed, so that a run can be repeated. */
export function chooseSeed(): number {
  return Number(process.env['BOWLINE_SEED'] ?? randomInt(2 ** 31))
}

/** The same numbers for the same seed (xorshift, 32 bits): each call a whole number from `low` to `high`, both included. */
export function randomNumbers(seed: number): (low: number, high: number) => number {
  let state = seed | 1
  return (low, high) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return low + ((state >>> 0) % (high - low + 1))
  }
}
