import type { Family } from '../src/core/address.ts'
import { sha256 } from '../src/core/names.ts'
import { readText, textBytes } from '../src/core/text.ts'

/** The head of a free list's file. Positions count from the start of the set, see `addressAt`. */
export type Header = {
  /** Fingerprint of the ranges that the list is for. */
  readonly ranges: string
  /** Fingerprint of the boot id in which it was built. */
  readonly boot: string
  readonly family: Family
  /** The lowest and the highest address of the set, as numbers. */
  readonly lowest: bigint
  readonly highest: bigint
  /** The address handed out last, as a number; 0 for none. */
  cursor: bigint
  /** The next position of the sweep over addresses that were never used, and how many are left of it. */
  sweepNext: bigint
  sweepLeft: bigint
  /** The slot of the oldest entry of the ring, and how many entries it has. */
  head: number
  count: number
  readonly slots: number
}

/** The most addresses that a ring holds: all of an IPv4 /16. */
export const MAX_SLOTS = 65_536
/** The last character is the version of the format. */
const MAGIC = 'bowline1'
const FINGERPRINT_LENGTH = 32
const TEXT_BYTES = MAGIC.length + 2 * FINGERPRINT_LENGTH
/** Numbers are big-endian: five of 16 bytes, then four of 4. */
export const HEADER_BYTES = TEXT_BYTES + 5 * 16 + 4 * 4

/** 32 hex digits that stand for a text. */
export function fingerprint(text: string): string {
  return sha256(text).slice(0, FINGERPRINT_LENGTH)
}

export function encodeHeader(header: Header): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  bytes.set(textBytes(MAGIC + header.ranges + header.boot))
  const view = new DataView(bytes.buffer)
  const { lowest, highest, cursor, sweepNext, sweepLeft, family, head, count, slots } = header
  for (const [i, value] of [lowest, highest, cursor, sweepNext, sweepLeft].entries()) {
    view.setBigUint64(TEXT_BYTES + 16 * i, value >> 64n)
    view.setBigUint64(TEXT_BYTES + 16 * i + 8, BigInt.asUintN(64, value))
  }
  for (const [i, value] of [family, head, count, slots].entries()) {
    view.setUint32(TEXT_BYTES + 5 * 16 + 4 * i, value)
  }
  return bytes
}

/** Undefined for anything that is not a whole header of this version with numbers that fit together. */
export function decodeHeader(bytes: Uint8Array): Header | undefined {
  if (bytes.length < HEADER_BYTES) return undefined
  const text = readText(bytes.subarray(0, TEXT_BYTES))
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  const large = (i: number) =>
    (view.getBigUint64(TEXT_BYTES + 16 * i) << 64n) | view.getBigUint64(TEXT_BYTES + 16 * i + 8)
  const small = (i: number) => view.getUint32(TEXT_BYTES + 5 * 16 + 4 * i)
  const [family, head, count, slots] = [small(0), small(1), small(2), small(3)]
  const [sweepNext, sweepLeft] = [large(3), large(4)]
  if (!text.startsWith(MAGIC) || (family !== 4 && family !== 6)) return undefined
  if (slots > MAX_SLOTS || count > slots || (head >= slots && head > 0)) return undefined
  return {
    ranges: text.slice(MAGIC.length, MAGIC.length + FINGERPRINT_LENGTH),
    boot: text.slice(MAGIC.length + FINGERPRINT_LENGTH),
    family,
    lowest: large(0),
    highest: large(1),
    cursor: large(2),
    sweepNext,
    sweepLeft,
    head,
    count,
    slots,
  }
}
