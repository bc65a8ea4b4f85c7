import type { NftChain, NftCommand } from '../kernel/nftables/commands.ts'

/** Something of nftables that is not as it should be, and the transaction that makes it so: empty where none can. */
export type MissingNft = { readonly what: string; readonly commands: readonly NftCommand[] }

/** Makes a chain with these rules and no others, whatever it held before. */
export function compileChain({ hook, rules, ...chain }: NftChain): NftCommand[] {
  return [
    { op: 'ensureChain', ...chain, ...(hook && { hook }) },
    { op: 'flushChain', ...chain },
    ...rules.map((rule): NftCommand => ({ op: 'addRule', ...chain, rule })),
  ]
}
