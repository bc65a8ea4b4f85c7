import type { FirewallVerdict } from '../firewall/chain.ts'
import { pairIntervals, type RawElement, readRawElements } from './elements.ts'
import { NFT_SET_ELEM_INTERVAL_END } from './protocol.ts'
import { readVerdict } from './verdict.ts'

/** One element of a set or a verdict map, as far as tests of a packet need it. */
export type SetElement = {
  readonly value: Uint8Array
  /** Absent where all bits count. */
  readonly mask?: Uint8Array
  readonly verdict?: FirewallVerdict
}

/** What meets no other element: NFT_SET_ELEM_CATCHALL. Source: linux/netfilter/nf_tables.h. */
const CATCH_ALL = 2
/** Sets with more of them are not read: a test for each would be tried. */
const MAX_ELEMENTS = 256

/**
 * Reads the elements of one set from the bodies of its dump. Undefined for a set that we can't read: with ranges of several
 * fields, with an element for all the rest, or too large. Ranges become prefixes.
 */
export function decodeSetElements(bodies: readonly Uint8Array[]): SetElement[] | undefined {
  const raw = readRawElements(bodies)
  if (raw.some(({ key, keyEnd, flags }) => keyEnd || key.length === 0 || flags & CATCH_ALL)) return undefined
  const isInterval = raw.some(({ flags }) => flags & NFT_SET_ELEM_INTERVAL_END)
  const elements = isInterval
    ? pairIntervals(raw).flatMap(prefixesOf)
    : raw.map((one) => elementOf(one, one.key))
  return elements.length > MAX_ELEMENTS ? undefined : elements
}

function elementOf({ data }: RawElement, value: Uint8Array, mask?: Uint8Array): SetElement {
  return { value, ...(mask && { mask }), ...(data && { verdict: readVerdict(data) }) }
}

function prefixesOf(one: RawElement): SetElement[] {
  const { key, keyEnd = key } = one
  return prefixesBetween(numberOf(key), numberOf(keyEnd) + 1n, BigInt(8 * key.length)).map(([value, mask]) =>
    elementOf(one, bytesOf(value, key.length), bytesOf(mask, key.length)),
  )
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
