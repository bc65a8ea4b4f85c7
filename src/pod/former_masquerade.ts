import type { Family } from '../core/address.ts'
import { ignoreErrnos } from '../core/errors.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { NftCommand, NftElement } from '../kernel/nftables/commands.ts'

/*
 * Versions before masquerading was once a subnet had an element for each pod, in two maps and a base chain of their own.
 * They go on working until the first change that the new version makes; from then on its subnets do for those pods too.
 */
const TABLE = 'bowline'
const FAMILIES: readonly Family[] = [4, 6]
const BASE = 'postrouting'
const CHAIN_PREFIX = 'net-'

/** Returns the elements that an older version made, one for each address of a pod. */
export function listFormer(kernel: Kernel): NftElement[] {
  return FAMILIES.flatMap((family) => kernel.nftElements({ table: TABLE, map: mapOf(family) }))
}

/** Returns the commands that remove those elements and the chains that they lead to. */
export function removalOfFormer(kernel: Kernel, elements: readonly NftElement[]): NftCommand[] {
  if (elements.length === 0) return []
  const chains = kernel
    .firewall()
    .filter(({ via, family, table }) => via === 'nftables' && family === 'inet' && table === TABLE)
    .map(({ name }) => name)
    .filter((name) => name === BASE || name.startsWith(CHAIN_PREFIX))
  return [
    ...elements.map(({ table, map, key }): NftCommand => ({ op: 'removeElement', table, map, key })),
    ...chains.flatMap((chain): NftCommand[] => [
      { op: 'flushChain', table: TABLE, chain },
      { op: 'removeChain', table: TABLE, chain },
    ]),
  ]
}

/** Removes their maps. In a transaction of its own: until one is over, the kernel counts what it removes. */
export function removeFormerMaps(kernel: Kernel): void {
  for (const family of FAMILIES) {
    ignoreErrnos(['ENOENT', 'EBUSY'], () =>
      kernel.nft([{ op: 'removeMap', table: TABLE, map: mapOf(family) }]),
    )
  }
}

function mapOf(family: Family): string {
  return `masquerade${family}`
}
