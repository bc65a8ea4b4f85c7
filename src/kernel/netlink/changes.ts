import { addressBytes, bitsOf, type Cidr, lastAddressOf } from '../../core/address.ts'
import { macBytes } from '../../core/mac.ts'
import {
  type Change,
  type FdbEntry,
  type LinkRef,
  type PortVlan,
  type Route,
  Scope,
  Table,
} from '../kernel.ts'
import { type MessageWriter, Nlm } from './message.ts'
import {
  Bridge,
  BridgeVlan,
  Family,
  Ifa,
  IfaFlag,
  Iff,
  Ifla,
  Inet,
  Info,
  Ipv4Conf,
  Nda,
  NTF_SELF,
  Nud,
  RTN_UNICAST,
  RTNH_F_ONLINK,
  Rta,
  Rtax,
  Rtm,
  RtProtocol,
  VETH_PEER,
  VLAN_ID,
  VlanFlag,
} from './rtnetlink.ts'
import { writeTraffic } from './traffic.ts'
import { writeUntunedVxlan, writeVxlan } from './vxlan.ts'

type SetLink = Extract<Change, { op: 'setLink' }>
type AddAddress = Extract<Change, { op: 'addAddress' }>

const MAKE = Nlm.create | Nlm.exclusive
const REPLACE = Nlm.create | Nlm.replace
/**
 * A plain add lets default routes by several gateways stand side by side, and refuses a duplicate. Measured on Linux
 * 6.18, where EXCL would refuse the second gateway in both families:
 * - IPv4 puts the new route behind the old ones, the first of which is used. What equals an old one in all respects is
 *   EEXIST; the same gateway with another MTU is one more route.
 * - IPv6 makes the gateways the next hops of one multipath route. The same next hop is EEXIST, whatever its MTU.
 */
const ADD_ROUTE = Nlm.create | Nlm.append

/**
 * Returns the changes of one message each that a change consists of. Only a change of a link may be more than one:
 * - A link that joins a bridge and gets port options: the kernel looks for the bridge before it has joined, and answers
 *   EOPNOTSUPP. It joins first, so that it is not up without its options.
 * - A link that comes up without a link-local address: Linux 6.1 brings it up first, and the address is there by then.
 */
export function stepsOf(change: Change): readonly Change[] {
  if (change.op !== 'setLink') return [change]
  const { op, link } = change
  if (change.master && change.port) {
    const { master, ...rest } = change
    return [{ op, link, master }, ...stepsOf(rest)]
  }
  if (change.up && change.ipv6LinkLocal === false) {
    const { ipv6LinkLocal, ...rest } = change
    return [{ op, link, ipv6LinkLocal }, rest]
  }
  return [change]
}

/**
 * Writes one of `stepsOf` as a message that asks for an acknowledgement. `netnsFd` is the descriptor of the namespace
 * that a new veth's other end goes to.
 */
export function writeChange(writer: MessageWriter, change: Change, seq: number, netnsFd: number): void {
  const begin = (type: number, flags = 0): MessageWriter =>
    writer.begin(type, Nlm.request | Nlm.ack | flags, seq)
  switch (change.op) {
    case 'createVeth':
    case 'createBridge':
    case 'createVlan':
    case 'createVxlan':
    case 'createIfb':
      writeCreation(begin(Rtm.newLink, MAKE), change, netnsFd)
      break
    case 'setQdisc':
    case 'removeQdisc':
    case 'addPacketFilter':
    case 'removePacketFilter':
      writeTraffic(begin, change)
      break
    case 'setLink':
      // NEWLINK without CREATE: the only request that takes a port's attributes along with all others.
      writeSetLink(begin(Rtm.newLink), change)
      break
    case 'removeLink':
      writeLinkHead(begin(Rtm.delLink), change.link)
      break
    case 'addAddress':
      writeNewAddress(begin(Rtm.newAddr, MAKE), change)
      break
    case 'removeAddress':
      writeAddress(begin(Rtm.delAddr), change.linkIndex, change.cidr, 0)
      break
    case 'addRoute':
      writeRoute(begin(Rtm.newRoute, change.replace ? REPLACE : ADD_ROUTE), {
        protocol: RtProtocol.boot,
        ...change.route,
      })
      break
    case 'removeRoute':
      // Protocol 0 and scope 255 mean any: a route that somebody else made is removed by its destination as well.
      writeRoute(begin(Rtm.delRoute), { scope: Scope.nowhere, ...change.route })
      break
    case 'restoreRoute':
      writeEntry(begin(Rtm.newRoute, Nlm.create), change.entry)
      break
    case 'setNeighbour': {
      const { linkIndex, address, mac } = change.neighbour
      writeNeighbour(begin(Rtm.newNeigh, REPLACE), linkIndex, address)
      writer.attribute(Nda.lladdr, macBytes(mac))
      break
    }
    case 'removeNeighbour':
      writeNeighbour(begin(Rtm.delNeigh), change.neighbour.linkIndex, change.neighbour.address)
      break
    case 'setFdbEntry':
      writeFdbEntry(begin(Rtm.newNeigh, REPLACE), change.entry)
      break
    case 'removeFdbEntry':
      writeFdbEntry(begin(Rtm.delNeigh), change.entry)
      break
    case 'addPortVlan':
      writePortVlan(begin(Rtm.setLink), change)
      break
    case 'removePortVlan':
      writePortVlan(begin(Rtm.delLink), change)
      break
  }
  writer.end()
}

