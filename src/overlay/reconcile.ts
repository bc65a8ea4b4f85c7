import { type Address, FAMILIES, type Family, hostCidr } from '../core/address.ts'
import { collectFaults, type Fault } from '../core/errors.ts'
import type { Kernel, Netns } from '../kernel/kernel.ts'
import { apply } from '../state/apply.ts'
import { type DesiredPrefixSet, hostPlace, type Place } from '../state/desired.ts'
import type { Difference } from '../state/explain.ts'
import type { OwnedObject } from '../state/identity.ts'
import { newState, type Observed } from '../state/observe.ts'
import { CLUSTER_SETS } from '../state/own_table.ts'
import { differenceOwned, type Ownership, observeOwned } from '../state/owned.ts'
import { differenceOfPrefixes, holderAmong, type PrefixDifferences } from '../state/prefix_set.ts'
import { differenceBetween } from '../state/transition.ts'
import type { UnderlayLink } from './cluster.ts'
import type { OverlayConfig } from './config.ts'
import { OVERLAY_DEFAULTS } from './config_schema.gen.ts'
import { differenceOfGuard, type Forgetting, forgetStrangers, NODE_SETS } from './guard.ts'
import {
  desiredOf,
  type OverlayPlan,
  type PlanStep,
  planOverlay,
  setsOf,
  transitionsBetween,
} from './plan.ts'
import { OVERLAY_LINKS } from './registry.ts'
import { ROUTE_PROTOCOL } from './route.ts'

export type Reconciled = {
  /** What was missing, wrong or stale. */
  readonly found: readonly Difference[]
  /** The same in words. */
  readonly changes: readonly string[]
  /** What the kernel refused, each with the object that it concerns. The others are in place. */
  readonly failures: readonly Fault[]
  /** All that the kernel has was compared. */
  readonly isWhole: boolean
}

/** What a run may do. `addOnly`: the cluster is not known for certain yet, so whatever is there may be right. */
export type Mode = 'addOnly' | 'whole'

/** What a node has of the overlay, as texts. */
export type Present = ReadonlySet<string>

type Ports = Pick<Kernel, 'nftables' | 'traffic'>

/** Compares the node with the plan and ends the differences, but for what is spared. */
export function reconcileOverlay(
  kernel: Ports,
  plan: OverlayPlan,
  mode: Mode = 'whole',
  spared?: Present,
): Reconciled {
  const { growth, found, observed, forgetting } = compareOverlay(kernel, plan, mode, spared)
  const all = [...growth, ...found]
  try {
    grow(kernel, growth, plan)
    apply(kernel, found, observed)
    forgetStrangers(kernel.traffic, plan, forgetting)
    return reconciled(all, [], true)
  } catch {
    return reconciled(all, mendEach(kernel, plan, mode, spared), true)
  }
}

function reconciled(found: readonly Difference[], failures: readonly Fault[], isWhole: boolean): Reconciled {
  return {
    found,
    get changes() {
      return found.map(({ what }) => what)
    },
    failures,
    isWhole,
  }
}

/**
 * Leads from a plan that is in force to the next one: the cost is that of the peers that differ. Looks at everything if the links are to
 * change, or if the kernel refuses a change, as something was not as the first plan says.
 */
export function proceed(kernel: Ports, before: OverlayPlan, step: PlanStep): Reconciled {
  const { plan: after } = step
  const { place } = after.node
  const links = linkIndexes(after)
  if (!isSameLinks(before, after) || !links) return reconcileOverlay(kernel, after)
  const linkOf = (name: string): number => links.get(name) ?? place.netns.link({ name })?.index ?? -1
  const { additions, removals } = differenceBetween(place, transitionsBetween(before, step), linkOf)
  const earlier = setsOf(before)
  const sets = differenceOfSets(after, (_, i) => earlier[i]?.elements ?? [])
  const found = [...additions, ...removals, ...sets.shrinkage]
  try {
    grow(kernel, sets.growth, after)
    apply(kernel, found, { places: new Map([[place, newState()]]), nft: new Map() })
    forgetStrangers(kernel.traffic, after, { families: sets.withoutNodes, isNew: false })
    return reconciled([...sets.growth, ...found], [], false)
  } catch {
    return reconcileOverlay(kernel, after)
  }
}

/** Returns what the node has of the overlay, on links that the plan keeps. */
export function presentOf(plan: OverlayPlan): Present {
  const { objects } = observeOwned(ownershipIn(plan.node.place), desiredOf(plan))
  return new Set([...objects.values()].flat().map(textOf))
}

/** Removes all that the overlay has made on this node, by whatever backend. Returns what there was. */
export function removeOverlay(kernel: Pick<Kernel, 'host'> & Ports): Reconciled {
  const place = hostPlace(kernel.host())
  const config: OverlayConfig = { ...OVERLAY_DEFAULTS, nonMasqueradeCIDRs: [] }
  const nobody = { name: '', addresses: [], podCidrs: [] }
  return reconcileOverlay(kernel, planOverlay([], { ...nobody, place, config, underlay: [] }))
}

