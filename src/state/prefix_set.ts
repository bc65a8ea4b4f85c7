import { type Cidr, contains, formatCidr, networkOf, sameCidr } from '../core/address.ts'
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

/** Returns those of the prefixes that no other one contains, sorted; of equal ones the first, with its comment. */
export function widest(elements: readonly Element[]): Element[] {
  const kept: Element[] = []
  for (const one of sorted(elements)) {
    const last = kept.at(-1)
    if (!last || !contains(last.key, one.key.address)) kept.push({ ...one, key: networkOf(one.key) })
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
  const [there, wanted] = [present, elements].map((list) => new Set(list.map(textOf)))
  const missing = elements.filter((one) => !there?.has(textOf(one)))
  const stale = present.filter((one) => !wanted?.has(textOf(one)))
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

/** Sorts by the first address, the wider of two with the same one first. Equal ones stay in their order. */
function sorted(elements: readonly Element[]): Element[] {
  const first = ({ key }: Element): bigint => networkOf(key).address.value
  return elements
    .map((one) => ({ one, at: first(one) }))
    .sort((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : a.one.key.prefix - b.one.key.prefix))
    .map(({ one }) => one)
}

/** Returns a function that finds the one of these disjoint prefixes that contains another one. */
export function holderIn(elements: readonly Element[]): (inner: Element) => Element | undefined {
  const all = sorted(elements)
  return ({ key: { address, prefix } }) => {
    let [low, high] = [0, all.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const { value } = (all[middle] as Element).key.address
      if (value <= address.value) low = middle + 1
      else high = middle
    }
    const found = all[low - 1]
    return found && found.key.prefix <= prefix && contains(found.key, address) ? found : undefined
  }
}

function textOf({ key, comment = '' }: Element): string {
  return `${formatCidr(key)} ${comment}`
}

function named(elements: readonly Element[]): string {
  const names = elements.slice(0, MAX_NAMED).map(({ key }) => formatCidr(key))
  const more = elements.length - names.length
  return `${names.join(', ')}${more > 0 ? ` and ${more} more` : ''}`
}
