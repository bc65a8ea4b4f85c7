import { type Cidr, contains, FAMILIES, type Family, networkOf } from '../core/address.ts'
import { MAX_COMMENT_BYTES } from '../kernel/nftables/elements.ts'
import type { NftElement } from '../kernel/nftables/objects.ts'
import type { DesiredPrefixSet } from '../state/desired.ts'
import { CLUSTER_SETS } from '../state/own_table.ts'
import { comparePrefixes, placeIn, widest } from '../state/prefix_set.ts'
import type { LocalNode } from './backend.ts'
import type { ClusterNode } from './cluster.ts'

type Element = NftElement<Cidr>

/** Sets of prefixes, one for each family. */
export type PrefixSets = {
  /** They grow before a packet could need what they get, and shrink after the last one could. */
  readonly sets: readonly DesiredPrefixSet[]
  /** For each set all that is wanted, sorted, with what lies within others. The same value as the set's elements if nothing does. */
  readonly wanted: readonly (readonly Element[])[]
}

/** The set of each family: destinations to which pods of this node speak with their own address. */
export type ClusterSets = PrefixSets

/** Returns the sets of a cluster without nodes: what the configuration names. */
export function initialClusterSets(node: LocalNode): ClusterSets {
  const configured = node.config.nonMasqueradeCIDRs.map((cidr) => ({
    key: networkOf(cidr),
    comment: 'overlay.json',
  }))
  return nextSets(emptySets(CLUSTER_SETS, 'what is not masqueraded'), [], configured)
}

/** Returns empty sets. `what`: of what they are, in words for people. */
export function emptySets(of: Record<Family, DesiredPrefixSet['set']>, what: string): PrefixSets {
  const sets = FAMILIES.map((family): DesiredPrefixSet => {
    const set = of[family]
    return { kind: 'prefixSet', set, elements: [], words: `the nftables set ${set.name} of ${what}` }
  })
  return { sets, wanted: sets.map(({ elements }) => elements) }
}

/**
 * Returns the sets after some nodes have gone and others come: the own one is among them. A range with addresses of nodes in it is a
 * mistake, see `planOverlay`.
 */
export function nextClusterSets(
  before: ClusterSets,
  node: LocalNode,
  gone: readonly ClusterNode[],
  come: readonly ClusterNode[],
): ClusterSets {
  const rangesIn = (nodes: readonly ClusterNode[]) => nodes.flatMap((one) => rangesOf(one, node))
  return nextSets(before, rangesIn(gone), rangesIn(come))
}

/** Returns the sets of both families without some elements and with others. */
export function nextSets(
  before: PrefixSets,
  removed: readonly Element[],
  added: readonly Element[],
): PrefixSets {
  const made = FAMILIES.map((family, i) => {
    const [set, wanted] = [before.sets[i] as DesiredPrefixSet, before.wanted[i] ?? []]
    return nextSet(set, wanted, removed.filter(isOf(family)), added.filter(isOf(family)))
  })
  return { sets: made.map(({ set }) => set), wanted: made.map(({ wanted }) => wanted) }
}

function nextSet(
  set: DesiredPrefixSet,
  before: readonly Element[],
  removed: readonly Element[],
  added: readonly Element[],
): { readonly set: DesiredPrefixSet; readonly wanted: readonly Element[] } {
  if (removed.length + added.length === 0) return { set, wanted: before }
  const wanted = [...before]
  let isDisjoint = set.elements === before
  const placeOf = (one: Element) => placeIn(wanted, (other) => compare(other, one) < 0)
  for (const one of removed) {
    const at = placeOf(one)
    const found = wanted[at]
    if (found && compare(found, one) === 0) wanted.splice(at, 1)
  }
  for (const one of added) {
    const at = placeOf(one)
    const [previous, next] = [wanted[at - 1], wanted[at]]
    isDisjoint &&= !(previous && contains(previous.key, one.key.address))
    isDisjoint &&= !(next && contains(one.key, next.key.address))
    wanted.splice(at, 0, one)
  }
  const elements = isDisjoint ? wanted : widest(wanted)
  return { set: { ...set, elements: elements.length === wanted.length ? wanted : elements }, wanted }
}

/** Of nodes with the same range, the order of names decides. */
function compare(a: Element, b: Element): number {
  const [ofA, ofB] = [a.comment ?? '', b.comment ?? '']
  return comparePrefixes(a.key, b.key) || (ofA < ofB ? -1 : ofA > ofB ? 1 : 0)
}

function isOf(family: Family): (one: Element) => boolean {
  return ({ key }) => key.address.family === family
}

function rangesOf({ name, addresses, podCidrs }: ClusterNode, node: LocalNode): Element[] {
  const nodes = [...node.addresses, ...addresses]
  return podCidrs
    .filter((range) => !nodes.some((address) => contains(range, address)))
    .map((range) => elementOf(name, networkOf(range)))
}

/** Returns an element that tells people of which node it is. */
export function elementOf(node: string, key: Cidr): Element {
  return { key, comment: `node ${node}`.slice(0, MAX_COMMENT_BYTES) }
}
