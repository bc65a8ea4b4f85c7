import type { FirewallVerdict } from '../firewall/chain.ts'
import { listAttributes, readAttributes, readU32be } from '../netlink/message.ts'
import { DataAttr, ElementAttr, ElementListAttr } from './protocol.ts'
import { verdictOf } from './verdict.ts'

/** One element of a set or a verdict map, as far as tests of a packet need it. */
export type SetElement = {
  readonly value: Uint8Array
  /** Absent where all bits count. */
  readonly mask?: Uint8Array
  readonly verdict?: FirewallVerdict
}

/** The family header of every nfnetlink message, before its attributes: bytes. */
const HEADER_LENGTH = 4
const FLAGS = 3
const KEY_END = 10
/** NFT_SET_ELEM_*: behind an interval; what meets no other element. Source: linux/netfilter/nf_tables.h. */
const Flag = { intervalEnd: 1, catchAll: 2 } as const
/** Sets with more of them are not read: a test for each would be tried. */
const MAX_ELEMENTS = 256

type Raw = { readonly key: Uint8Array; readonly flags: number; readonly verdict?: FirewallVerdict }

/**
 * Reads the elements of one set from the bodies of its dump. Undefined for a set that we can't read: with ranges of several
 * fields, with an element for all the rest, or too large. Ranges become prefixes.
 */
export function decodeSetElements(bodies: readonly Uint8Array[]): SetElement[] | undefined {
  const raw: Raw[] = []
  for (const body of bodies) {
    const list = readAttributes(body, HEADER_LENGTH).get(ElementListAttr.elements)
    for (const [, element] of list ? listAttributes(list) : []) {
      const attributes = readAttributes(element)
      const flags = readU32be(attributes.get(FLAGS)) ?? 0
      const key = readAttributes(attributes.get(ElementAttr.key) ?? new Uint8Array()).get(DataAttr.value)
      if (!key || flags & Flag.catchAll || attributes.has(KEY_END)) return undefined
      const data = attributes.get(ElementAttr.data)
      raw.push({ key, flags, ...(data && { verdict: verdictOf(data) }) })
    }
  }
  const isInterval = raw.some(({ flags }) => flags & Flag.intervalEnd)
  const elements = isInterval ? prefixesOf(raw) : raw.map(({ key, ...one }) => elementOf(key, one))
  return elements.length > MAX_ELEMENTS ? undefined : elements
}

function elementOf(value: Uint8Array, { verdict }: Pick<Raw, 'verdict'>, mask?: Uint8Array): SetElement {
  return { value, ...(mask && { mask }), ...(verdict && { verdict }) }
}

/** An interval begins with an element, and ends before the next one, which says so; the last may have no end. */
function prefixesOf(raw: readonly Raw[]): SetElement[] {
  const length = raw[0]?.key.length ?? 0
  const points = raw.map((one) => ({ ...one, at: numberOf(one.key) }))
  points.sort((a, b) => (a.at === b.at ? (b.flags & 1) - (a.flags & 1) : a.at < b.at ? -1 : 1))
  const bits = BigInt(8 * length)
  return points.flatMap((start, i) => {
    if (start.flags & Flag.intervalEnd) return []
    const end = points[i + 1]?.at ?? 1n << bits
    return prefixesBetween(start.at, end, bits).map(([value, mask]) =>
      elementOf(bytesOf(value, length), start, bytesOf(mask, length)),
    )
  })
}

/** The largest aligned blocks that make up `start` to `end`, which is outside. */
function prefixesBetween(start: bigint, end: bigint, bits: bigint): [value: bigint, mask: bigint][] {
  const all = (1n << bits) - 1n
  const prefixes: [bigint, bigint][] = []
  for (let at = start; at < end && prefixes.length <= MAX_ELEMENTS; ) {
    let size = 1n
    while (at % (size * 2n) === 0n && at + size * 2n <= end) size *= 2n
    prefixes.push([at, all ^ (size - 1n)])
    at += size
  }
  return prefixes
}

function numberOf(bytes: Uint8Array): bigint {
  return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
}

function bytesOf(value: bigint, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(8 * (length - 1 - i))) & 0xffn))
}
