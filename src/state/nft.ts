import type { NftChain, NftCommand } from '../kernel/nftables/commands.ts'
import type { Desired } from './desired.ts'

/** Returns the commands that make these nftables objects where none of them is there yet, in their order. */
export function createNft(desired: readonly Desired[]): NftCommand[] {
  return desired.flatMap((object): NftCommand[] => {
    if (object.kind === 'nftElement') return [{ op: 'addElement', ...object.element }]
    return object.kind === 'nftChain' ? [...(object.base ?? []), ...compileChain(object.chain)] : []
  })
}

/** A chain with these rules and no others, whatever it held before. */
function compileChain({ hook, rules, ...chain }: NftChain): NftCommand[] {
  return [
    { op: 'ensureChain', ...chain, ...(hook && { hook }) },
    { op: 'flushChain', ...chain },
    ...rules.map((rule): NftCommand => ({ op: 'addRule', ...chain, rule })),
  ]
}
