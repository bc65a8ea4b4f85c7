import { formatAddress, formatCidr, sameAddress } from '../core/address.ts'
import type { KernelEvent } from '../kernel/netlink/events.ts'
import type { Desired } from '../state/desired.ts'
import type { LocalNode } from './backend.ts'
import { OVERLAY_LINKS } from './registry.ts'
import { ROUTE_PROTOCOL } from './route.ts'

/** Decides whether an event may concern the overlay. Pods come and go all the time, and concern it never. */
export type DriftFilter = (event: KernelEvent) => boolean

/** Creates the filter for a plan. The overlay's links are told by name when they come, and by index afterwards. */
export function createDriftFilter(desired: readonly Desired[], node: LocalNode): DriftFilter {
  const underlay = node.underlay.filter(({ addresses }) =>
    addresses.some(({ address }) => node.addresses.some((own) => sameAddress(own, address))),
  )
  const underlayIndexes = new Set(underlay.map(({ index }) => index))
  const overlayIndexes = new Set(
    OVERLAY_LINKS.flatMap((name) => node.place.netns.link({ name })?.index ?? []),
  )
  const own = new Set(node.addresses.map(formatAddress))
  const ranges = new Set(desired.flatMap((one) => (one.kind === 'route' ? [formatCidr(one.route.dst)] : [])))
  return (event) => {
    switch (event.subject) {
      case 'link':
        return OVERLAY_LINKS.includes(event.name) || underlayIndexes.has(event.linkIndex)
      case 'address':
        return (
          overlayIndexes.has(event.linkIndex) ||
          underlayIndexes.has(event.linkIndex) ||
          own.has(formatAddress(event.address))
        )
      case 'neighbour':
        return overlayIndexes.has(event.linkIndex)
      case 'route':
        return event.protocol === ROUTE_PROTOCOL || ranges.has(formatCidr(event.dst))
    }
  }
}
