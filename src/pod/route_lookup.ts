import { type Address, bitsOf, type Cidr, formatAddress, hostCidr, sameAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { FibEntry, Netns } from '../kernel/kernel.ts'

/** RTPROT_KERNEL: the route came with an address. */
const PROTOCOL_KERNEL = 2

/** Returns the FIB entry for an address, as it was when it was looked up; undefined for an address that was not. */
export type RouteLookup = (address: Address) => FibEntry | undefined

/** Looks up the FIB entries of all of these addresses in one round trip. */
export function lookupRoutes(host: Netns, addresses: readonly Address[]): RouteLookup {
  const lookup = addresses.length > 0 ? host.lookupRoutes(addresses) : []
  const known = new Map(addresses.map((address, i) => [formatAddress(address), lookup[i]]))
  return (address) => known.get(formatAddress(address))
}

/**
 * Whether the node takes what is sent to the address for itself: it is one of its own, or the broadcast address of a
 * subnet that it is in. A pod can't be reached by it, whatever routes it has.
 */
export function isOwn({ type }: FibEntry): boolean {
  return type === 'local' || type === 'broadcast'
}

/**
 * Whether the address is one of the node's that is not local yet: while IPv6 looks for duplicates, there is only the route
 * that came with the address.
 */
export function isPending(host: Netns, address: Address, entry: FibEntry): boolean {
  const [hop] = entry.hops
  if (!hop || address.family === 4 || entry.protocol !== PROTOCOL_KERNEL || !isExact(entry)) return false
  return host.addresses(hop.linkIndex).some(({ cidr }) => sameAddress(cidr.address, address))
}

/** Those of the addresses that are the node's own. */
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

/** What of the address space is the node's, judged by the way to one of its addresses. */
export function ownPrefix({ dst }: FibEntry, address: Address): Cidr {
  return dst ?? hostCidr(address)
}

/** Whether the route is for this very address. */
export function isExact({ dst }: FibEntry): boolean {
  return dst !== undefined && dst.prefix === bitsOf(dst.address.family)
}

/** The refusal of an address for a pod that is one of the node's. */
export function ownAddressFault(host: Netns, address: Address, entry: FibEntry): Fault {
  return new Fault(`${describeOwn(host, address, entry)}: no pod can have it`, {
    code: Code.addressInUse,
    hint: `Ask for another address, or leave ${formatAddress(address)} out of the ranges.`,
  })
}

/** What makes the address one of the node's. */
export function describeOwn(host: Netns, address: Address, entry: FibEntry): string {
  const what = entry.type === 'broadcast' ? 'the broadcast address of a subnet' : 'an address'
  const name = carrierOf(host, entry)
  return `${formatAddress(address)} is ${what} of the node itself${name ? `, on ${name}` : ''}`
}

function carrierOf(host: Netns, { hops: [hop] }: FibEntry): string | undefined {
  return hop && host.link({ index: hop.linkIndex })?.name
}