/** The fixed part of a link message: family, type, index, flags, change mask. */
export function writeIfInfo(
  writer: MessageWriter,
  family: number,
  index = 0,
  flags = 0,
  mask = 0,
): MessageWriter {
  return writer.u8(family).u32(index).u32(flags).u32(mask)
}

/** Names a link by index or by name. */
export function writeLinkHead(writer: MessageWriter, ref: LinkRef): void {
  if ('index' in ref) {
    writeIfInfo(writer, Family.unspec, ref.index)
    if (ref.netnsId !== undefined) writer.attributeU32(Ifla.targetNetnsId, ref.netnsId)
  } else writeIfInfo(writer, Family.unspec).attributeString(Ifla.ifName, ref.name)
}

type Creation = Extract<Change, { op: `create${string}` }>

function writeCreation(writer: MessageWriter, change: Creation, netnsFd: number): void {
  switch (change.op) {
    case 'createVeth':
      writeVeth(writer, change, netnsFd)
      break
    case 'createBridge':
      writeBridge(writer, change)
      break
    case 'createVlan':
      writeVlan(writer, change)
      break
    case 'createVxlan':
      writeIfInfo(writer, Family.unspec)
        .attributeString(Ifla.ifName, change.name)
        .attribute(Ifla.address, macBytes(change.mac))
        .attributeU32(Ifla.mtu, change.mtu)
        .nest(Ifla.linkInfo, () => writeVxlan(writer, change.vxlan))
      break
    case 'createIfb':
      writeIfb(writer, change.name)
      break
  }
}

/**
 * Each end has one queue. The kernel makes one for each processor otherwise and then drops all but one, which waits for RCU twice and
 * creates and removes two files of sysfs a queue. Source: veth_init_queues in drivers/net/veth.c.
 */
function writeVeth(
  writer: MessageWriter,
  change: Extract<Change, { op: 'createVeth' }>,
  netnsFd: number,
): void {
  const { host, peer, mtu } = change
  const end = ({ name, mac }: typeof host): void => {
    writer.attributeString(Ifla.ifName, name).attribute(Ifla.address, macBytes(mac))
    writer.attributeU32(Ifla.txQueues, 1).attributeU32(Ifla.rxQueues, 1)
    if (mtu !== undefined) writer.attributeU32(Ifla.mtu, mtu)
  }
  writeIfInfo(writer, Family.unspec)
  end(host)
  writer.nest(Ifla.linkInfo, () => {
    writer.attributeString(Info.kind, 'veth').nest(Info.data, () =>
      writer.nest(VETH_PEER, () => {
        writeIfInfo(writer, Family.unspec)
        end(peer)
        writer.attributeU32(Ifla.netNsFd, netnsFd)
      }),
    )
  })
}

function writeBridge(writer: MessageWriter, change: Extract<Change, { op: 'createBridge' }>): void {
  writeIfInfo(writer, Family.unspec)
    .attributeString(Ifla.ifName, change.name)
    .attribute(Ifla.address, macBytes(change.mac))
  if (change.mtu !== undefined) writer.attributeU32(Ifla.mtu, change.mtu)
  writer.nest(Ifla.linkInfo, () => {
    writer.attributeString(Info.kind, 'bridge')
    if (change.vlanFiltering) writer.nest(Info.data, () => writer.attributeU8(Bridge.vlanFiltering, 1))
  })
}

