import { Code, Fault } from './errors.ts'

export type Family = 4 | 6
export const FAMILIES: readonly Family[] = [4, 6]

/** An IP address. `value` is the address as an unsigned number: 32 bits for family 4, 128 bits for family 6. */
export type Address = { readonly family: Family; readonly value: bigint }

/** An address with its prefix length in bits. Host bits are kept. */
export type Cidr = { readonly address: Address; readonly prefix: number }

const V4_MAPPED = 0xffffn << 32n

/** Returns the number of bits in an address of this family: 32 or 128. */
export function bitsOf(family: Family): number {
  return family === 4 ? 32 : 128
}

/** Reads an address; an IPv4-mapped IPv6 one becomes family 4. Throws a Fault (invalid config) on anything else. */
export function parseAddress(text: string): Address {
  const address = text.includes(':') ? parseV6(text) : parseV4(text)
  if (!address) {
    throw new Fault(`${JSON.stringify(text)} is not an IP address`, {
      code: Code.invalidConfig,
      hint: 'Write it like 10.1.0.5 or fd00::5, without a zone, port or prefix.',
    })
  }
  return address
}

/** Reads `address/prefix`. Throws a Fault (invalid config) on anything else. Host bits are kept. */
export function parseCidr(text: string): Cidr {
  const slash = text.lastIndexOf('/')
  const digits = parseDecimal(text.slice(slash + 1), 3)
  if (slash < 0 || digits === undefined) throw notCidr(text)
  const head = text.slice(0, slash)
  const address = parseAddress(head)
  const mapped = address.family === 4 && head.includes(':')
  const prefix = digits - (mapped ? 96 : 0)
  if (prefix < 0 || prefix > bitsOf(address.family)) throw notCidr(text)
  return { address, prefix }
}

/** Returns the canonical text: dotted for family 4, RFC 5952 for family 6. */
export function formatAddress({ family, value }: Address): string {
  if (family === 4) {
    const bits = Number(value)
    return `${bits >>> 24}.${(bits >>> 16) & 255}.${(bits >>> 8) & 255}.${bits & 255}`
  }
  return formatV6(value)
}

/** Shortens the longest run of at least two zero groups, and of equally long ones the first. */
function formatV6(value: bigint): string {
  const digits = value.toString(16).padStart(32, '0')
  const groups: string[] = []
  let end = 0
  let longest = 1
  let run = 0
  for (let at = 0; at < 32; at += 4) {
    const group = digits.slice(at, at + 4)
    groups.push(Number.parseInt(group, 16).toString(16))
    run = group === '0000' ? run + 1 : 0
    if (run > longest) {
      longest = run
      end = groups.length
    }
  }
  if (end === 0) return groups.join(':')
  return `${groups.slice(0, end - longest).join(':')}::${groups.slice(end).join(':')}`
}

export function formatCidr({ address, prefix }: Cidr): string {
  return `${formatAddress(address)}/${prefix}`
}

/** Returns 4 or 16 bytes in network byte order. */
export function addressBytes({ family, value }: Address): Uint8Array {
  const view = new DataView(new ArrayBuffer(bitsOf(family) / 8))
  if (family === 4) view.setUint32(0, Number(value))
  else {
    view.setBigUint64(0, value >> 64n)
    // The lower 64 bits of the value.
    view.setBigUint64(8, value)
  }
  return new Uint8Array(view.buffer)
}

/** Reads the bytes of `addressBytes`: 4 bytes make family 4, 16 make family 6. Throws a Fault on any other length. */
export function addressFromBytes(bytes: Uint8Array): Address {
  if (bytes.length !== 4 && bytes.length !== 16) throw new Fault(`an address of ${bytes.length} bytes`)
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  if (bytes.length === 4) return { family: 4, value: BigInt(view.getUint32(0)) }
  return { family: 6, value: (view.getBigUint64(0) << 64n) | view.getBigUint64(8) }
}

/** Returns an address as it stands before a port: that of IPv6 in brackets. Source: RFC 3986, section 3.2.2. */
export function bracketedAddress(address: Address): string {
  return address.family === 6 ? `[${formatAddress(address)}]` : formatAddress(address)
}

