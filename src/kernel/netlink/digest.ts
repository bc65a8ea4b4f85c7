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
    const { head = 0, attribute } = AGES[type] ?? {}
    if (isNftables(type)) this.#take(words, NFGEN_LENGTH >> 2, words.length)
    else {
      this.#take(words, 0, head >> 2)
      for (let at = head >> 2; at < words.length; ) {
        const start = words[at] ?? 0
        const end = at + Math.max(1, ((start & 0xffff) + 3) >> 2)
        if (start >>> 16 !== attribute) this.#take(words, at, end)
        at = end
      }
    }
    this.#mix(body.length)
    for (let at = words.length << 2; at < body.length; at++) this.#mix(body[at] ?? 0)
  }

  get value(): string {
    return `${this.#a} ${this.#b}`
  }

  #take(words: Uint32Array, from: number, to: number): void {
    let [a, b] = [this.#a, this.#b]
    for (let i = from; i < to; i++) {
      // Turned, as a factor alone carries no bit downwards.
      a = Math.imul(((a << 5) | (a >>> 27)) ^ (words[i] as number), FACTOR)
      b = (((b << 13) | (b >>> 19)) + a) | 0
    }
    this.#a = a
    this.#b = b
  }

  #mix(word: number): void {
    this.#a = Math.imul(((this.#a << 5) | (this.#a >>> 27)) ^ word, FACTOR)
    this.#b = (((this.#b << 13) | (this.#b >>> 19)) + this.#a) | 0
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
