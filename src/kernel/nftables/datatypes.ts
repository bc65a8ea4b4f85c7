import {
  type Address,
  addressBytes,
  addressFromBytes,
  bitsOf,
  type Cidr,
  type Family,
  formatAddress,
  formatCidr,
  hostCidr,
  lastAddressOf,
  networkOf,
} from '../../core/address.ts'
import { type Mac, macBytes, macFromBytes } from '../../core/mac.ts'
import { textBytes } from '../../core/text.ts'
import { readString } from '../netlink/message.ts'
import type { Attributes } from './attributes.ts'

/** Byte orders as nft notes them down in a set, for its own listing. */
export const ByteOrder = { none: 0, host: 1, network: 2 } as const

/**
 * A type of nftables, and the values that the program has for it. The numbers are those of libnftables' datatype.h: the
 * kernel only keeps them, nft shows keys by them.
 */
export type Datatype<T> = {
  readonly name: string
  readonly number: number
  /** Of a value: bytes. */
  readonly length: number
  readonly order: number
  /** Returns the bytes of a value; of an interval, those of its first key. */
  encode(value: T): Uint8Array
  /** Returns the last key of an interval. Types that have it make interval sets. */
  last?(value: T): Uint8Array
  /** Returns the value of these bytes; undefined if they are no such value. `last` is another key for an interval only. */
  decode(first: Uint8Array, last: Uint8Array): T | undefined
  show(value: T): string
  /** As data of a map, where it is more than the bytes of the value. */
  toData?(value: T): Attributes
  fromData?(data: Uint8Array): T | undefined
  /** Of a concatenation: its types. */
  readonly parts?: readonly Datatype<unknown>[]
}

const ADDRESSES = { 4: { name: 'ipv4_addr', number: 7 }, 6: { name: 'ipv6_addr', number: 8 } } as const
const IF_NAME_BYTES = 16

export function ipAddress(family: Family): Datatype<Address> {
  return {
    ...addressType(family),
    encode: addressBytes,
    decode: addressFromBytes,
    show: formatAddress,
  }
}

/** Returns the type of a set's keys that are prefixes of addresses. They must not overlap. Host bits are cleared. */
export function ipPrefix(family: Family): Datatype<Cidr> {
  return {
    ...addressType(family),
    encode: (cidr) => addressBytes(networkOf(cidr).address),
    last: (cidr) => addressBytes(lastAddressOf(cidr)),
    decode: (first, last) => prefixBetween(addressFromBytes(first), addressFromBytes(last)),
    show: (cidr) =>
      cidr.prefix === bitsOf(family) ? formatAddress(cidr.address) : formatCidr(networkOf(cidr)),
  }
}

/**
 * Returns the type of a set's keys that are whole addresses, as prefixes of all their bits. Such a set is a hash table: a look-up costs the
 * same however many there are.
 */
export function ipHost(family: Family): Datatype<Cidr> {
  return {
    ...addressType(family),
    encode: ({ address }) => addressBytes(address),
    decode: (bytes) => hostCidr(addressFromBytes(bytes)),
    show: ({ address }) => formatAddress(address),
  }
}

function addressType(family: Family) {
  return { ...ADDRESSES[family], length: bitsOf(family) / 8, order: ByteOrder.network }
}

function prefixBetween(first: Address, last: Address): Cidr | undefined {
  const hostBits = (first.value ^ last.value).toString(2).replace(/^0+/, '').length
  const cidr = { address: first, prefix: bitsOf(first.family) - hostBits }
  return lastAddressOf(cidr).value === last.value && networkOf(cidr).address.value === first.value
    ? cidr
    : undefined
}

/** The name of an interface. */
export const ifname: Datatype<string> = {
  name: 'ifname',
  number: 41,
  length: IF_NAME_BYTES,
  order: ByteOrder.host,
  encode(name) {
    const bytes = new Uint8Array(IF_NAME_BYTES)
    bytes.set(textBytes(name))
    return bytes
  },
  decode: readString,
  show: (name) => JSON.stringify(name),
}

export const etherAddr: Datatype<Mac> = {
  name: 'ether_addr',
  number: 9,
  length: 6,
  order: ByteOrder.network,
  encode: macBytes,
  decode: macFromBytes,
  show: (mac) => mac,
}
