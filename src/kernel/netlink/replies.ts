import {
  type Address,
  addressFromBytes,
  bitsOf,
  type Cidr,
  type Family as IpFamily,
} from '../../core/address.ts'
import { Fault } from '../../core/errors.ts'
import { macFromBytes } from '../../core/mac.ts'
import {
  type FdbEntry,
  type Link,
  type Neighbour,
  type PlacedAddress,
  type PortOptions,
  type PortVlan,
  type Route,
  Table,
} from '../kernel.ts'
import { type Attributes, listAttributes, readAttributes, readString, readU32 } from './message.ts'
import {
  Bridge,
  BridgeVlan,
  Family,
  IFAPROT_KERNEL_RA,
  Ifa,
  IfaFlag,
  Iff,
  Ifla,
  Inet6,
  Info,
  Ipv6Conf,
  Nda,
  Nud,
  OperState,
  RTN_UNICAST,
  RTNH_F_ONLINK,
  Rta,
  Rtax,
  RtmFlag,
  RtProtocol,
  VLAN_ID,
  VlanFlag,
} from './rtnetlink.ts'
import { vxlanOf } from './vxlan.ts'

/** Position of `rta_expires` in struct rta_cacheinfo, which tells how long a route is to live. */
const EXPIRES_OFFSET = 8

/** Reads the body of an RTM_NEWLINK message. Throws a Fault if it is too short to be one. */
export function decodeLink(body: Uint8Array): Link {
  const view = viewOf(body, 16, 'link')
  const attributes = readAttributes(body, 16)
  const info = attributes.nested(Ifla.linkInfo)
  const kind = text(info.get(Info.kind))
  const flags = view.getUint32(8, true)
  const operState = attributes.get(Ifla.operState)?.[0] ?? OperState.unknown
  const mac = attributes.get(Ifla.address)
  const master = attributes.u32(Ifla.master)
  const peer = kind === 'veth' ? attributes.u32(Ifla.link) : undefined
  const vlan = kind === 'vlan' ? vlanOf(attributes, info.nested(Info.data)) : undefined
  const alias = attributes.get(Ifla.ifAlias)
  const bridge = kind === 'bridge' ? info.nested(Info.data) : undefined
  const filtering = bridge?.get(Bridge.vlanFiltering)?.[0]
  const filteredFamilies = bridge ? filteredFamiliesOf(bridge) : []
  const mtu = attributes.u32(Ifla.mtu) ?? 0
  const ipv6 = ipv6Settings(attributes, mtu)
  const port = text(info.get(Info.slaveKind)) === 'bridge' ? portOf(info.nested(Info.slaveData)) : undefined
  return {
    index: view.getUint32(4, true),
    name: text(attributes.get(Ifla.ifName)),
    kind,
    mac: macFromBytes(mac?.length === 6 ? mac : new Uint8Array(6)),
    mtu,
    txQueueLength: attributes.u32(Ifla.txQueueLength) ?? 0,
    group: attributes.u32(Ifla.group) ?? 0,
    up: (flags & Iff.up) !== 0,
    running: operState === OperState.up || (operState === OperState.unknown && kind === ''),
    promiscuous: (flags & Iff.promiscuous) !== 0,
    ...(master !== undefined && { master }),
    ...(peer !== undefined && { peer }),
    ...(vlan && { vlan }),
    ...(kind === 'vxlan' && { vxlan: vxlanOf(info.nested(Info.data)) }),
    ...(alias && { alias: text(alias) }),
    ...ipv6,
    ...(filtering !== undefined && { vlanFiltering: filtering !== 0 }),
    ...(filteredFamilies.length > 0 && { filteredFamilies }),
    ...(port && { port }),
  }
}

/** Reads the body of an RTM_NEWADDR message: the index of its link, and the address. */
export function decodeAddress(body: Uint8Array): PlacedAddress {
  const view = viewOf(body, 8, 'address')
  const attributes = readAttributes(body, 8)
  // On a point-to-point link IFA_ADDRESS is the other end; IPv6 has IFA_LOCAL only there.
  const bytes = attributes.get(Ifa.local) ?? attributes.get(Ifa.address)
  return {
    cidr: cidrOf(addressOf(bytes), view.getUint8(1)),
    scope: view.getUint8(3),
    flags: attributes.u32(Ifa.flags) ?? view.getUint8(2),
    linkIndex: view.getUint32(4, true),
  }
}

