/**
 * nftables commands as values. One list of them is one transaction. `ensure…` is idempotent, `remove…` of what is
 * missing fails with ENOENT, and a removal never takes more than it names (NLM_F_NONREC): EBUSY if still in use.
 */
export type NftCommand =
  | ({ readonly op: 'ensureTable' } & NftTableRef)
  | ({ readonly op: 'removeTable' } & NftTableRef)
  | ({ readonly op: 'ensureChain'; readonly hook?: NftHook } & NftChainRef)
  /** Removes all rules of the chain. */
  | ({ readonly op: 'flushChain' } & NftChainRef)
  | ({ readonly op: 'removeChain' } & NftChainRef)
  | ({ readonly op: 'addRule'; readonly rule: NftRule } & NftChainRef)
  /** With `interval`, its keys are prefixes of addresses that do not overlap. */
  | ({
      readonly op: 'ensureMap'
      readonly map: string
      readonly key: NftKeyType
      readonly interval?: boolean
    } & NftTableRef)
  /** With `elements`, also one that has some: nft leaves one of its own in every interval map that it has written to. */
  | ({ readonly op: 'removeMap'; readonly map: string; readonly elements?: true } & NftTableRef)
  | ({ readonly op: 'addElement' } & NftElement)
  /** ENOENT if there is none. Where it leads (`ofChain`) is looked at just before the transaction. */
  | ({ readonly op: 'removeElement' } & NftOwnElementRef)

/** Whether the command only takes away, so that there is nothing to do where there is nothing. */
export function isRemoval({ op }: NftCommand): boolean {
  return op.startsWith('remove') || op === 'flushChain'
}

/** `inet` sees IPv4 and IPv6 packets, `bridge` every frame on its way through a bridge. */
export type NftFamily = 'inet' | 'bridge'

/** A table by its name; those of two families have nothing to do with each other. Default: inet. */
export type NftTableRef = { readonly family?: NftFamily; readonly table: string }

export type NftChainRef = NftTableRef & { readonly chain: string }

/** A chain as it should be: at this hook, if any, and with these rules in this order. */
export type NftChain = NftChainRef & { readonly hook?: NftHook; readonly rules: readonly NftRule[] }

/** A base chain. `type nat hook postrouting priority 100` is source NAT. */
export type NftHook = {
  readonly type: 'filter' | 'nat'
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'
  readonly priority: number
}

export type NftKeyType = 'ipv4_addr' | 'ipv6_addr' | 'ifname'

export type NftMapRef = NftTableRef & { readonly map: string }

export type NftElementRef = NftMapRef & {
  /** Bytes of the key: 4 or 16 of an address, 16 (padded with NUL) of an interface name. */
  readonly key: Uint8Array
  /** The key is the first address of a prefix of this length: for interval maps, and only for them. */
  readonly prefix?: number
}

/** With `ofChain`, an element counts only if it goes to this chain: else it is somebody else's. */
export type NftOwnElementRef = NftElementRef & { readonly ofChain?: string }

/** An element of a verdict map: packets whose key matches go to the chain. Adding the same twice is no error. */
export type NftElement = NftElementRef & { readonly goto: string; readonly comment?: string }

/** What one rule does, in order. */
export type NftRule = readonly NftExpression[]

/** Those that look at an IP address, and `masquerade`, are for chains of family inet; `etherSaddr` for family bridge. */
export type NftExpression =
  /** `ip saddr vmap @map` or `ip6 saddr vmap @map`. The family test (meta nfproto) is part of it. */
  | { readonly match: 'saddrVmap'; readonly family: 4 | 6; readonly map: string }
  /** `ip daddr PREFIX` or `ip6 daddr PREFIX`. */
  | { readonly match: 'daddr'; readonly family: 4 | 6; readonly address: Uint8Array; readonly prefix: number }
  /** `iifname vmap @map`: the interface that the packet came in by. */
  | { readonly match: 'iifnameVmap'; readonly map: string }
  /** `ether saddr MAC`: six bytes. */
  | { readonly match: 'etherSaddr'; readonly mac: Uint8Array }
  | { readonly verdict: NftVerdict }

export type NftVerdict = 'accept' | 'drop' | 'return' | 'masquerade'
