import {
  type Address,
  type Cidr,
  contains,
  formatAddress,
  formatCidr,
  lastAddressOf,
  networkOf,
  sameAddress,
} from '../src/core/address.ts'
import { Code, Fault } from '../src/core/errors.ts'
import { isAllHosts, notAHost, notASubnet } from '../src/core/special_address.ts'
import { capacityOf, formatRangeSet, type Range, type RangeSet, rangeOf } from './range_set.ts'

/** The keys of `ipam` that say which addresses and routes there are, decoded. They are host-local's. */
export type IpamConfig = {
  readonly ranges?: readonly (readonly RangeConfig[])[]
  /** A single range may have its keys in `ipam` itself; without `subnet` the other three mean nothing. */
  readonly subnet?: Cidr
  readonly rangeStart?: Address
  readonly rangeEnd?: Address
  readonly gateway?: Address
  readonly routes?: readonly NextHop[]
}

export type RangeConfig = {
  readonly subnet: Cidr
  readonly rangeStart?: Address
  readonly rangeEnd?: Address
  readonly gateway?: Address
}

type NextHop = { readonly gw?: Address }

/**
 * The user of the addresses. It decides on the gateway of a subnet that has no room for one beside the pods: a bridge needs
 * it inside, a routed pod gets a link-local one; nothing is known of another plugin.
 */
export type PoolUse = 'bridged' | 'routed' | 'unknown'

/** A range set of the configuration, with its key. */
type NamedSet = { readonly key: string; readonly ranges: readonly RangeConfig[] }

/**
 * Returns the range sets of a network in host-local's order: those of the runtime, the one in `ipam` itself, then `ranges`.
 * The defaults are host-local's: gateway .1, from .1, to the last address (of IPv4 the one before the broadcast address).
 * Leaves out the network and the broadcast address even when a range names them (plugins#1295); subnets of one or two
 * addresses have neither. Throws a Fault (invalid config) that names key, value and hint.
 */
export function planRanges(
  config: IpamConfig,
  runtimeIpRanges?: readonly (readonly RangeConfig[])[] | undefined,
  use: PoolUse = 'unknown',
): RangeSet[] {
  const sets = namedSets(config, runtimeIpRanges ?? [])
  if (sets.length === 0) {
    throw refuse(
      'key "ipam.ranges" is missing: there is no range to take an address from',
      'Add one, such as "ranges": [[{"subnet": "10.1.0.0/24"}]].',
    )
  }
  const hops = (config.routes ?? []).flatMap(({ gw }) => gw ?? [])
  const planned = sets.map((set, i) => planSet(set, i, use, hops))
  refuseOverlaps(sets, planned)
  return planned
}

function namedSets(config: IpamConfig, runtimeIpRanges: readonly (readonly RangeConfig[])[]): NamedSet[] {
  const { subnet } = config
  const old = subnet ? [{ key: 'ipam', ranges: [{ ...config, subnet }] }] : []
  return [
    ...runtimeIpRanges.map((ranges, i) => ({ key: `runtimeConfig.ipRanges[${i}]`, ranges })),
    ...old,
    ...(config.ranges ?? []).map((ranges, i) => ({ key: `ipam.ranges[${i}]`, ranges })),
  ]
}

function planSet({ key, ranges }: NamedSet, index: number, use: PoolUse, hops: readonly Address[]): RangeSet {
  const planned = ranges.map((range, i) => planRange(keyOfRange(key, i), range, use))
  const [first] = planned
  if (!first) throw refuse(`key "${key}": the range set is empty`, 'Give it a range, or leave the set out.')
  const family = first.start.family
  const stranger = planned.find(({ start }) => start.family !== family)
  if (stranger) {
    throw refuse(
      `key "${key}": ${formatCidr(first.subnet)} and ${formatCidr(stranger.subnet)} are of different families in one set`,
      'A pod gets one address from each set: give IPv4 and IPv6 a set each, [[{v4}], [{v6}]].',
    )
  }
  const set = withNextHops({ index, family, ranges: planned }, hops)
  if (capacityOf(set) > 0n) return set
  throw refuse(
    `key "${key}": ${formatRangeSet(set)} holds no address besides the gateway`,
    'Move rangeStart, rangeEnd or the gateway.',
  )
}

/** Excludes the next hops of routes: those addresses are routers'. */
function withNextHops(set: RangeSet, hops: readonly Address[]): RangeSet {
  const nextHops = hops.filter((hop) => rangeOf(set, hop))
  return nextHops.length > 0 ? { ...set, nextHops } : set
}

function planRange(key: string, config: RangeConfig, use: PoolUse): Range {
  const subnet = planSubnet(`${key}.subnet`, config.subnet)
  const usable = usableOf(subnet)
  const asked = {
    start: config.rangeStart ? inside(`${key}.rangeStart`, config.rangeStart, subnet) : usable.start,
    end: config.rangeEnd ? inside(`${key}.rangeEnd`, config.rangeEnd, subnet) : usable.end,
  }
  if (asked.start.value > asked.end.value) {
    throw refuse(
      `key "${key}.rangeStart": ${formatAddress(asked.start)} is behind rangeEnd ${formatAddress(asked.end)}`,
      'Exchange the two.',
    )
  }
  const start = asked.start.value < usable.start.value ? usable.start : asked.start
  const end = asked.end.value > usable.end.value ? usable.end : asked.end
  if (start.value > end.value) {
    throw refuse(
      `key "${key}": ${formatAddress(asked.start)}-${formatAddress(asked.end)} holds no address that a pod can have`,
      `Keep off the network and broadcast address of ${formatCidr(subnet)}.`,
    )
  }
  const gateway = config.gateway
    ? plannedGateway(`${key}.gateway`, config.gateway, subnet)
    : defaultGateway(key, { subnet, start, end }, use)
  return { subnet, start, end, ...(gateway && { gateway }) }
}

