import { type Address, type Family, networkOf, sameCidr } from '../../core/address.ts'
import type { DesiredLink } from '../../state/desired.ts'
import { addressOf } from '../backend.ts'
import type { ClusterNode } from '../cluster.ts'
import type { OverlayPlan } from '../plan.ts'
import { underlayMtu } from '../underlay.ts'
import { WAYS } from './packet.ts'
import type { WayHealth } from './way_health.ts'

/** How a probe gets to a node. */
export type Way = {
  readonly destination: Address
  /** `direct`: packets travel as they are. Else the kind of the link that encapsulates them, such as `vxlan`. */
  readonly path: string
  /** What a packet may have on this way, as this node has it configured: bytes. */
  readonly mtu: number
}

/** A way to a peer, its index in WAYS, and what has been measured of it. */
export type Measured = { readonly way: Way; readonly health: WayHealth; readonly index: number }

/** Returns the ways to a peer, by the index of WAYS; undefined where there is none. */
export function waysTo(peer: ClusterNode, plan: OverlayPlan): (Way | undefined)[] {
  return WAYS.map(({ network, family }) =>
    network === 'underlay' ? underlayWay(peer, family, plan) : podsWay(peer, family, plan),
  )
}

/** Returns the address of a node to which packets take the way of those to its pods. No pod has it. */
export function meshAddressOf({ podCidrs }: ClusterNode, family: Family): Address | undefined {
  const range = podCidrs.find(({ address }) => address.family === family)
  return range && networkOf(range).address
}

function underlayWay(peer: ClusterNode, family: Family, { node }: OverlayPlan): Way | undefined {
  const destination = addressOf(peer, family)
  if (!destination || !addressOf(node, family)) return undefined
  return { destination, path: 'direct', mtu: underlayMtu(node, family) }
}

function podsWay(peer: ClusterNode, family: Family, { node, links, peers }: OverlayPlan): Way | undefined {
  const range = peer.podCidrs.find(({ address }) => address.family === family)
  const dst = range && networkOf(range)
  const route = dst && peers.get(peer.name)?.routes.find((one) => sameCidr(one.route.dst, dst))
  if (!route) return undefined
  const device = links.find((one): one is DesiredLink => one.kind === 'link' && one.link === route.link)
  return {
    destination: dst.address,
    path: device?.create?.type ?? 'direct',
    mtu: device?.mtu ?? underlayMtu(node, family),
  }
}
