import type { NftChain, NftCommand } from '../kernel/nftables/commands.ts'

/** Makes a chain with these rules and no others, whatever it held before. */
export function compileChain({ hook, rules, ...chain }: NftChain): NftCommand[] {
  return [
    { op: 'ensureChain', ...chain, ...(hook && { hook }) },
    { op: 'flushChain', ...chain },
    ...rules.map((rule): NftCommand => ({ op: 'addRule', ...chain, rule })),
  ]
}
