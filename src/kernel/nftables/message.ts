import type { Attributes } from './attributes.ts'

/** `inet` sees IPv4 and IPv6 packets, `bridge` every frame on its way through a bridge. */
export type NftTable = {
  readonly family: 'inet' | 'bridge'
  readonly name: string
  /** It belongs to the socket that makes it: others can neither change nor flush it, and it goes with the socket. From Linux 5.12 on. */
  readonly isOwned?: true
}

/** One message of a transaction. */
export type NftMessage = {
  readonly table: NftTable
  readonly type: number
  readonly flags: number
  readonly attributes: Attributes
}
