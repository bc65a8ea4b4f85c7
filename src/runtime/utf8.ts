import { runtime } from '#runtime'

/** The number of arguments that a call takes without a danger for the stack. */
const SPREAD_LIMIT = 8192
const REPLACEMENT = 0xfffd

/** Decodes UTF-8. Invalid bytes become U+FFFD, as in the WHATWG encoding standard. A byte order mark stays. */
export function readText(bytes: Uint8Array): string {
  // ASCII text, which nearly all text is, never enters the loop below.
  const text = latin1(bytes)
  return /[\x80-\xff]/.test(text) ? decode(bytes) : text
}

/** Returns one character for each byte. */
export function latin1(bytes: Uint8Array): string {
  return fromCodes(bytes, String.fromCharCode)
}

/** Encodes as UTF-8. A surrogate without its partner becomes U+FFFD. */
export function textBytes(text: string): Uint8Array<ArrayBuffer> {
  return runtime.utf8(text)
}

/** Sequences by their first byte: what it contributes, how many bytes follow, and what the second one may be. */
const SEQUENCES = [
  { from: 0xc2, to: 0xdf, bits: 0x1f, follow: 1, low: 0x80, high: 0xbf },
  { from: 0xe0, to: 0xe0, bits: 0x0f, follow: 2, low: 0xa0, high: 0xbf },
  { from: 0xe1, to: 0xec, bits: 0x0f, follow: 2, low: 0x80, high: 0xbf },
  // Above are surrogates, which UTF-8 never encodes.
  { from: 0xed, to: 0xed, bits: 0x0f, follow: 2, low: 0x80, high: 0x9f },
  { from: 0xee, to: 0xef, bits: 0x0f, follow: 2, low: 0x80, high: 0xbf },
  { from: 0xf0, to: 0xf0, bits: 0x07, follow: 3, low: 0x90, high: 0xbf },
  { from: 0xf1, to: 0xf3, bits: 0x07, follow: 3, low: 0x80, high: 0xbf },
  { from: 0xf4, to: 0xf4, bits: 0x07, follow: 3, low: 0x80, high: 0x8f },
]

function decode(bytes: Uint8Array): string {
  const codes: number[] = []
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at++] ?? 0
    const sequence = SEQUENCES.find(({ from, to }) => first >= from && first <= to)
    let code = sequence ? first & sequence.bits : first < 0x80 ? first : REPLACEMENT
    let { follow, low, high } = sequence ?? { follow: 0, low: 0, high: 0 }
    for (; follow > 0; follow--, low = 0x80, high = 0xbf) {
      const next = bytes[at] ?? 0
      if (next < low || next > high) break
      code = code * 64 + (next & 0x3f)
      at++
    }
    codes.push(follow > 0 ? REPLACEMENT : code)
  }
  return fromCodes(codes, String.fromCodePoint)
}

/** Joins the codes in pieces, as each code is an argument of a call. */
function fromCodes(codes: Uint8Array | number[], make: (...codes: number[]) => string): string {
  if (codes.length <= SPREAD_LIMIT) return joined(codes, make)
  let text = ''
  for (let at = 0; at < codes.length; at += SPREAD_LIMIT) {
    const piece =
      codes instanceof Uint8Array ? codes.subarray(at, at + SPREAD_LIMIT) : codes.slice(at, at + SPREAD_LIMIT)
    text += joined(piece, make)
  }
  return text
}

/** Ten times faster than `...`, and an array of bytes is array-like enough for it. */
function joined(codes: Uint8Array | number[], make: (...codes: number[]) => string): string {
  return make.apply(null, codes as number[])
}
