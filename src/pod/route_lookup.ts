import {
  type Address,
  addressKey,
  bitsOf,
  type Cidr,
  formatAddress,
  hostCidr,
  sameAddress,
} from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { FibEntry, Netns } from '../kernel/kernel.ts'

/** RTPROT_KERNEL: the route came with an address. */
const PROTOCOL_KERNEL = 2

/** Returns the FIB entry for an address, as it was when it was looked up; undefined for an address that was not. */
export type RouteLookup = (address: Address) => FibEntry | undefined

/** Looks up the FIB entries of all of these addresses in one round trip. */
export function lookupRoutes(host: Netns, addresses: readonly Address[]): RouteLookup {
  const lookup = addresses.length > 0 ? host.lookupRoutes(addresses) : []
  const known = new Map(addresses.map((address, i) => [addressKey(address), lookup[i]]))
  return (address) => known.get(addressKey(address))
}

/**
 * Returns whether the node receives packets to the address itself: it is an address of the node, or the broadcast address of a
 * subnet of the node. No route can lead them to a pod.
 */
export function isOwn({ type }: FibEntry): boolean {
  return type === 'local' || type === 'broadcast'
}

/**
 * Returns whether the address is the node's, but not local yet: while IPv6 looks for duplicates, there is only the route that
 * came with the address.
 */
export function isPending(host: Netns, address: Address, entry: FibEntry): boolean {
  const [hop] = entry.hops
  if (!hop || address.family === 4 || entry.protocol !== PROTOCOL_KERNEL || !isExact(entry)) return false
  return host.addresses(hop.linkIndex).some(({ cidr }) => sameAddress(cidr.address, address))
}

/** Returns those of the addresses that are the node's own. */
export function nodeAddressesAmong(
  host: Netns,
  addresses: readonly Address[],
  lookup: RouteLookup,
): { address: Address; entry: FibEntry }[] {
  return addresses.flatMap((address) => {
    const entry = lookup(address)
    return entry && (isOwn(entry) || isPending(host, address, entry)) ? [{ address, entry }] : []
  })
}

/** Returns the prefix that belongs to the node, from the FIB entry of one of its addresses. */
export function ownPrefix({ dst }: FibEntry, address: Address): Cidr {
  return dst ?? hostCidr(address)
}

/** Returns whether the route is for a single address. */
export function isExact({ dst }: FibEntry): boolean {
  return dst !== undefined && dst.prefix === bitsOf(dst.address.family)
}

/** Returns the Fault for an address of a pod that is the node's own. */
export function ownAddressFault(host: Netns, address: Address, entry: FibEntry): Fault {
  return new Fault(`${describeOwn(host, address, entry)}: no pod can have it`, {
    code: Code.addressInUse,
    hint: `Ask for another address, or leave ${formatAddress(address)} out of the ranges.`,
  })
}

/** Returns in words where the node has the address. */
export function describeOwn(host: Netns, address: Address, entry: FibEntry): string {
  const what = entry.type === 'broadcast' ? 'the broadcast address of a subnet' : 'an address'
  const name = carrierOf(host, entry)
  return `${formatAddress(address)} is ${what} of the node itself${name ? `, on ${name}` : ''}`
}

function carrierOf(host: Netns, { hops: [hop] }: FibEntry): string | undefined {
  return hop && host.link({ index: hop.linkIndex })?.name
}