/**
 * Reads the body of an RTM_NEWROUTE message: one route for each next hop, as IPv6 shows routes by several gateways as
 * one. Returns none for any other route than a unicast one of IP outside the local table.
 */
export function decodeRoutes(body: Uint8Array): Route[] {
  // The local table and other protocols (MPLS) come along in a dump of all families.
  if (!isInternet(viewOf(body, 12, 'route').getUint8(0))) return []
  const { type, route, hops } = decodeRouteEntry(body)
  if (type !== RTN_UNICAST || route.table === Table.local) return []
  return hops.map((hop) => ({ ...route, ...hop }))
}

export type RouteEntry = {
  /** RTN_*. */
  readonly type: number
  /** No entry of a table, but the one next hop that was chosen for a packet. */
  readonly isClone: boolean
  readonly route: Omit<Route, 'linkIndex' | 'gateway'> & { readonly table: number }
  /** None as well where only the number of a next hop object is shown (net.ipv4.nexthop_compat_mode=0). */
  readonly hops: readonly NextHop[]
  readonly nextHopId?: number
}

/** Reads the body of an RTM_NEWROUTE message of IP, whatever its table and type. */
export function decodeRouteEntry(body: Uint8Array): RouteEntry {
  const view = viewOf(body, 12, 'route')
  const attributes = readAttributes(body, 12)
  const source = attributes.get(Rta.prefSource)
  const metrics = attributes.nested(Rta.metrics)
  const mtu = metrics.u32(Rtax.mtu)
  const advmss = metrics.u32(Rtax.advmss)
  const priority = attributes.u32(Rta.priority)
  const route = {
    dst: destinationOf(view.getUint8(0), view.getUint8(1), attributes.get(Rta.dst)),
    scope: view.getUint8(6),
    table: attributes.u32(Rta.table) ?? view.getUint8(4),
    ...(source && { source: addressOf(source) }),
    ...(priority !== undefined && { priority }),
    ...(mtu !== undefined && { mtu }),
    ...(advmss !== undefined && { advmss }),
  }
  const isClone = (view.getUint32(8, true) & RtmFlag.cloned) !== 0
  const nextHopId = attributes.u32(Rta.nextHopId)
  const hops = nextHopsOf(attributes)
  return { type: view.getUint8(7), isClone, route, hops, ...(nextHopId !== undefined && { nextHopId }) }
}

/**
 * Reads the body of an RTM_NEWNEIGH message. Undefined when it has no hardware address yet, or one that was neither set
 * nor learned but computed (multicast).
 */
export function decodeNeighbour(body: Uint8Array): Neighbour | undefined {
  const view = viewOf(body, 12, 'neighbour')
  const attributes = readAttributes(body, 12)
  const mac = attributes.get(Nda.lladdr)
  const address = attributes.get(Nda.dst)
  if (mac?.length !== 6 || !address || view.getUint16(8, true) & Nud.noArp) return undefined
  return { address: addressOf(address), mac: macFromBytes(mac), linkIndex: view.getUint32(4, true) }
}

/** Reads the body of an RTM_NEWROUTE message of any type and table, with what else the kernel knows the route by. Returns none for another family than IP. */
export function decodeOwnedRoutes(body: Uint8Array): Route[] {
  const [family = 0, , sourceBits = 0, tos, , protocol = 0] = body
  if (!isInternet(family)) return []
  const { type, route, hops, nextHopId } = decodeRouteEntry(body)
  const onlink = ((body[8] ?? 0) & RTNH_F_ONLINK) !== 0
  const from = sourceBits > 0 && destinationOf(family, sourceBits, readAttributes(body, 12).get(Rta.src))
  const { length: hopCount } = hops
  return (hopCount > 0 ? hops : [{ linkIndex: 0 }]).map((hop) => ({
    ...route,
    ...hop,
    protocol,
    ...(onlink && { onlink }),
    ...(hopCount > 1 && { hopCount }),
    ...(type !== RTN_UNICAST && { type }),
    ...(tos && { tos }),
    ...(from && { from }),
    ...(nextHopId !== undefined && { nextHopId }),
  }))
}

