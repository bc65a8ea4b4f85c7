import {
  type Address,
  bitsOf,
  type Cidr,
  contains,
  formatAddress,
  formatCidr,
  lastAddressOf,
  networkOf,
  parseAddress,
  parseCidr,
  sameAddress,
} from '../src/core/address.ts'
import { Code, during, Fault } from '../src/core/errors.ts'
import { capacityOf, formatRangeSet, type Range, type RangeSet } from './range_set.ts'

/** The section `ipam` of a network configuration, decoded. The keys are host-local's. */
export type IpamConfig = {
  readonly type?: string | undefined
  readonly ranges?: readonly (readonly RangeConfig[])[] | undefined
  /** One range in the old place of its keys; without `subnet` the other three mean nothing. */
  readonly subnet?: string | undefined
  readonly rangeStart?: string | undefined
  readonly rangeEnd?: string | undefined
  readonly gateway?: string | undefined
  readonly routes?: readonly RouteConfig[] | undefined
  /** Where the leases are, absolute. */
  readonly dataDir?: string | undefined
  /** A file in the format of resolv.conf(5), absolute. */
  readonly resolvConf?: string | undefined
}

export type RangeConfig = {
  readonly subnet: string
  readonly rangeStart?: string | undefined
  readonly rangeEnd?: string | undefined
  readonly gateway?: string | undefined
}

export type RouteConfig = {
  readonly dst: string
  readonly gw?: string | undefined
  /** Bytes. */
  readonly mtu?: number | undefined
  readonly advmss?: number | undefined
  readonly priority?: number | undefined
  readonly table?: number | undefined
  readonly scope?: number | undefined
}

/** A range set as the configuration writes it, with the key that it stands under. */
type NamedSet = { readonly key: string; readonly ranges: readonly RangeConfig[] }

/**
 * The range sets of a network, in host-local's order: those of the runtime, the one in the old place, then `ranges`.
 * host-local's defaults: gateway .1, from .1, to the last address (of IPv4 the one before the broadcast address).
 * The network and the broadcast address are left out even when a range names them (plugins#1295). Throws a Fault
 * (invalid config) that names key, value and cure.
 */
export function planRanges(
  config: IpamConfig,
  runtimeIpRanges?: readonly (readonly RangeConfig[])[] | undefined,
): RangeSet[] {
  const sets = namedSets(config, runtimeIpRanges ?? [])
  if (sets.length === 0) {
    throw refuse(
      'key "ipam.ranges" is missing: there is no range to take an address from',
      'Add one, such as "ranges": [[{"subnet": "10.1.0.0/24"}]].',
    )
  }
  const planned = sets.map(planSet)
  refuseOverlaps(sets, planned)
  return planned
}

function namedSets(config: IpamConfig, runtimeIpRanges: readonly (readonly RangeConfig[])[]): NamedSet[] {
  const { subnet, rangeStart, rangeEnd, gateway } = config
  const old = subnet ? [{ key: 'ipam', ranges: [{ subnet, rangeStart, rangeEnd, gateway }] }] : []
  return [
    ...runtimeIpRanges.map((ranges, i) => ({ key: `runtimeConfig.ipRanges[${i}]`, ranges })),
    ...old,
    ...(config.ranges ?? []).map((ranges, i) => ({ key: `ipam.ranges[${i}]`, ranges })),
  ]
}

function planSet({ key, ranges }: NamedSet, index: number): RangeSet {
  const planned = ranges.map((range, i) => planRange(keyOfRange(key, i), range))
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
  const set = { index, family, ranges: planned }
  if (capacityOf(set) > 0n) return set
  throw refuse(
    `key "${key}": ${formatRangeSet(set)} holds no address besides the gateway`,
    'Move rangeStart, rangeEnd or the gateway.',
  )
}

function planRange(key: string, config: RangeConfig): Range {
  const subnet = planSubnet(`${key}.subnet`, config.subnet)
  const first = { ...subnet.address, value: subnet.address.value + 1n }
  const broadcast = lastAddressOf(subnet)
  const last = { ...broadcast, value: broadcast.value - (subnet.address.family === 4 ? 1n : 0n) }
  const gateway = config.gateway ? readGateway(`${key}.gateway`, config.gateway, subnet) : first
  const asked = {
    start: config.rangeStart ? readInside(`${key}.rangeStart`, config.rangeStart, subnet) : first,
    end: config.rangeEnd ? readInside(`${key}.rangeEnd`, config.rangeEnd, subnet) : last,
  }
  if (asked.start.value > asked.end.value) {
    throw refuse(
      `key "${key}.rangeStart": ${formatAddress(asked.start)} is behind rangeEnd ${formatAddress(asked.end)}`,
      'Exchange the two.',
    )
  }
  const start = asked.start.value < first.value ? first : asked.start
  const end = asked.end.value > last.value ? last : asked.end
  if (start.value <= end.value) return { subnet, start, end, gateway }
  throw refuse(
    `key "${key}": ${formatAddress(asked.start)}-${formatAddress(asked.end)} holds no address that a pod can have`,
    `Keep off the network and broadcast address of ${formatCidr(subnet)}.`,
  )
}

function planSubnet(key: string, text: string): Cidr {
  const subnet = during(`key "${key}"`, () => parseCidr(text))
  const network = networkOf(subnet)
  if (!sameAddress(network.address, subnet.address)) {
    throw refuse(`key "${key}": ${text} has host bits set`, `Write ${formatCidr(network)}.`)
  }
  const longest = bitsOf(subnet.address.family) - 2
  if (subnet.prefix <= longest) return subnet
  throw refuse(`key "${key}": ${text} is too small to take addresses from`, `Use a /${longest} or larger.`)
}

/** host-local allows a gateway outside the subnet (a link-local one, say). */
function readGateway(key: string, text: string, subnet: Cidr): Address {
  const gateway = during(`key "${key}"`, () => parseAddress(text))
  if (gateway.family === subnet.address.family) return gateway
  throw refuse(
    `key "${key}": ${text} is not of the family of ${formatCidr(subnet)}`,
    'Give the gateway an address of the same family, or leave the key out for the first address of the subnet.',
  )
}

function readInside(key: string, text: string, subnet: Cidr): Address {
  const address = during(`key "${key}"`, () => parseAddress(text))
  if (contains(subnet, address)) return address
  throw refuse(`key "${key}": ${text} is not in ${formatCidr(subnet)}`, 'Give an address of the subnet.')
}

/** The same subnet may stand in two places as long as no address does. */
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

/** The old place has no index: its keys stand in `ipam` itself. */
function keyOfRange(key: string, index: number): string {
  return key === 'ipam' ? key : `${key}[${index}]`
}

function refuse(message: string, cure: string): Fault {
  return new Fault(message, { code: Code.invalidConfig, cure })
}
