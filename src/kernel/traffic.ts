import type { Address, Family } from '../core/address.ts'

/** THE PORT OF TRAFFIC: who waits for packets in the host's network namespace, and which connections the kernel tracks there. */
export interface Traffic {
  /**
   * Returns the sockets that take what comes for a port: those that listen, and those of UDP without a peer. `protocol` is the number of
   * a transport protocol. None where the kernel cannot tell.
   */
  listeners(protocol: number): Listener[]
  /** Returns the tracked connections that are meant. None where the kernel tracks none, or cannot tell. */
  connections(filter: ConnectionFilter): Connection[]
  /** Forgets connections: their next packet begins a new one. One that is gone is no error. */
  forget(connections: readonly Connection[]): void
}

/** A socket that takes what comes for its port. An address of zeros is any address of the family. */
export type Listener = { readonly address: Address; readonly port: number }

/** Which connections are meant. What is left out may be anything. */
export type ConnectionFilter = {
  readonly family: Family
  /** By its number. With a port it must be said. */
  readonly protocol?: number
  /** Where the client sends to. */
  readonly port?: number
  /** Who answers: after a translation of the destination another one than the client sends to. */
  readonly answeredBy?: Address
  /** The destination was translated. Only for the kernel: what is left out of its answer need not be read. */
  readonly isTranslated?: true
  /** The source was translated, and no answer has come yet. */
  readonly isUnansweredTranslation?: true
}

/** A connection that the kernel tracks, or what it takes for one. */
export type Connection = {
  readonly protocol: number
  /** Who has sent the first packet. */
  readonly client: Address
  /** The address and port that the client sends to, before any translation. */
  readonly destination: Address
  readonly port: number
  readonly answeredBy: Address
  /** Names the connection in a removal. */
  readonly identity: Uint8Array
}
