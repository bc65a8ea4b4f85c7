import { type Address, type Cidr, type Family, formatAddress, sameAddress } from '../src/core/address.ts'

/** A run of addresses of one subnet, both ends included. Holds the network or broadcast address of none that has them. */
export type Range = {
  readonly subnet: Cidr
  readonly start: Address
  readonly end: Address
  /** Never handed out. May lie outside the subnet. Absent where the subnet has no room for one. */
  readonly gateway?: Address
}

/** The ranges that one address of a pod comes from. All of one family, at least one, none overlapping. */
export type RangeSet = {
  /** Which address of a pod this is, from 0: host-local's `last_reserved_ip.<index>`. */
  readonly index: number
  readonly family: Family
  readonly ranges: readonly Range[]
  /** Routers that the routes of the network name. Like gateways never handed out. */
  readonly nextHops?: readonly Address[]
}

/** `10.0.0.1-10.0.0.254`, several with commas: the way that host-local names a set. */
export function formatRangeSet({ ranges }: RangeSet): string {
  return ranges.map(({ start, end }) => `${formatAddress(start)}-${formatAddress(end)}`).join(',')
}

/** The range that this address may be handed out from, or undefined. Gateways count as inside. */
export function rangeOf(set: RangeSet, address: Address): Range | undefined {
  if (address.family !== set.family) return undefined
  return set.ranges.find(({ start, end }) => start.value <= address.value && address.value <= end.value)
}

export function isGateway(set: RangeSet, address: Address): boolean {
  return gatewaysOf(set).some((gateway) => sameAddress(gateway, address))
}

/** The gateways of the ranges, and the other next hops. */
export function gatewaysOf({ ranges, nextHops = [] }: RangeSet): Address[] {
  return [...ranges.flatMap(({ gateway }) => gateway ?? []), ...nextHops]
}

/** How many positions the set has, gateways included. */
export function sizeOf({ ranges }: RangeSet): bigint {
  return ranges.reduce((sum, range) => sum + lengthOf(range), 0n)
}

/** How many addresses of the set can be handed out: those at its positions that are no gateway. */
export function capacityOf(set: RangeSet): bigint {
  const gateways = gatewaysOf(set).flatMap((gateway) => (rangeOf(set, gateway) ? [gateway.value] : []))
  return sizeOf(set) - BigInt(new Set(gateways).size)
}

/** The address at a position from 0 to `sizeOf(set) - 1`: range after range, each from its start. */
export function addressAt({ family, ranges }: RangeSet, position: bigint): Address {
  let rest = position
  for (const range of ranges) {
    const length = lengthOf(range)
    if (rest < length) return { family, value: range.start.value + rest }
    rest -= length
  }
  throw new RangeError(`position ${position} is beyond the range set`)
}

/** The reverse of `addressAt`; undefined for an address that is in no range. */
export function positionOf(set: RangeSet, address: Address): bigint | undefined {
  const range = rangeOf(set, address)
  if (!range) return undefined
  const before = set.ranges.slice(0, set.ranges.indexOf(range))
  return before.reduce((sum, one) => sum + lengthOf(one), 0n) + address.value - range.start.value
}

function lengthOf({ start, end }: Range): bigint {
  return end.value - start.value + 1n
}
