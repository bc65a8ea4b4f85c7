import { NFNL_SUBSYS_NFTABLES } from '../nftables/protocol.ts'
import { Nlm } from './message.ts'
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
const HEADER_WORDS = 4
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
    this.#take(type, new Uint32Array(body.buffer, body.byteOffset, body.length >> 2), 0, body.length >> 2)
  }

  /**
   * Takes the answers of this type with this number that a datagram begins with, without an object for each: thousands would be garbage.
   * Returns where the first other message begins, in bytes.
   */
  addAll(type: number, seq: number, datagram: Uint8Array): number {
    const words = new Uint32Array(datagram.buffer, datagram.byteOffset, datagram.length >> 2)
    let at = 0
    while (at + HEADER_WORDS <= words.length) {
      const length = ((words[at] as number) + 3) >> 2
      // Type and flags: one that is marked, as of a dump that was interrupted, is for others to judge.
      const kind = (words[at + 1] as number) & ~(Nlm.dumpFiltered << 16)
      const isOurs = kind === ((Nlm.multi << 16) | type) && words[at + 2] === seq
      if (!isOurs || length < HEADER_WORDS || at + length > words.length) break
      this.#take(type, words, at + HEADER_WORDS, at + length)
      at += length
    }
    return at << 2
  }

  #take(type: number, words: Uint32Array, from: number, to: number): void {
    if (type === Rtm.newNeigh && isComputed(words[from] ?? 0, words[from + 2] ?? 0)) return
    const { head, attribute } = AGES[type] ?? {}
    let [a, b] = [this.#a, this.#b]
    let next = head === undefined ? to : from + (head >> 2)
    for (let at = isNftables(type) ? from + (NFGEN_LENGTH >> 2) : from; at < to; ) {
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
    this.#a = Math.imul(((a << 5) | (a >>> 27)) ^ (to - from), FACTOR)
    this.#b = (((b << 13) | (b >>> 19)) + this.#a) | 0
  }

  get value(): string {
    return `${this.#a} ${this.#b}`
  }
}

/** A neighbour that stands for a multicast address comes and goes with what the kernel itself sends. By words of struct ndmsg. */
function isComputed(family: number, state: number): boolean {
  return (family & 0xff) !== Family.bridge && (state & 0xffff) === Nud.noArp
}

/** The subsystem is in the upper byte; rtnetlink has none. */
function isNftables(type: number): boolean {
  return type >> 8 === NFNL_SUBSYS_NFTABLES
}