/** Reads the body of an RTM_NEWNEIGH message of family bridge. Undefined for an entry that names no other node. */
export function decodeFdbEntry(body: Uint8Array): FdbEntry | undefined {
  const view = viewOf(body, 12, 'forwarding entry')
  const attributes = readAttributes(body, 12)
  const [mac, destination] = [attributes.get(Nda.lladdr), attributes.get(Nda.dst)]
  if (body[0] !== Family.bridge || mac?.length !== 6 || !destination) return undefined
  // The kernel shows each of them only where it is not that of the link.
  const detour = [Nda.port, Nda.vni, Nda.linkIndex].flatMap((one) => attributes.get(one)?.join('.') ?? [])
  return {
    mac: macFromBytes(mac),
    destination: addressOf(destination),
    linkIndex: view.getUint32(4, true),
    ...(detour.length > 0 && { detour: detour.join(' ') }),
  }
}

/** Reads the body of an RTM_NEWLINK message of family bridge: a port, or a bridge itself, and its VLANs. */
export function decodePortVlans(body: Uint8Array): { linkIndex: number; vlans: PortVlan[] } {
  const view = viewOf(body, 16, 'bridge port')
  const vlans: PortVlan[] = []
  let from: number | undefined
  for (const [type, value] of listAttributes(readAttributes(body, 16).get(Ifla.afSpec) ?? new Uint8Array())) {
    if (type !== BridgeVlan.info || value.length < 4) continue
    const entry = new DataView(value.buffer, value.byteOffset)
    const [flags, id] = [entry.getUint16(0, true), entry.getUint16(2, true)]
    if (flags & VlanFlag.rangeBegin) from = id
    else {
      const [pvid, untagged] = [(flags & VlanFlag.pvid) !== 0, (flags & VlanFlag.untagged) !== 0]
      vlans.push({ from: from ?? id, to: id, ...(pvid && { pvid }), ...(untagged && { untagged }) })
      from = undefined
    }
  }
  return { linkIndex: view.getUint32(4, true), vlans }
}

/**
 * Reads the body of an RTM_NEWROUTE message of family 6: the links of a route that the kernel made from a router
 * advertisement. A daemon that reads advertisements in place of the kernel makes similar ones, on links whose
 * `accept_ra` is 0.
 */
export function advertisedRouteLinks(body: Uint8Array): number[] {
  const view = viewOf(body, 12, 'route')
  const attributes = readAttributes(body, 12)
  const table = attributes.u32(Rta.table) ?? view.getUint8(4)
  const protocol = view.getUint8(5)
  const expires = readU32(attributes.get(Rta.cacheInfo), EXPIRES_OFFSET)
  // The route of an advertised prefix is `proto kernel` as that of any address, but it is to end.
  const isPrefix = protocol === RtProtocol.kernel && Boolean(expires)
  if (table === Table.local || !(protocol === RtProtocol.ra || isPrefix)) return []
  return nextHopsOf(attributes).map(({ linkIndex }) => linkIndex)
}

/** Reads the body of an RTM_NEWADDR message: the link of an address that was made from an advertised prefix. */
export function advertisedAddressLinks(body: Uint8Array): number[] {
  const view = viewOf(body, 8, 'address')
  const attributes = readAttributes(body, 8)
  const flags = attributes.u32(Ifa.flags) ?? view.getUint8(2)
  const isAdvertised =
    attributes.get(Ifa.proto)?.[0] === IFAPROT_KERNEL_RA || (flags & IfaFlag.manageTempAddr) !== 0
  return isAdvertised ? [view.getUint32(4, true)] : []
}

function vlanOf(attributes: Attributes, data: Attributes): NonNullable<Link['vlan']> {
  const id = data.get(VLAN_ID) ?? new Uint8Array(2)
  const parent = attributes.get(Ifla.linkNetnsId) ? undefined : attributes.u32(Ifla.link)
  return { id: viewOf(id, 2, 'VLAN').getUint16(0, true), ...(parent !== undefined && { parent }) }
}