/** Returns the links by which other nodes may be reached: all with an address, but the overlay's own. */
export function readUnderlay(netns: Netns): UnderlayLink[] {
  const addresses = Map.groupBy(netns.allAddresses(), ({ linkIndex }) => linkIndex)
  return netns.links().flatMap(({ index, name, mtu }) => {
    const found = addresses.get(index)
    if (!found || OVERLAY_LINKS.includes(name)) return []
    return { index, name, mtu, addresses: found.map(({ cidr }) => cidr) }
  })
}

/** Returns the index of each link that a peer's objects may lie on; undefined if one of the overlay's own is missing. */
function linkIndexes({ node, links }: OverlayPlan): Map<string, number> | undefined {
  const indexes = new Map(node.underlay.map(({ name, index }) => [name, index]))
  for (const one of links) {
    if (one.kind !== 'link') continue
    const { index } = node.place.netns.link({ name: one.link }) ?? {}
    if (index === undefined) return undefined
    indexes.set(one.link, index)
  }
  return indexes
}

function isSameLinks(before: OverlayPlan, after: OverlayPlan): boolean {
  const names = ({ links }: OverlayPlan) => links.map((one) => ('link' in one ? one.link : '')).join()
  return names(before) === names(after)
}

/** Compares the sets of a plan with what each has. */
function differenceOfSets(
  plan: OverlayPlan,
  elementsOf: (one: DesiredPrefixSet, i: number) => DesiredPrefixSet['elements'],
): PrefixDifferences & { readonly withoutNodes: readonly Family[] } {
  const all = setsOf(plan)
  const found = all.map((one, i) => differenceOfPrefixes(one, elementsOf(one, i)))
  return {
    growth: found.flatMap(({ growth }) => growth),
    shrinkage: found.flatMap(({ shrinkage }) => shrinkage),
    withoutNodes: FAMILIES.filter((family) =>
      found.some(({ shrinkage }, i) => all[i]?.set === NODE_SETS[family] && shrinkage.length > 0),
    ),
  }
}

/**
 * Lets the sets grow. A connection that was masqueraded before, and has found nobody, must be decided again: by plain routes its next
 * packet would reach the pod with the node's address. Where it leaves by another link now, the kernel itself forgets it.
 */
function grow(kernel: Ports, growth: readonly Difference[], { node, sets }: OverlayPlan): void {
  apply(kernel, growth, { places: new Map(), nft: new Map() })
  if (growth.length === 0 || node.config.backend === 'vxlan') return
  for (const family of FAMILIES) {
    const own = sets.find(({ set }) => set === CLUSTER_SETS[family])?.elements ?? []
    const isDirect = (one: Address) => holderAmong(own, hostCidr(one)) !== undefined
    const waiting = kernel.traffic.connections({ family, isUnansweredTranslation: true })
    kernel.traffic.forget(waiting.filter(({ destination }) => isDirect(destination)))
  }
}

/** Looks again after a refusal, and applies what is left one by one: a refusal concerns one object and stops no other. */
function mendEach(kernel: Ports, plan: OverlayPlan, mode: Mode, spared?: Present): Fault[] {
  const { growth, found, observed, forgetting } = compareOverlay(kernel, plan, mode, spared)
  return collectFaults([
    () => grow(kernel, growth, plan),
    ...found.map((one) => () => apply(kernel, [one], observed)),
    () => forgetStrangers(kernel.traffic, plan, forgetting),
  ])
}

function ownershipIn(place: Place): Ownership {
  return { place, links: OVERLAY_LINKS, protocol: ROUTE_PROTOCOL }
}

function textOf({ key, value }: OwnedObject): string {
  return `${key} ${value}`
}

/** Returns what is not as planned, in the order of mending. */
export function compareOverlay(
  { nftables }: Ports,
  plan: OverlayPlan,
  mode: Mode,
  spared: Present = new Set(),
): {
  /** Of the sets: must be over before the rest begins. */
  readonly growth: readonly Difference[]
  readonly found: readonly Difference[]
  readonly observed: Observed
  /** Where the rules are made, or nodes taken from their sets. */
  readonly forgetting: Forgetting
} {
  const { place } = plan.node
  const desired = desiredOf(plan)
  const ownership = ownershipIn(place)
  const owned = observeOwned(ownership, desired)
  const isSpared = (one: OwnedObject) => spared.has(textOf(one))
  const { additions, removals } = differenceOwned(desired, ownership, owned, isSpared)
  const sets = differenceOfSets(plan, ({ set }) => nftables.elements(set))
  const guard = differenceOfGuard(nftables, plan.guard)
  // A link that is there may be in use by nodes that are not known yet.
  const isDue = mode === 'whole' || !OVERLAY_LINKS.some((name) => place.netns.link({ name }))
  const guarding = isDue ? guard.additions : []
  const shrinkage = mode === 'whole' ? [...removals, ...sets.shrinkage, ...guard.removals] : []
  return {
    growth: sets.growth,
    found: [...guarding, ...additions, ...shrinkage],
    observed: owned.observed,
    forgetting:
      guarding.length > 0
        ? { families: FAMILIES, isNew: true }
        : { families: mode === 'whole' ? sets.withoutNodes : [], isNew: false },
  }
}
