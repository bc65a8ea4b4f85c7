/*
 * The packet filters of a node as one kind of value, whoever made them and by whichever interface of the kernel: nftables,
 * or the tables of the older iptables. Only as much is understood as it takes to prove that a packet is dropped.
 */
export type FirewallFamily = 'ip' | 'ip6' | 'inet' | 'bridge'

export type Hook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'

export type FirewallChain = {
  readonly via: 'nftables' | 'iptables-legacy'
  readonly family: FirewallFamily
  readonly table: string
  readonly name: string
  /** The hook, and the verdict on a packet that no rule decides. Absent on a chain that is only called by others. */
  readonly base?: { readonly hook: Hook; readonly policy: 'accept' | 'drop' }
  readonly rules: readonly FirewallRule[]
}

/** The effect of a rule on a packet that meets all its tests. */
export type FirewallRule = { readonly tests: readonly FirewallTest[]; readonly verdict: FirewallVerdict }

/** `unknown` may be anything. Chains are named within their table. */
export type FirewallVerdict =
  | { readonly kind: 'accept' | 'drop' | 'return' | 'continue' | 'unknown' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string }

/** Compares bytes of a packet, after a mask, with a value. */
export type FirewallTest = {
  readonly field: PacketField
  /** The offset of the value in the field. */
  readonly offset: number
  readonly mask?: Uint8Array
  readonly value: Uint8Array
  readonly isEqual: boolean
}

/**
 * Names are 16 bytes, padded with NUL; indexes, `conntrackState` and `conntrackStatus` are 32-bit numbers of this machine; `transport` is the
 * number of a protocol. `unknown` is all that we don't read.
 */
export type PacketField =
  | 'inputLink'
  | 'outputLink'
  | 'inputIndex'
  | 'outputIndex'
  | 'inputBridge'
  | 'outputBridge'
  | 'protocolFamily'
  | 'conntrackState'
  | 'conntrackStatus'
  | 'transport'
  | 'networkHeader'
  | 'unknown'

/** Bits of `conntrackState`. Source: linux/netfilter/nf_conntrack_common.h. */
export const ConntrackState = { established: 2, new: 8 } as const

/** Bits of `conntrackStatus`: IPS_DST_NAT. Source: the same. */
export const CONNTRACK_DNAT = 32

/** The known bits of a field of a packet: those of `value` where `known` has ones. */
export type KnownBits = { readonly value: Uint8Array; readonly known: Uint8Array }

/** A packet, or all packets of a kind. A field that is left out may have any value. */
export type FirewallPacket = Partial<Record<Exclude<PacketField, 'unknown'>, KnownBits>>

/** A test that is not understood. */
export const UNKNOWN_TEST: FirewallTest = {
  field: 'unknown',
  offset: 0,
  value: new Uint8Array(),
  isEqual: true,
}
