import { addElements, type NftCommand, replaceChain } from '../kernel/nftables/objects.ts'
import type { Desired } from './desired.ts'
import { fillSet } from './prefix_set.ts'

/** Returns the commands that make these nftables objects where none of them is there yet, in their order. */
export function createNft(desired: readonly Desired[]): NftCommand[] {
  return desired.flatMap((object): NftCommand[] => {
    if (object.kind === 'nftElement') return [addElements(object.set, object.element)]
    if (object.kind === 'prefixSet') return fillSet(object.set, object.elements)
    return object.kind === 'nftChain' ? [...(object.base ?? []), ...replaceChain(object.chain)] : []
  })
}
