/**
 * nftables commands as values. One list of them is one transaction. `ensure…` is idempotent, `remove…` of what is
 * missing fails with ENOENT, and a removal never takes more than it names (NLM_F_NONREC): EBUSY if still in use.
 * All names live in one table of family inet.
 */
export type NftCommand =
  | { readonly op: 'ensureTable'; readonly table: string }
  | { readonly op: 'removeTable'; readonly table: string }
  | { readonly op: 'ensureChain'; readonly table: string; readonly chain: string; readonly hook?: NftHook }
  /** Removes all rules of the chain. */
  | { readonly op: 'flushChain'; readonly table: string; readonly chain: string }
  | { readonly op: 'removeChain'; readonly table: string; readonly chain: string }
  | {
      readonly op: 'addRule'
      readonly table: string
      readonly chain: string
      readonly rule: readonly NftExpression[]
    }
  | { readonly op: 'ensureMap'; readonly table: string; readonly map: string; readonly key: NftKeyType }
  | { readonly op: 'removeMap'; readonly table: string; readonly map: string }
  | ({ readonly op: 'addElement' } & NftElement)
  /** ENOENT if there is none. */
  | ({ readonly op: 'removeElement' } & NftElementRef)

/** A base chain. `type nat hook postrouting priority 100` is source NAT. */
export type NftHook = {
  readonly type: 'filter' | 'nat'
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'
  readonly priority: number
}

export type NftKeyType = 'ipv4_addr' | 'ipv6_addr' | 'ifname'

export type NftElementRef = {
  readonly table: string
  readonly map: string
  /** Bytes of the key: 4 or 16 of an address, 16 (padded with NUL) of an interface name. */
  readonly key: Uint8Array
}

/** An element of a verdict map: packets whose key matches go to the chain. Adding the same twice is no error. */
export type NftElement = NftElementRef & { readonly goto: string; readonly comment?: string }

/** What one rule does, in order. */
export type NftExpression =
  /** `ip saddr vmap @map` or `ip6 saddr vmap @map`. The family test (meta nfproto) is part of it. */
  | { readonly match: 'saddrVmap'; readonly family: 4 | 6; readonly map: string }
  /** `ip daddr PREFIX` or `ip6 daddr PREFIX`. */
  | { readonly match: 'daddr'; readonly family: 4 | 6; readonly address: Uint8Array; readonly prefix: number }
  | { readonly verdict: 'accept' | 'return' | 'masquerade' }
