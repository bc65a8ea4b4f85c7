import { type Cidr, contains, formatCidr, sameCidr } from '../core/address.ts'
import { unequalPart } from '../core/unequal_part.ts'
import { addElements, type NftCommand, type NftElement, removeElements } from '../kernel/nftables/objects.ts'
import type { DesiredPrefixSet } from './desired.ts'
import { type Difference, nftStep } from './explain.ts'

/*
 * The kernel refuses prefixes that overlap within one set (EEXIST). So a set has the widest of those that are wanted, and a prefix changes
 * in one transaction with those that it contains: no address is outside for a moment that is in the set before and after.
 */

type Element = NftElement<Cidr>

export type PrefixDifferences = {
  readonly growth: readonly Difference[]
  readonly shrinkage: readonly Difference[]
}

/** A difference names so many prefixes at most. */
const MAX_NAMED = 3

/** Returns those of the prefixes, without host bits, that no other one contains, sorted; of equal ones the first, with its comment. */
export function widest(elements: readonly Element[]): Element[] {
  const kept: Element[] = []
  for (const one of sorted(elements)) {
    const last = kept.at(-1)
    if (!last || !contains(last.key, one.key.address)) kept.push(one)
  }
  return kept
}

/**
 * Returns what makes the set grow to the wanted prefixes, and what makes it shrink to them; after both it has just these. A prefix with
 * another comment is replaced.
 */
export function differenceOfPrefixes(
  { set, elements, words }: DesiredPrefixSet,
  present: readonly Element[],
): PrefixDifferences {
  // Of thousands most are the same values in the same places.
  const { start, endOfA, endOfB } = unequalPart(elements, present)
  const [wanted, found] = [elements.slice(start, endOfA), present.slice(start, endOfB)]
  const [missing, stale] = [without(wanted, found), without(found, wanted)]
  const [heldByStale, heldByMissing] = [holderIn(stale), holderIn(missing)]
  // What lies within a wider one that is to go is covered until then.
  const isCovered = (one: Element): boolean => {
    const holder = heldByStale(one)
    return holder !== undefined && !sameCidr(holder.key, one.key)
  }
  const [now, later] = [missing.filter((one) => !isCovered(one)), missing.filter(isCovered)]
  const [replaced, gone] = [stale.filter(heldByMissing), stale.filter((one) => !heldByMissing(one))]
  const change = (what: string, removed: readonly Element[], added: readonly Element[]): Difference[] => {
    const commands: NftCommand[] = [
      ...(removed.length > 0 ? [removeElements(set, ...removed.map(({ key }) => ({ key })))] : []),
      ...(added.length > 0 ? fillSet(set, added) : []),
    ]
    return commands.length > 0 ? [{ what, steps: [nftStep(commands)] }] : []
  }
  return {
    growth: change(`${words} lacks ${named(now)}`, replaced, now),
    shrinkage: change(`${words} has ${named(gone)} without need`, gone, later),
  }
}

/** Returns the commands that make a set with these elements, also in a table that is not there. */
export function fillSet(set: DesiredPrefixSet['set'], elements: readonly Element[]): NftCommand[] {
  return [{ op: 'ensureTable', table: set.table }, { op: 'ensureSet', set }, addElements(set, ...elements)]
}

/** Returns those of the elements that the others have not. */
function without(elements: readonly Element[], others: readonly Element[]): Element[] {
  if (elements.length === 0) return []
  const texts = new Set(others.map(textOf))
  return elements.filter((one) => !texts.has(textOf(one)))
}

/** Sorts by the first address, the wider of two with the same one first. Equal ones stay in their order. Numbers are compared faster. */
function sorted(elements: readonly Element[]): Element[] {
  return elements
    .map((one) => ({ one, about: Number(one.key.address.value) }))
    .sort((a, b) => a.about - b.about || comparePrefixes(a.one.key, b.one.key))
    .map(({ one }) => one)
}

/** Compares by the first address, then by width. */
export function comparePrefixes(
  { address: { value: a }, prefix }: Cidr,
  { address: { value: b }, prefix: other }: Cidr,
): number {
  return a < b ? -1 : a > b ? 1 : prefix - other
}

/** Returns a function that finds the one of these disjoint prefixes that contains another one. */
function holderIn(elements: readonly Element[]): (inner: Element) => Element | undefined {
  const all = sorted(elements)
  return ({ key }) => holderAmong(all, key)
}

/** Returns the one of these disjoint prefixes, which are sorted, that contains another one. */
export function holderAmong(all: readonly Element[], { address, prefix }: Cidr): Element | undefined {
  const found = all[placeIn(all, ({ key }) => key.address.value <= address.value) - 1]
  return found && found.key.prefix <= prefix && contains(found.key, address) ? found : undefined
}

/** Returns the place of the first for which `isBefore` does not hold; it must hold for all in front of it. */
export function placeIn(sorted: readonly Element[], isBefore: (one: Element) => boolean): number {
  let [low, high] = [0, sorted.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (isBefore(sorted[middle] as Element)) low = middle + 1
    else high = middle
  }
  return low
}

/** Not for people: BigInt writes a number far faster than RFC 5952 wants an address. */
function textOf({ key: { address, prefix }, comment = '' }: Element): string {
  return `${address.value.toString(36)}/${prefix} ${comment}`
}

function named(elements: readonly Element[]): string {
  const names = elements.slice(0, MAX_NAMED).map(({ key }) => formatCidr(key))
  const more = elements.length - names.length
  return `${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}
