import { formatAddress, formatCidr } from '../core/address.ts'
import type { Change, FdbEntry, LinkRef, PacketFilter, PortVlan, Route } from './kernel.ts'

/** Settings of a link that are one value each: the words for people, and the option of `ip link set`. */
export const LINK_SETTINGS = {
  mtu: { words: 'an MTU of', option: 'mtu' },
  txQueueLength: { words: 'a transmit queue of', option: 'txqueuelen' },
  mac: { words: 'the MAC', option: 'address' },
  group: { words: 'the group', option: 'group' },
} as const

export type LinkSetting = keyof typeof LINK_SETTINGS
export const ALL_LINK_SETTINGS = Object.keys(LINK_SETTINGS) as readonly LinkSetting[]

/** Describes a change in a few words, such as "add route 10.1.0.0/24 via 10.0.0.2". */
export function describeChange(change: Change): string {
  switch (change.op) {
    case 'createVeth':
      return `create veth ${change.host.name} with ${change.peer.name} in the pod`
    case 'createBridge':
      return `create bridge ${change.name}${change.vlanFiltering ? ' with VLAN filtering' : ''}`
    case 'createVlan':
      return `create VLAN link ${change.name} for VLAN ${change.vlan}`
    case 'createVxlan':
      return `create VXLAN link ${change.name} for VNI ${change.vxlan.vni}`
    case 'createIfb':
      return `create ifb link ${change.name}`
    case 'setQdisc':
      return `set queueing discipline ${change.qdisc.kind} on link ${change.linkIndex}`
    case 'removeQdisc':
      return `remove queueing discipline ${change.qdisc.kind} from link ${change.linkIndex}`
    case 'addPacketFilter':
      return `add filter for ${describePacketFilter(change.filter)} to link ${change.linkIndex}`
    case 'removePacketFilter':
      return `remove filter for ${describePacketFilter(change.filter)} from link ${change.linkIndex}`
    case 'setLink':
      return `set link ${nameOf(change.link)}`
    case 'removeLink':
      return `remove link ${nameOf(change.link)}`
    case 'addAddress':
      return `add address ${formatCidr(change.cidr)} to link ${change.linkIndex}`
    case 'removeAddress':
      return `remove address ${formatCidr(change.cidr)} from link ${change.linkIndex}`
    case 'addRoute':
      return `add route ${describeRoute(change.route)}`
    case 'removeRoute':
      return `remove route ${describeRoute(change.route)}`
    case 'restoreRoute':
      return 'make a route again'
    case 'setNeighbour':
      return `set neighbour ${formatAddress(change.neighbour.address)} to ${change.neighbour.mac}`
    case 'removeNeighbour':
      return `remove neighbour ${formatAddress(change.neighbour.address)}`
    case 'setFdbEntry':
      return `set forwarding entry ${describeFdbEntry(change.entry)}`
    case 'removeFdbEntry':
      return `remove forwarding entry ${describeFdbEntry(change.entry)}`
    case 'addPortVlan':
      return `add VLAN ${describeVlans(change.vlan)} to port ${change.linkIndex}`
    case 'removePortVlan':
      return `remove VLAN ${describeVlans(change.vlan)} from port ${change.linkIndex}`
  }
}

function nameOf(ref: LinkRef): string {
  return 'name' in ref ? ref.name : String(ref.index)
}

/** RTN_*, in the words of `ip route`. Source: linux/rtnetlink.h. */
const ROUTE_TYPES = [
  'unspec',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
]

/** Returns a route as `ip route` begins it. */
export function describeRoute(route: Omit<Route, 'linkIndex'>): string {
  const { dst, gateway, type, tos, from } = route
  const parts = [
    type !== undefined && (ROUTE_TYPES[type] ?? `type ${type}`),
    formatCidr(dst),
    from && `from ${formatCidr(from)}`,
    tos && `tos ${tos}`,
    gateway && route.nextHopId === undefined && `via ${formatAddress(gateway)}`,
  ]
  return parts.filter(Boolean).join(' ')
}

/** Returns a forwarding entry as `bridge fdb` has its two ends. */
export function describeFdbEntry({ mac, destination }: Pick<FdbEntry, 'mac' | 'destination'>): string {
  return `${mac} dst ${formatAddress(destination)}`
}

/** Returns which packets a filter is for, such as `ingress packets to 10.0.0.0/8`. */
export function describePacketFilter({
  direction,
  match,
}: Pick<PacketFilter, 'direction' | 'match'>): string {
  const end = match && `${match.end === 'source' ? 'from' : 'to'} ${formatCidr(match.cidr)}`
  return `${direction} packets${end ? ` ${end}` : ''}`
}

/** Returns one number, or the first and the last. */
export function describeVlans({ from, to }: PortVlan): string {
  return from === to ? String(from) : `${from}-${to}`
}
