const FIRST_MS = 500
const MOST_MS = 30_000

/** How long to wait before the next attempt. */
export type Backoff = { next(): number; reset(): void }

/**
 * Doubles from half a second to half a minute. Each wait is shortened by up to a half at random: all nodes of a cluster lose the API
 * server in the same moment, and must not come back in one.
 */
export function createBackoff({
  random,
  firstMs = FIRST_MS,
  mostMs = MOST_MS,
}: {
  random: () => number
  firstMs?: number
  mostMs?: number
}): Backoff {
  let ms = firstMs
  return {
    next() {
      const wait = ms * (1 - random() / 2)
      ms = Math.min(2 * ms, mostMs)
      return Math.round(wait)
    },
    reset() {
      ms = firstMs
    },
  }
}
