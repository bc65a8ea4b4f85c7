import { type Address, bitsOf, type Cidr, formatAddress, hostCidr, sameAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { Netns, Way } from '../kernel/kernel.ts'

/** RTPROT_KERNEL: the route came with an address. */
const PROTOCOL_KERNEL = 2

/** The ways to some addresses, as they were at one time. Undefined for an address that was not asked for. */
export type Ways = (address: Address) => Way | undefined

/** Asks for the ways to all of these addresses in one round trip. */
export function askWays(host: Netns, addresses: readonly Address[]): Ways {
  const ways = addresses.length > 0 ? host.ways(addresses) : []
  const known = new Map(addresses.map((address, i) => [formatAddress(address), ways[i]]))
  return (address) => known.get(formatAddress(address))
}

/**
 * Whether the node takes what is sent to the address for itself: it is one of its own, or the broadcast address of a
 * subnet that it is in. A pod can't be reached by it, whatever routes it has.
 */
export function isOwn({ type }: Way): boolean {
  return type === 'local' || type === 'broadcast'
}

/**
 * Whether the address is one of the node's that is not local yet: while IPv6 looks for duplicates, there is only the route
 * that came with the address.
 */
export function isPending(host: Netns, address: Address, way: Way): boolean {
  const [hop] = way.hops
  if (!hop || address.family === 4 || way.protocol !== PROTOCOL_KERNEL || !isExact(way)) return false
  return host.addresses(hop.linkIndex).some(({ cidr }) => sameAddress(cidr.address, address))
}

/** Those of the addresses that are the node's own. */
export function ownOnes(
  host: Netns,
  addresses: readonly Address[],
  ways: Ways,
): { address: Address; way: Way }[] {
  return addresses.flatMap((address) => {
    const way = ways(address)
    return way && (isOwn(way) || isPending(host, address, way)) ? [{ address, way }] : []
  })
}

/** What of the address space is the node's, judged by the way to one of its addresses. */
export function ownPrefix({ dst }: Way, address: Address): Cidr {
  return dst ?? hostCidr(address)
}

/** Whether the route is for this very address. */
export function isExact({ dst }: Way): boolean {
  return dst !== undefined && dst.prefix === bitsOf(dst.address.family)
}

/** The refusal of an address for a pod that is one of the node's. */
export function ownAddressFault(host: Netns, address: Address, way: Way): Fault {
  return new Fault(`${describeOwn(host, address, way)}: no pod can have it`, {
    code: Code.addressInUse,
    hint: `Ask for another address, or leave ${formatAddress(address)} out of the ranges.`,
  })
}

/** What makes the address one of the node's. */
export function describeOwn(host: Netns, address: Address, way: Way): string {
  const what = way.type === 'broadcast' ? 'the broadcast address of a subnet' : 'an address'
  const name = carrierOf(host, way)
  return `${formatAddress(address)} is ${what} of the node itself${name ? `, on ${name}` : ''}`
}

function carrierOf(host: Netns, { hops: [hop] }: Way): string | undefined {
  return hop && host.link({ index: hop.linkIndex })?.name
}
