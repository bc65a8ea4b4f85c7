import type { NftChain, NftCommand, NftElement, NftSet, NftTable } from './nftables/objects.ts'
import type { Recollection } from './recollection.ts'

/**
 * THE PORT OF NFTABLES: the packet filter of the host's network namespace. Rules, sets and commands are values; see
 * nftables/objects.ts. A kernel without nftables holds nothing.
 */
export interface Nftables {
  /**
   * Applies the commands as one transaction: all or nothing. Throws the first refusal as a Fault with the kernel's errno and
   * the command in the words of nft. A kernel without nftables refuses a removal with ENOENT, all else with EOPNOTSUPP.
   */
  apply(transaction: readonly NftCommand[]): void
  /** Returns whether a set or map holds this key, with these data if any are given. False as well when the set is missing. */
  hasElement<K, D>(set: NftSet<K, D>, element: NftElement<K, D>): boolean
  /** Returns the element of a set or map that holds this key, with its data and comment. Undefined as well when the set is missing. */
  element<K, D>(set: NftSet<K, D>, key: K): NftElement<K, D> | undefined
  /**
   * Returns whether there is such a chain, at its hook (none: not a base chain) and with its rules in their order. Rules of
   * others may stand between them.
   */
  hasChain(chain: NftChain): boolean
  /** Returns whether somebody has switched off all chains of a table. False as well when the table is missing. */
  isDormant(table: NftTable): boolean
  /**
   * Asks about a base chain together with the next question, so that `isHooked` costs no round trip of its own. Changes nothing
   * and throws nothing.
   */
  askAbout(chain: NftChain): void
  /** Returns whether a base chain is at its hook and has as many rules at least, whatever they say. */
  isHooked(chain: NftChain): boolean
  /** Remembers what `ask` asks about sets, elements and chains. */
  remember<T>(ask: () => T): Recollection<T>
  /** Returns all elements of a set, in no order. None as well when the set is missing. */
  elements<K, D>(set: NftSet<K, D>): NftElement<K, D>[]
  /** Asks a question that changes nothing. Throws the refusal: of a kernel without nftables, or for want of rights. */
  probe(): void
}
