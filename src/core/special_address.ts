import {
  type Address,
  bitsOf,
  type Cidr,
  contains,
  formatCidr,
  lastAddressOf,
  networkOf,
  sameAddress,
} from './address.ts'

/*
 * Addresses that no host has. Source: RFC 6890, RFC 4291, and the addresses that the kernel does not accept as unicast.
 */

const THIS_NETWORK = 'an address of "this network" (0.0.0.0/8)'
const LOOPBACK = 'a loopback address'
const MULTICAST = 'a multicast address'

/**
 * Returns why no host of these subnets has this address, such as `a multicast address`; undefined if one may have it.
 * A host may have any address outside all of them, including link-local ones. The reserved blocks 240.0.0.0/4 and ::/8 are
 * an exception: their addresses are hosts' only where a subnet is taken from the block, as GKE does.
 */
export function notAHost(address: Address, subnets: readonly Cidr[]): string | undefined {
  const subnet = subnets.find((one) => contains(one, address))
  return specialUse(address) ?? (subnet ? edgeOf(subnet, address) : reservedUse(address))
}

/** Returns why some or all addresses of a subnet are not hosts'; undefined if they are. */
export function notASubnet(subnet: Cidr): string | undefined {
  const [first, last] = [networkOf(subnet).address, lastAddressOf(subnet)]
  if (first.family === 6) return specialUse(first) ?? specialUse(last)
  const [lowest, highest] = [topByte(first), topByte(last)]
  if (lowest === 0) return THIS_NETWORK
  if (lowest <= 127 && highest >= 127) return LOOPBACK
  return lowest < 240 && highest >= 224 ? MULTICAST : undefined
}

/** Reports whether every address of the subnet is a host's. Source: RFC 3021 and RFC 6164 for two; one has no edges. */
export function isAllHosts({ address, prefix }: Cidr): boolean {
  return prefix >= bitsOf(address.family) - 1
}

/** Reports whether the subnet has one address. */
export function isSingle({ address, prefix }: Cidr): boolean {
  return prefix === bitsOf(address.family)
}

/** Reports whether an address is in fe80::/10: it is on every link, and cannot be routed. */
export function isLinkLocal6({ family, value }: Address): boolean {
  return family === 6 && value >> 118n === 0x3fan
}

function specialUse(address: Address): string | undefined {
  const { family, value } = address
  if (value === 0n) return 'the unspecified address'
  const top = topByte(address)
  if (family === 6) return value === 1n ? LOOPBACK : top === 0xff ? MULTICAST : undefined
  if (top === 0) return THIS_NETWORK
  if (top === 127) return LOOPBACK
  if (value === 0xffffffffn) return 'the broadcast address'
  return top >= 224 && top < 240 ? MULTICAST : undefined
}

function reservedUse(address: Address): string | undefined {
  const top = topByte(address)
  if (address.family === 6) return top === 0 ? 'an address of the reserved block ::/8' : undefined
  return top >= 240 ? 'an address of the reserved block 240.0.0.0/4' : undefined
}

function topByte({ family, value }: Address): number {
  return Number(value >> BigInt(bitsOf(family) - 8))
}

/** IPv6 has no broadcast address; its lowest is that of any router (RFC 4291, section 2.6.1). */
function edgeOf(subnet: Cidr, address: Address): string | undefined {
  if (isAllHosts(subnet)) return undefined
  const network = networkOf(subnet)
  if (sameAddress(network.address, address)) return `the network address of ${formatCidr(network)}`
  const isLast = address.family === 4 && sameAddress(lastAddressOf(subnet), address)
  return isLast ? `the broadcast address of ${formatCidr(network)}` : undefined
}
