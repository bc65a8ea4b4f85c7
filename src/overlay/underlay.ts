import { type Address, contains, type Family, sameAddress } from '../core/address.ts'
import type { LocalNode } from './backend.ts'
import type { UnderlayLink } from './cluster.ts'

/** The MTU of Ethernet, for a node whose address is on none of its links (a public address that a router translates). */
const USUAL_MTU = 1500

/** Returns the link that has this address of the node. */
export function linkWith({ underlay }: LocalNode, address: Address): UnderlayLink | undefined {
  return underlay.find(({ addresses }) => addresses.some((cidr) => sameAddress(cidr.address, address)))
}

/** Returns the link on which a peer's address is, so that no router lies between. */
export function linkOnto(node: LocalNode, peer: Address): UnderlayLink | undefined {
  const own = node.addresses.find(({ family }) => family === peer.family)
  const link = own && linkWith(node, own)
  return link?.addresses.some((cidr) => contains(cidr, peer)) ? link : undefined
}

/** Returns the MTU of the way to other nodes of this family: bytes. */
export function underlayMtu(node: LocalNode, family: Family): number {
  const own = node.addresses.find((address) => address.family === family)
  return node.config.underlayMtu ?? (own && linkWith(node, own))?.mtu ?? USUAL_MTU
}