type Ipv6Settings = Pick<Link, 'acceptRa' | 'ipv6Mtu' | 'ipv6Forwarding' | 'ipv6Disabled'>

/** The settings come as a list of 32-bit numbers, in the order of the kernel's own table. */
function ipv6Settings(attributes: Attributes, linkMtu: number): Ipv6Settings {
  const families = attributes.nested(Ifla.afSpec)
  const settings = families.nested(Family.inet6).get(Inet6.conf)
  const at = (position: number) => readU32(settings, 4 * position)
  const [acceptRa, mtu = linkMtu] = [at(Ipv6Conf.acceptRa), at(Ipv6Conf.mtu)]
  return {
    ...(mtu !== linkMtu && { ipv6Mtu: mtu }),
    ...(acceptRa !== undefined && { acceptRa }),
    ...(at(Ipv6Conf.forwarding) && { ipv6Forwarding: true }),
    ...(at(Ipv6Conf.disableIpv6) && { ipv6Disabled: true }),
  }
}

function filteredFamiliesOf(bridge: Attributes): IpFamily[] {
  const isOn = (type: number): boolean => bridge.get(type)?.[0] === 1
  return [
    ...(isOn(Bridge.callIptables) ? [4 as const] : []),
    ...(isOn(Bridge.callIp6tables) ? [6 as const] : []),
  ]
}

function portOf(attributes: Attributes): PortOptions {
  return {
    hairpin: attributes.get(Bridge.portMode)?.[0] === 1,
    isolated: attributes.get(Bridge.portIsolated)?.[0] === 1,
  }
}

type NextHop = Pick<Route, 'linkIndex' | 'gateway'>

function nextHopsOf(attributes: Attributes): NextHop[] {
  const multipath = attributes.get(Rta.multipath)
  if (multipath) return multipathHops(multipath)
  const linkIndex = attributes.u32(Rta.oif)
  return linkIndex === undefined ? [] : [nextHop(linkIndex, attributes)]
}

/** A list of struct rtnexthop: length, flags, weight, link index, attributes. Malformed ends the list. */
function multipathHops(bytes: Uint8Array): NextHop[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const hops: NextHop[] = []
  for (let at = 0; at + 8 <= bytes.length; ) {
    const length = view.getUint16(at, true)
    if (length < 8 || at + length > bytes.length) break
    const attributes = readAttributes(bytes.subarray(at, at + length), 8)
    hops.push(nextHop(view.getUint32(at + 4, true), attributes))
    at += (length + 3) & ~3
  }
  return hops
}

function nextHop(linkIndex: number, attributes: Attributes): NextHop {
  // RTA_VIA is a gateway of another family than the destination: two bytes of family, then the address.
  const gateway = attributes.get(Rta.gateway) ?? attributes.get(Rta.via)?.subarray(2)
  return { linkIndex, ...(gateway && { gateway: addressOf(gateway) }) }
}

function isInternet(family: number): boolean {
  return family === Family.inet || family === Family.inet6
}

function destinationOf(family: number, prefix: number, bytes: Uint8Array | undefined): Cidr {
  return cidrOf(bytes ? addressOf(bytes) : { family: family === Family.inet ? 4 : 6, value: 0n }, prefix)
}

function cidrOf(address: Address, prefix: number): Cidr {
  if (prefix <= bitsOf(address.family)) return { address, prefix }
  throw new Fault(`the kernel sent a prefix of ${prefix} bits`)
}

function addressOf(bytes: Uint8Array | undefined): Address {
  return addressFromBytes(bytes ?? new Uint8Array(0))
}

function text(bytes: Uint8Array | undefined): string {
  return bytes ? readString(bytes) : ''
}

function viewOf(body: Uint8Array, length: number, what: string): DataView {
  if (body.length < length) throw new Fault(`the kernel sent a ${what} of ${body.length} bytes`)
  return new DataView(body.buffer, body.byteOffset, body.length)
}
