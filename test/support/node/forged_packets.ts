import { isIPv6 } from 'node:net'
import { addressBytes, parseAddress } from '../../../src/core/address.ts'
import { checksum } from './raw_frames.ts'

/* Packets byte by byte, with whatever source: what the kernel of a pod would not send of its own accord. */

const ETHER_TYPES = { ip: 0x0800, arp: 0x0806, ip6: 0x86dd } as const
const UDP = 17
const ICMPV6 = 58

/** An Ethernet frame around a packet of IP or ARP. */
export function frame(to: string, from: string, type: keyof typeof ETHER_TYPES, packet: Buffer): Buffer {
  return Buffer.concat([mac(to), mac(from), u16(ETHER_TYPES[type]), packet])
}

/** A packet of either family. `protocol` is that of its payload: 4 or 41 for a packet of IP within. */
export function ipPacket(from: string, to: string, protocol: number, payload: Buffer): Buffer {
  const ends = Buffer.concat([ip(from), ip(to)])
  if (isIPv6(from)) {
    return Buffer.concat([
      Buffer.from('60000000', 'hex'),
      u16(payload.length),
      Buffer.of(protocol, 255),
      ends,
      payload,
    ])
  }
  const head = Buffer.concat([
    Buffer.from('4500', 'hex'),
    u16(20 + payload.length),
    Buffer.from('00000000', 'hex'),
    Buffer.of(64, protocol, 0, 0),
    ends,
  ])
  head.writeUInt16BE(checksum(head), 10)
  return Buffer.concat([head, payload])
}

export function udpPacket(from: string, to: string, port: number, payload = Buffer.alloc(2)): Buffer {
  const head = Buffer.concat([u16(port), u16(port), u16(8 + payload.length), u16(0)])
  const datagram = Buffer.concat([head, payload])
  // Only IPv6 insists on a checksum.
  if (isIPv6(from)) datagram.writeUInt16BE(checksum(pseudo(from, to, UDP, datagram)), 6)
  return ipPacket(from, to, UDP, datagram)
}

/** VXLAN (RFC 7348) around a frame. */
export function vxlanPacket(from: string, to: string, vni: number, inner: Buffer): Buffer {
  const head = Buffer.concat([Buffer.from('08000000', 'hex'), u16(vni >> 8), Buffer.of(vni & 0xff, 0)])
  return udpPacket(from, to, 4789, Buffer.concat([head, inner]))
}

/** A packet of ICMPv6: its type, and what comes behind the checksum. */
export function icmpv6Packet(from: string, to: string, type: number, body: Buffer): Buffer {
  const message = Buffer.concat([Buffer.of(type, 0, 0, 0), body])
  message.writeUInt16BE(checksum(pseudo(from, to, ICMPV6, message)), 2)
  return ipPacket(from, to, ICMPV6, message)
}

/** Neighbour discovery about an address: type 135 asks, 136 says that it is the sender's (RFC 4861). */
export function neighbourPacket(from: string, to: string, type: 135 | 136, target: string): Buffer {
  const flags = type === 136 ? 0x20000000 : 0
  return icmpv6Packet(from, to, type, Buffer.concat([u32(flags), ip(target)]))
}

/** ARP: `asks` for an address, or says that it is the sender's. */
export function arpPacket(
  what: 'asks' | 'says',
  sender: { readonly mac: string; readonly ip: string },
  target: string,
): Buffer {
  return Buffer.concat([
    Buffer.from('000108000604', 'hex'),
    u16(what === 'asks' ? 1 : 2),
    mac(sender.mac),
    ip(sender.ip),
    Buffer.alloc(6),
    ip(target),
  ])
}

function pseudo(from: string, to: string, protocol: number, payload: Buffer): Buffer {
  const even = payload.length % 2 === 0 ? payload : Buffer.concat([payload, Buffer.alloc(1)])
  return Buffer.concat([ip(from), ip(to), u32(payload.length), u32(protocol), even])
}

function ip(text: string): Buffer {
  return Buffer.from(addressBytes(parseAddress(text)))
}

function mac(text: string): Buffer {
  return Buffer.from(text.replaceAll(':', ''), 'hex')
}

function u16(value: number): Buffer {
  return Buffer.of(value >> 8, value & 0xff)
}

function u32(value: number): Buffer {
  return Buffer.concat([u16(value >>> 16), u16(value & 0xffff)])
}
