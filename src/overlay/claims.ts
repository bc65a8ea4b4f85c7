import { addressKey, networkOf } from '../core/address.ts'
import type { ClusterNode } from './cluster.ts'

/*
 * What only one node can have, as texts: where its ranges begin, and its addresses. Of several nodes with one of them the first by name has
 * it, and is the rival of the others.
 */

/** By a claim, the names of the nodes that have it, in their order: mostly one, and then it is no list. */
export type Claims = ReadonlyMap<string, string | readonly string[]>

/** Returns the claims of a node: of its ranges first, then of its addresses. */
export function claimsOf({ addresses, podCidrs }: ClusterNode): string[] {
  return [...podCidrs.map((range) => networkOf(range).address), ...addresses].map(addressKey)
}

/** Returns the rival for each of these claims of a node. */
export function rivalsOf(
  name: string,
  own: readonly string[],
  claims: Claims,
): readonly (string | undefined)[] {
  return own.map((claim) => {
    const [first] = namesIn(claims, claim)
    return first === name ? undefined : first
  })
}

/** Gives a node other claims than before. Returns the names of the nodes that may have another rival now. */
export function moveClaims(
  claims: Map<string, string | readonly string[]>,
  name: string,
  before: readonly string[],
  after: readonly string[],
): Set<string> {
  const concerned = new Set<string>()
  const move = (claim: string, own: readonly string[]) => {
    const [first] = own
    if (first !== undefined && !claims.has(claim)) {
      claims.set(claim, first)
      return
    }
    const others = namesIn(claims, claim).filter((one) => one !== name)
    for (const one of others) concerned.add(one)
    const [only, ...more] = [...others, ...own].sort()
    if (only === undefined) claims.delete(claim)
    else claims.set(claim, more.length > 0 ? [only, ...more] : only)
  }
  for (const claim of before) move(claim, [])
  for (const claim of after) move(claim, [name])
  return concerned
}

function namesIn(claims: Claims, claim: string): readonly string[] {
  const found = claims.get(claim) ?? []
  return typeof found === 'string' ? [found] : found
}
