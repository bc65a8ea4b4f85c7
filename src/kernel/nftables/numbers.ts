import { ByteOrder, type Datatype } from './datatypes.ts'

/* Types whose values are numbers, or names for them. */
const PROTOCOLS: Record<string, number> = { icmp: 1, tcp: 6, udp: 17, 'ipv6-icmp': 58, sctp: 132 }

/** The number of a transport protocol, such as 6 for TCP. */
export const inetProto: Datatype<number> = {
  ...numberType('inet_proto', 12, 1, ByteOrder.network),
  show: (value) => Object.keys(PROTOCOLS).find((name) => PROTOCOLS[name] === value) ?? `${value}`,
}

/** A port of TCP, UDP or SCTP. */
export const inetService = numberType('inet_service', 13, 2, ByteOrder.network)

export type PortRange = { readonly from: number; readonly to: number }

/** Ports from the first to the last; one port is a range of one. */
export const portRange: Datatype<PortRange> = {
  name: inetService.name,
  number: inetService.number,
  length: inetService.length,
  order: inetService.order,
  encode: ({ from }) => inetService.encode(from),
  last: ({ to }) => inetService.encode(to),
  decode: (first, last) => ({ from: numberOf(first), to: numberOf(last) }),
  show: ({ from, to }) => (from === to ? `${from}` : `${from}-${to}`),
}

/** The mark of a packet or a connection. */
export const mark: Datatype<number> = {
  ...numberType('mark', 19, 4, ByteOrder.host),
  show: (value) => `0x${value.toString(16).padStart(8, '0')}`,
}

/** A number of 32 bits, such as an index. */
export const integer = numberType('integer', 4, 4, ByteOrder.host)

/** What a frame carries. */
export const etherType = namedType(
  { name: 'ether_type', number: 10, length: 2, order: ByteOrder.network },
  { ip: 0x0800, arp: 0x0806, ip6: 0x86dd },
)

export const icmpv6Type = numberType('icmpv6_type', 29, 1, ByteOrder.network)

function numberType(name: string, number: number, length: number, order: number): Datatype<number> {
  const bytes = (value: number) => Uint8Array.from({ length }, (_, i) => value >>> (8 * (length - 1 - i)))
  const isHost = order === ByteOrder.host
  return {
    name,
    number,
    length,
    order,
    encode: (value) => (isHost ? bytes(value).reverse() : bytes(value)),
    decode: (value) => numberOf(isHost ? value.toReversed() : value),
    show: (value) => `${value}`,
  }
}

/** Returns the type of one value out of a table of names and numbers. */
export function namedType<N extends string>(
  type: Pick<Datatype<number>, 'name' | 'number' | 'length' | 'order'>,
  names: Readonly<Record<N, number>>,
): Datatype<N> {
  const { encode, decode } = numberType(type.name, type.number, type.length, type.order)
  return {
    ...type,
    encode: (name) => encode(names[name]),
    decode: (first, last) => (Object.keys(names) as N[]).find((name) => names[name] === decode(first, last)),
    show: (name) => name,
  }
}

function numberOf(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0)
}
