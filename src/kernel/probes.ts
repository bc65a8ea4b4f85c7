import type { Address } from '../core/address.ts'

/** The port for probes between nodes: small datagrams, and what the way says of them. */
export type ProbeSender = {
  /**
   * Sends a UDP datagram that nobody on the way may fragment. Returns false if the kernel refuses it. `isFilled`: the kernel computes its
   * checksum; else that may be left to a device.
   */
  send(bytes: Uint8Array, to: Address, port: number, isFilled?: boolean): boolean
  /** Returns what has come back of earlier datagrams, and forgets it. */
  refusals(): Refusal[]
  close(): void
}

/** What a router, a host or the kernel itself has said of a datagram (ICMP). */
export type Refusal = {
  /** `closed`: nobody listens at the port. `tooBig`: the next hop carries less. */
  readonly reason: 'closed' | 'tooBig' | 'other'
  /** With `tooBig`: what the next hop carries, in bytes; 0 if it has not said so. */
  readonly mtu: number
  /** The beginning of the datagram's payload, as far as it came back. */
  readonly payload: Uint8Array
}