/** Returns the first and the last address that a host can have. */
function usableOf(subnet: Cidr): Pick<Range, 'start' | 'end'> {
  const [start, end] = [subnet.address, lastAddressOf(subnet)]
  if (isAllHosts(subnet)) return { start, end }
  return { start: next(start), end: { ...end, value: end.value - (end.family === 4 ? 1n : 0n) } }
}

/** Returns the first address of the subnet. Of two addresses it is the second, or the one outside of the range. */
function defaultGateway(
  key: string,
  { subnet, start, end }: Omit<Range, 'gateway'>,
  use: PoolUse,
): Address | undefined {
  if (!isAllHosts(subnet)) return next(subnet.address)
  if (use === 'routed') return undefined
  const last = lastAddressOf(subnet)
  if (!sameAddress(subnet.address, last)) {
    return sameAddress(start, end) && sameAddress(start, last) ? subnet.address : last
  }
  if (use === 'unknown') return undefined
  throw refuse(
    `key "${key}.subnet": ${formatCidr(subnet)} leaves no address for a gateway, which mode "l2" needs`,
    'Set "mode" to "l3", where the gateway is on the link, or name one with the key "gateway".',
  )
}

function next(address: Address): Address {
  return { ...address, value: address.value + 1n }
}

function planSubnet(key: string, subnet: Cidr): Cidr {
  const text = formatCidr(subnet)
  const network = networkOf(subnet)
  if (!sameAddress(network.address, subnet.address)) {
    throw refuse(`key "${key}": ${text} has host bits set`, `Write ${formatCidr(network)}.`)
  }
  const why = notASubnet(subnet)
  if (!why) return subnet
  throw refuse(`key "${key}": ${text} has ${why}, which no pod can have`, 'Use a subnet of host addresses.')
}

/** Checks a gateway. As with host-local it may be outside the subnet, for example link-local. */
function plannedGateway(key: string, gateway: Address, subnet: Cidr): Address {
  const text = formatAddress(gateway)
  if (gateway.family !== subnet.address.family) {
    throw refuse(
      `key "${key}": ${text} is not of the family of ${formatCidr(subnet)}`,
      'Give the gateway an address of the same family, or leave the key out for the first address of the subnet.',
    )
  }
  const why = notAHost(gateway, [subnet])
  if (!why) return gateway
  throw refuse(
    `key "${key}": ${text} is ${why}, which no router can have`,
    'Give the gateway the address of a host, or leave the key out for the first address of the subnet.',
  )
}

function inside(key: string, address: Address, subnet: Cidr): Address {
  if (contains(subnet, address)) return address
  throw refuse(
    `key "${key}": ${formatAddress(address)} is not in ${formatCidr(subnet)}`,
    'Give an address of the subnet.',
  )
}

/**
 * Throws a Fault (invalid config) for a next hop that no router of these sets can have. The kernel decides whether a pod can
 * reach the others.
 */
export function assertNextHops(routes: readonly NextHop[] = [], sets: readonly RangeSet[]): void {
  const subnets = sets.flatMap(({ ranges }) => ranges.map(({ subnet }) => subnet))
  for (const [i, { gw }] of routes.entries()) {
    const why = gw && notAHost(gw, subnets)
    if (!why) continue
    throw refuse(
      `key "ipam.routes[${i}].gw": ${formatAddress(gw)} is ${why}, which no router can have`,
      'Leave "gw" out of that route: it then leads by the gateway of the pod.',
    )
  }
}

/** Ranges may share a subnet, but no address. */
function refuseOverlaps(sets: readonly NamedSet[], planned: readonly RangeSet[]): void {
  const all = planned.flatMap(({ ranges }, set) =>
    ranges.map((range, i) => ({ range, key: keyOfRange(sets[set]?.key ?? '', i) })),
  )
  for (const [i, one] of all.entries()) {
    const other = all.slice(i + 1).find(({ range }) => rangesOverlap(range, one.range))
    if (!other) continue
    throw refuse(
      `keys "${one.key}" and "${other.key}" overlap: ${rangeText(one.range)} and ${rangeText(other.range)}`,
      'Give each address to one range only: other subnets, or rangeStart and rangeEnd that keep apart.',
    )
  }
}

function rangesOverlap(a: Range, b: Range): boolean {
  if (a.start.family !== b.start.family) return false
  return a.start.value <= b.end.value && b.start.value <= a.end.value
}

function rangeText({ start, end }: Range): string {
  return `${formatAddress(start)}-${formatAddress(end)}`
}

/** The range in `ipam` itself has no index. */
function keyOfRange(key: string, index: number): string {
  return key === 'ipam' ? key : `${key}[${index}]`
}

function refuse(message: string, hint: string): Fault {
  return new Fault(message, { code: Code.invalidConfig, hint })
}
