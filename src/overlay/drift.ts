import { addressFromBytes, FAMILIES, hostCidr, sameAddress } from '../core/address.ts'
import type { Route } from '../kernel/kernel.ts'
import { Scope } from '../kernel/kernel.ts'
import type { KernelEvent } from '../kernel/netlink/events.ts'
import { describeTable } from '../kernel/nftables/describe.ts'
import { isIntervalEnd, type RawElement } from '../kernel/nftables/elements.ts'
import type { NftEvent } from '../kernel/nftables/events.ts'
import type { Desired, DesiredLink } from '../state/desired.ts'
import {
  isKeyed,
  neighbourKey,
  type OwnedObject,
  ownedAddress,
  ownedFdbEntry,
  ownedNeighbour,
  ownedOf,
  ownedRoute,
} from '../state/identity.ts'
import { isAsCreated } from '../state/observe.ts'
import { CLUSTER_SETS, TABLE } from '../state/own_table.ts'
import { holderAmong } from '../state/prefix_set.ts'
import { watchRanges } from './diversions.ts'
import { GUARD_NAMES } from './guard.ts'
import { desiredOf, type OverlayPlan, type PlanStep, setsOf, transitionsBetween } from './plan.ts'
import { OVERLAY_LINKS } from './registry.ts'
import { ROUTE_PROTOCOL } from './route.ts'

const NFT_NAMES = [...FAMILIES.map((family) => CLUSTER_SETS[family].name), ...GUARD_NAMES]

/**
 * Tells which events of the kernel contradict a plan. Pods come and go all the time, and concern it never; nor do the events of what was
 * done for the plan itself.
 */
export type DriftFilter = {
  /** Decides whether an event may mean that the node is not as planned. */
  concerns(event: KernelEvent | NftEvent): boolean
  /** Follows to the next plan of the same node. */
  proceed(step: PlanStep): void
}

/** Creates the filter for a plan that is in force. */
export function createDriftFilter(plan: OverlayPlan): DriftFilter {
  const { node } = plan
  const { netns } = node.place
  const indexes = new Map(node.underlay.map(({ name, index }) => [name, index]))
  for (const name of OVERLAY_LINKS) {
    const link = netns.link({ name })
    if (link) indexes.set(name, link.index)
  }
  const overlayIndexes = new Set(OVERLAY_LINKS.flatMap((name) => indexes.get(name) ?? []))
  const links = plan.links.filter((one): one is DesiredLink => one.kind === 'link')
  const values = new Map<string, string>()
  const identify = (one: Desired) => (isKeyed(one) ? [ownedOf(one, indexes.get(one.link) ?? 0)] : [])
  const expect = (objects: readonly Desired[]) => {
    for (const { key, value } of objects.flatMap(identify)) values.set(key, value)
  }
  expect(desiredOf(plan))
  let inForce = plan
  const ranges = watchRanges(plan)
  const isExpected = ({ key, value }: OwnedObject, isGone: boolean) =>
    isGone ? !values.has(key) : values.get(key) === value

  return {
    concerns(event) {
      const { isGone } = event
      switch (event.subject) {
        case 'nftables':
          return isOfOverlay(event) && contradictsSets(event, inForce)
        case 'link': {
          const { link } = event
          // The kernel tells of our own creation; of one by somebody else the index is another.
          if (event.isNew && indexes.get(link.name) === link.index) return false
          // Of a link that was renamed only the index tells that it was ours.
          if (OVERLAY_LINKS.includes(link.name) || overlayIndexes.has(link.index))
            return isGone || !links.some((one) => isLike(link, one, indexes)) || !hasOffload(plan, link.name)
          return node.underlay.some(({ index }) => index === link.index)
        }
        case 'address': {
          const { linkIndex, cidr, scope } = event.address
          // The kernel's own, as in a comparison of everything.
          if (overlayIndexes.has(linkIndex) && scope === Scope.link) return false
          if (overlayIndexes.has(linkIndex)) return !isExpected(ownedAddress(cidr, linkIndex), isGone)
          const isUnderlay = node.underlay.some(({ index }) => index === linkIndex)
          return isUnderlay || node.addresses.some((own) => sameAddress(own, cidr.address))
        }
        case 'neighbour': {
          const { linkIndex, neighbour, entry, address } = event
          if (!overlayIndexes.has(linkIndex)) return false
          if (entry) return !isExpected(ownedFdbEntry(entry), isGone)
          if (neighbour) return !isExpected(ownedNeighbour(neighbour), isGone)
          return !address || values.has(neighbourKey(address, linkIndex))
        }
        case 'route':
          return contradictsRoutes(event, ranges, (route) =>
            route.protocol === ROUTE_PROTOCOL
              ? !isExpected(ownedRoute(route), isGone)
              : !isGone && values.has(ownedRoute(route).key),
          )
      }
    },
    proceed(step) {
      const transitions = transitionsBetween(inForce, step)
      inForce = step.plan
      ranges.proceed(step.plan)
      for (const { before: old } of transitions) {
        for (const { key } of old.flatMap(identify)) values.delete(key)
      }
      for (const { after: next } of transitions) expect(next)
    },
  }
}

/** The kernel reports that a link has other features, and not which. */
function hasOffload({ links, node }: OverlayPlan, name: string): boolean {
  const { netns } = node.place
  const isOther = (one: Desired) =>
    one.kind === 'checksumOffload' && one.link === name && netns.checksumOffload(name) === !one.isOn
  return !links.some(isOther)
}

/** `contradicts`: it says something else of a route of ours, or takes its place. One of another program matters where it takes its packets, too. */
function contradictsRoutes(
  { routes }: Extract<KernelEvent, { subject: 'route' }>,
  ranges: ReturnType<typeof watchRanges>,
  contradicts: (route: Route) => boolean,
): boolean {
  const isForeign = ({ protocol, dst }: Route) => protocol !== ROUTE_PROTOCOL && ranges.isInto(dst)
  return routes.some((route) => contradicts(route) || isForeign(route))
}

/** Decides whether an event is about the sets or chains of the overlay, or about the whole table. */
function isOfOverlay({ table, name }: NftEvent): boolean {
  return table === describeTable(TABLE) && (name === undefined || NFT_NAMES.includes(name))
}

/** The end of a prefix is an element of its own, and goes with the first. */
function contradictsSets(event: NftEvent, plan: OverlayPlan): boolean {
  const { isGone, isDormant, name = '', elements } = event
  if (!elements) return isGone || isDormant === true
  const planned = setsOf(plan).find(({ set }) => set.name === name)?.elements ?? []
  const has = ({ key }: RawElement) => {
    const address = addressFromBytes(key)
    return holderAmong(planned, hostCidr(address))?.key.address.value === address.value
  }
  return elements.some((one) => !isIntervalEnd(one.flags) && has(one) === isGone)
}

function isLike(
  link: Extract<KernelEvent, { subject: 'link' }>['link'],
  { link: name, create, mac, mtu }: DesiredLink,
  indexes: ReadonlyMap<string, number>,
): boolean {
  const isSame = link.name === name && link.index === indexes.get(name)
  const isSet = link.up && link.mac === mac && link.mtu === mtu && !link.vxlan?.tuning
  return (
    isSame && isSet && link.master === undefined && (!create || isAsCreated(link, create, () => undefined))
  )
}
