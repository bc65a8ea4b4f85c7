import type { Datatype } from './datatypes.ts'
import type { Expression } from './expression.ts'
import type { NftTable } from './message.ts'

export type { NftTable }

export type NftChainRef = { readonly table: NftTable; readonly name: string }

/** A chain as it should be: at this hook, if any, and with these rules in this order. */
export type NftChain = NftChainRef & { readonly hook?: NftHook; readonly rules: readonly NftRule[] }

/** Makes a base chain. `type nat hook postrouting priority 100` is source NAT. */
export type NftHook = {
  readonly type: 'filter' | 'nat'
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting'
  readonly priority: number
}

/** What one rule does, in order. */
export type NftRule = readonly Expression[]

export type NftSetRef = { readonly table: NftTable; readonly name: string }

/** A set of keys; with `data` a map. Key types with a last key (prefixes, ranges) make it an interval set. */
export type NftSet<K, D = never> = NftSetRef & {
  readonly key: Datatype<K>
  readonly data?: Datatype<D>
  /** Elements go when this time is over, unless they have another one of their own. */
  readonly timeoutMs?: number
  /** Rules add elements to it. */
  readonly dynamic?: boolean
}

export type NftElement<K, D = never> = {
  readonly key: K
  readonly data?: D
  readonly comment?: string
  readonly timeoutMs?: number
}

type AnySet = NftSet<unknown, unknown>
type AnyElement = NftElement<unknown, unknown>

/**
 * nftables commands as values. One list of them is one transaction. `ensure…` is idempotent, `remove…` of what is
 * missing fails with ENOENT, and a removal never takes more than it names (NLM_F_NONREC): EBUSY if still in use.
 */
export type NftCommand =
  /** `wakeTable` switches a dormant table on: in one transaction with a new base chain the kernel refuses that (EINVAL). */
  | { readonly op: 'ensureTable' | 'wakeTable' | 'removeTable'; readonly table: NftTable }
  | { readonly op: 'ensureChain'; readonly chain: NftChainRef & { readonly hook?: NftHook } }
  /** `flushChain` removes all rules of the chain. */
  | { readonly op: 'flushChain' | 'removeChain'; readonly chain: NftChainRef }
  | { readonly op: 'addRule'; readonly chain: NftChainRef; readonly rule: NftRule }
  | { readonly op: 'ensureSet'; readonly set: AnySet }
  /** With `elements`, also a set that has some: nft leaves one of its own in every interval set that it has written to. */
  | { readonly op: 'removeSet'; readonly set: AnySet; readonly elements?: true }
  | {
      readonly op: 'addElements' | 'removeElements'
      readonly set: AnySet
      readonly elements: readonly AnyElement[]
    }

/** Adds elements, thousands if need be. Adding one that is there is no error; with other data it is EEXIST. */
export function addElements<K, D>(set: NftSet<K, D>, ...elements: readonly NftElement<K, D>[]): NftCommand {
  return { op: 'addElements', set, elements } as NftCommand
}

/**
 * Removes elements: ENOENT if one is missing. One that is given with data counts as missing if it has other data, which is
 * looked at just before the transaction.
 */
export function removeElements<K, D>(
  set: NftSet<K, D>,
  ...elements: readonly NftElement<K, D>[]
): NftCommand {
  return { op: 'removeElements', set, elements } as NftCommand
}

/** Returns the commands that make a chain with these rules and no others, whatever it held before. */
export function replaceChain({ rules, ...chain }: NftChain): NftCommand[] {
  return [
    { op: 'ensureChain', chain },
    { op: 'flushChain', chain },
    ...rules.map((rule): NftCommand => ({ op: 'addRule', chain, rule })),
  ]
}

/** Returns the commands that remove a chain with its rules. */
export function removeChain(chain: NftChainRef): NftCommand[] {
  return [
    { op: 'flushChain', chain },
    { op: 'removeChain', chain },
  ]
}

/** Returns whether the command only takes away, so that there is nothing to do where there is nothing. */
export function isRemoval({ op }: NftCommand): boolean {
  return op.startsWith('remove') || op === 'flushChain'
}