function writeIfb(writer: MessageWriter, name: string): void {
  writeIfInfo(writer, Family.unspec)
    .attributeString(Ifla.ifName, name)
    .nest(Ifla.linkInfo, () => writer.attributeString(Info.kind, 'ifb'))
}

function writeVlan(writer: MessageWriter, change: Extract<Change, { op: 'createVlan' }>): void {
  writeIfInfo(writer, Family.unspec)
    .attributeString(Ifla.ifName, change.name)
    .attributeU32(Ifla.link, change.parent)
    .nest(Ifla.linkInfo, () => {
      writer
        .attributeString(Info.kind, 'vlan')
        .nest(Info.data, () => writer.attributeU16(VLAN_ID, change.vlan))
    })
}

function writeSetLink(writer: MessageWriter, change: SetLink): void {
  const { link, up, promiscuous } = change
  const flags = (up ? Iff.up : 0) | (promiscuous ? Iff.promiscuous : 0)
  const mask = (up === undefined ? 0 : Iff.up) | (promiscuous === undefined ? 0 : Iff.promiscuous)
  writeIfInfo(writer, Family.unspec, 'index' in link ? link.index : 0, flags, mask)
  const name = 'name' in link ? link.name : change.name
  if (name !== undefined) writer.attributeString(Ifla.ifName, name)
  if (change.mac) writer.attribute(Ifla.address, macBytes(change.mac))
  for (const setting of ['mtu', 'txQueueLength', 'group'] as const) {
    const value = change[setting]
    if (value !== undefined) writer.attributeU32(Ifla[setting], value)
  }
  if (change.master !== undefined) writer.attributeU32(Ifla.master, change.master)
  if (change.alias !== undefined) writer.attributeString(Ifla.ifAlias, change.alias)
  writeLinkInfo(writer, change)
  writeFamilies(writer, change)
}

function writeLinkInfo(writer: MessageWriter, { port, vlanFiltering, untuned }: SetLink): void {
  if (untuned) writer.nest(Ifla.linkInfo, () => writeUntunedVxlan(writer))
  if (!port && vlanFiltering === undefined) return
  writer.nest(Ifla.linkInfo, () => {
    writer.attributeString(Info.kind, vlanFiltering === undefined ? 'bridge_slave' : 'bridge')
    if (vlanFiltering !== undefined) {
      writer.nest(Info.data, () => writer.attributeU8(Bridge.vlanFiltering, Number(vlanFiltering)))
    }
    if (!port) return
    writer.nest(Info.slaveData, () => {
      if (port.hairpin !== undefined) writer.attributeU8(Bridge.portMode, Number(port.hairpin))
      if (port.isolated !== undefined) writer.attributeU8(Bridge.portIsolated, Number(port.isolated))
    })
  })
}

/** Sets net.ipv4.conf.LINK.* with the link, in place of one write to /proc/sys for each setting. */
function writeFamilies(writer: MessageWriter, { ipv4, ipv6LinkLocal }: SetLink): void {
  if (!ipv4 && ipv6LinkLocal === undefined) return
  writer.nest(Ifla.afSpec, () => {
    if (ipv4) {
      writer.nest(Family.inet, () =>
        writer.nest(Inet.conf, () => {
          for (const key of [
            'forwarding',
            'sendRedirects',
            'rpFilter',
            'arpNotify',
            'routeLocalnet',
          ] as const) {
            if (ipv4[key] !== undefined) writer.attributeU32(Ipv4Conf[key], Number(ipv4[key]))
          }
        }),
      )
    }
    if (ipv6LinkLocal !== undefined) {
      writer.nest(Family.inet6, () => writer.attributeU8(Inet.genMode, ipv6LinkLocal ? 0 : 1))
    }
  })
}

function writeNewAddress(writer: MessageWriter, { linkIndex, cidr, noDad, noPrefixRoute }: AddAddress): void {
  const isV6 = cidr.address.family === 6
  const flags = (noDad && isV6 ? IfaFlag.noDad : 0) | (noPrefixRoute ? IfaFlag.noPrefixRoute : 0)
  // The head has room for the lower eight flags; the attribute takes its place.
  writeAddress(writer, linkIndex, cidr, flags > 0xff ? 0 : flags)
  if (hasBroadcast(cidr)) writer.attribute(Ifa.broadcast, addressBytes(lastAddressOf(cidr)))
  if (flags > 0xff) writer.attributeU32(Ifa.flags, flags)
}

