import { NFNL_SUBSYS_NFTABLES } from '../nftables/protocol.ts'
import { Family, Nud, Rtm } from './rtnetlink.ts'

/*
 * Whether a dump says the same as an earlier one, without reading either: thousands of entries are compared in a few milliseconds, and
 * nothing is kept of them but a number.
 */

/** For each type of answers: the bytes before its attributes, and the attribute of them that changes by itself. Source: linux/rtnetlink.h. */
const AGES: Readonly<Record<number, { readonly head: number; readonly attribute: number }>> = {
  // IFA_CACHEINFO, RTA_CACHEINFO, NDA_CACHEINFO
  [Rtm.newAddr]: { head: 8, attribute: 6 },
  [Rtm.newRoute]: { head: 12, attribute: 12 },
  [Rtm.newNeigh]: { head: 12, attribute: 3 },
}
/** The generation in nfgenmsg, which counts the transactions of all programs. */
const NFGEN_LENGTH = 4
/** Odd and without a pattern: the golden ratio. */
const FACTOR = 0x9e3779b1

/** Decides whether it is known what of such answers changes by itself. */
export function isDigestible(type: number): boolean {
  return type in AGES || isNftables(type)
}

/** Sums up the bodies of the answers to one dump, in their order. Of two dumps that differ it is hardly ever the same: 64 bits. */
export class Digest {
  #a = 1
  #b = 2

  /** Takes an answer of this type. Its body is aligned to four bytes in its buffer, as the kernel sends it. */
  add(type: number, body: Uint8Array): void {
    if (type === Rtm.newNeigh && isComputed(body)) return
    const words = new Uint32Array(body.buffer, body.byteOffset, body.length >> 2)
    const { head, attribute } = AGES[type] ?? {}
    const { length } = words
    let [a, b] = [this.#a, this.#b]
    let at = isNftables(type) ? NFGEN_LENGTH >> 2 : 0
    for (let next = head === undefined ? length : head >> 2; at < length; ) {
      if (at === next) {
        const start = words[at] as number
        next = at + Math.max(1, ((start & 0xffff) + 3) >> 2)
        if (start >>> 16 === attribute) {
          at = next
          continue
        }
      }
      // Turned, as a factor alone carries no bit downwards.
      a = Math.imul(((a << 5) | (a >>> 27)) ^ (words[at++] as number), FACTOR)
      b = (((b << 13) | (b >>> 19)) + a) | 0
    }
    // The lengths of attributes are in them, but not how many there are of the last bytes.
    a = Math.imul(((a << 5) | (a >>> 27)) ^ body.length, FACTOR)
    for (at = length << 2; at < body.length; at++)
      a = Math.imul(((a << 5) | (a >>> 27)) ^ (body[at] ?? 0), FACTOR)
    this.#a = a
    this.#b = (((b << 13) | (b >>> 19)) + a) | 0
  }

  get value(): string {
    return `${this.#a} ${this.#b}`
  }
}

/** A neighbour that stands for a multicast address comes and goes with what the kernel itself sends. */
function isComputed(neighbour: Uint8Array): boolean {
  return neighbour[0] !== Family.bridge && neighbour[8] === Nud.noArp && neighbour[9] === 0
}

/** The subsystem is in the upper byte; rtnetlink has none. */
function isNftables(type: number): boolean {
  return type >> 8 === NFNL_SUBSYS_NFTABLES
}
