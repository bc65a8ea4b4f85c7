/** Where two lists differ: from `start` to the two ends, which are outside. Before and behind that they have the same values. */
export type UnequalPart = { readonly start: number; readonly endOfA: number; readonly endOfB: number }

/**
 * Returns where two lists differ, by identity: one that was made from the other by a change in one place differs in that place, whatever
 * its length. Without a copy, and without a set of thousands of values.
 */
export function unequalPart<T>(a: readonly T[], b: readonly T[]): UnequalPart {
  const shorter = Math.min(a.length, b.length)
  let start = 0
  while (start < shorter && a[start] === b[start]) start++
  let same = 0
  while (same < shorter - start && a[a.length - 1 - same] === b[b.length - 1 - same]) same++
  return { start, endOfA: a.length - same, endOfB: b.length - same }
}