function writeAddress(writer: MessageWriter, linkIndex: number, cidr: Cidr, flags: number): void {
  const bytes = addressBytes(cidr.address)
  writer.u8(familyNumber(cidr.address.family), cidr.prefix, flags).u32(linkIndex)
  writer.attribute(Ifa.local, bytes).attribute(Ifa.address, bytes)
}

function hasBroadcast({ address, prefix }: Cidr): boolean {
  return address.family === 4 && prefix < 31
}

function writeRoute(writer: MessageWriter, route: Route): void {
  const { dst, gateway, linkIndex, source, from, nextHopId, table = Table.main } = route
  const { family } = dst.address
  const scope = family === 6 ? 0 : (route.scope ?? (gateway ? 0 : Scope.link))
  writer
    .u8(familyNumber(family), dst.prefix, from?.prefix ?? 0, route.tos ?? 0)
    .u8(table < 256 ? table : 0, route.protocol ?? RtProtocol.unspec, scope, route.type ?? RTN_UNICAST)
    .u32(route.onlink ? RTNH_F_ONLINK : 0)
  if (dst.prefix > 0) writer.attribute(Rta.dst, addressBytes(dst.address))
  if (from) writer.attribute(Rta.src, addressBytes(from.address))
  // The kernel finds no route by a next hop object if its gateway or link is given as well.
  if (nextHopId === undefined) writer.attributeU32(Rta.oif, linkIndex)
  else writer.attributeU32(Rta.nextHopId, nextHopId)
  if (gateway && nextHopId === undefined) writer.attribute(Rta.gateway, addressBytes(gateway))
  if (source) writer.attribute(Rta.prefSource, addressBytes(source))
  if (table > 255) writer.attributeU32(Rta.table, table)
  if (route.priority !== undefined) writer.attributeU32(Rta.priority, route.priority)
  const { mtu, advmss } = route
  if (mtu === undefined && advmss === undefined) return
  writer.nest(Rta.metrics, () => {
    if (mtu !== undefined) writer.attributeU32(Rtax.mtu, mtu)
    if (advmss !== undefined) writer.attributeU32(Rtax.advmss, advmss)
  })
}

/** Writes the entry as the kernel showed it, without the state of the next hop, which the kernel would refuse. */
function writeEntry(writer: MessageWriter, entry: Uint8Array): void {
  writer
    .bytes(entry.subarray(0, 8))
    .u32((entry[8] ?? 0) & RTNH_F_ONLINK)
    .bytes(entry.subarray(12))
}

function writeNeighbour(writer: MessageWriter, linkIndex: number, address: Cidr['address']): void {
  writer.u8(familyNumber(address.family)).u32(linkIndex).u16(Nud.permanent)
  writer.attribute(Nda.dst, addressBytes(address))
}

function writeFdbEntry(writer: MessageWriter, { linkIndex, mac, destination }: FdbEntry): void {
  const state = Nud.permanent | Nud.noArp
  writer.u8(Family.bridge).u32(linkIndex).u16(state, NTF_SELF)
  writer.attribute(Nda.lladdr, macBytes(mac)).attribute(Nda.dst, addressBytes(destination))
}

function writePortVlan(
  writer: MessageWriter,
  { linkIndex, vlan, self }: { linkIndex: number; vlan: PortVlan; self?: boolean },
): void {
  const flags = (vlan.pvid ? VlanFlag.pvid : 0) | (vlan.untagged ? VlanFlag.untagged : 0)
  const entry = (id: number, range: number): void => {
    writer.nest(BridgeVlan.info, () => writer.u16(flags | range, id), false)
  }
  writeIfInfo(writer, Family.bridge, linkIndex).nest(Ifla.afSpec, () => {
    writer.attributeU16(BridgeVlan.flags, self ? BridgeVlan.self : BridgeVlan.master)
    if (vlan.from === vlan.to) entry(vlan.from, 0)
    else {
      entry(vlan.from, VlanFlag.rangeBegin)
      entry(vlan.to, VlanFlag.rangeEnd)
    }
  })
}

/** Returns the kernel's number of an address family. */
export function familyNumber(family: 4 | 6): number {
  return bitsOf(family) === 32 ? Family.inet : Family.inet6
}