/** Returns a text to compare by, and not for people: the form of RFC 5952 takes far longer. */
export function addressKey({ family, value }: Address): string {
  return `${family}:${value.toString(16)}`
}

/** Returns the same of a prefix, with its host bits. */
export function cidrKey({ address, prefix }: Cidr): string {
  return `${addressKey(address)}/${prefix}`
}

export function sameAddress(a: Address, b: Address): boolean {
  return a.family === b.family && a.value === b.value
}

/** Returns the host route of an address: /32 or /128. */
export function hostCidr(address: Address): Cidr {
  return { address, prefix: bitsOf(address.family) }
}

/** Returns the network with its host bits cleared. */
export function networkOf({ address, prefix }: Cidr): Cidr {
  const hostBits = BigInt(bitsOf(address.family) - prefix)
  return { address: { family: address.family, value: (address.value >> hostBits) << hostBits }, prefix }
}

/** Returns the first address after the network's own: the default gateway. */
export function firstAddressOf(cidr: Cidr): Address {
  const { address } = networkOf(cidr)
  return { family: address.family, value: address.value + 1n }
}

/** Returns the highest address of the network: the broadcast address of family 4. */
export function lastAddressOf(cidr: Cidr): Address {
  const { address, prefix } = networkOf(cidr)
  const hostBits = BigInt(bitsOf(address.family) - prefix)
  return { family: address.family, value: address.value + (1n << hostBits) - 1n }
}

export function sameCidr(a: Cidr, b: Cidr): boolean {
  return a.prefix === b.prefix && sameAddress(a.address, b.address)
}

export function contains(cidr: Cidr, address: Address): boolean {
  if (cidr.address.family !== address.family) return false
  const hostBits = BigInt(bitsOf(address.family) - cidr.prefix)
  return cidr.address.value >> hostBits === address.value >> hostBits
}

export function overlaps(a: Cidr, b: Cidr): boolean {
  return contains(a, b.address) || contains(b, a.address)
}

/** Returns the default route of a family: 0.0.0.0/0 or ::/0. */
export function defaultRouteOf(family: Family): Cidr {
  return { address: { family, value: 0n }, prefix: 0 }
}

export function isDefaultRoute(cidr: Cidr): boolean {
  return cidr.prefix === 0
}

function notCidr(text: string): Fault {
  return new Fault(`${JSON.stringify(text)} is not an address with a prefix length`, {
    code: Code.invalidConfig,
    hint: 'Write it like 10.1.0.0/24 or fd00::/64.',
  })
}

function parseV4(text: string): Address | undefined {
  const parts = text.split('.')
  if (parts.length !== 4) return undefined
  let value = 0n
  for (const part of parts) {
    const byte = parseDecimal(part, 3)
    if (byte === undefined || byte > 255) return undefined
    value = (value << 8n) | BigInt(byte)
  }
  return { family: 4, value }
}

/** Reads digits without a leading zero. */
function parseDecimal(text: string, maxLength: number): number | undefined {
  return text.length <= maxLength && /^(0|[1-9][0-9]*)$/.test(text) ? Number(text) : undefined
}

function parseV6(text: string): Address | undefined {
  const halves = text.split('::')
  if (halves.length > 2) return undefined
  const [head, tail] = [v6Groups(halves[0] ?? '', halves.length === 1), v6Groups(halves[1] ?? '', true)]
  if (!head || !tail) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const groups = [...head, ...Array<number>(missing).fill(0), ...tail]
  const value = groups.reduce((sum, group) => (sum << 16n) | BigInt(group), 0n)
  return value >> 32n === 0xffffn ? { family: 4, value: value - V4_MAPPED } : { family: 6, value }
}

/** Reads the 16-bit groups of one side of `::`; only the side that ends the address may end in dotted form. */
function v6Groups(text: string, endsAddress: boolean): number[] | undefined {
  if (text === '') return []
  const groups: number[] = []
  const parts = text.split(':')
  for (const [index, part] of parts.entries()) {
    if (part.includes('.')) {
      const dotted = endsAddress && index === parts.length - 1 ? parseV4(part) : undefined
      if (!dotted) return undefined
      groups.push(Number(dotted.value >> 16n), Number(dotted.value & 0xffffn))
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) groups.push(Number.parseInt(part, 16))
    else return undefined
  }
  return groups
}
