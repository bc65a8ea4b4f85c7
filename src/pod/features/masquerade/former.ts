import { type Address, FAMILIES, type Family } from '../../../core/address.ts'
import { ignoreErrnos } from '../../../core/errors.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { ipAddress } from '../../../kernel/nftables/datatypes.ts'
import {
  type NftCommand,
  type NftElement,
  type NftSet,
  removeChain,
  removeElements,
} from '../../../kernel/nftables/objects.ts'
import { type NftVerdict, verdict } from '../../../kernel/nftables/verdict.ts'
import { POD_TABLE } from '../nftables.ts'

/*
 * Versions before masquerading was once a subnet had an element for each pod, in two maps and a base chain of their own.
 * They go on working until the first change that the new version makes; from then on its subnets do for those pods too.
 */
const BASE = 'postrouting'
const CHAIN_PREFIX = 'net-'

/** Returns the elements that an older version made, one for each address of a pod. */
export function listFormer({ nftables }: Kernel): NftElement<Address, NftVerdict>[] {
  return FAMILIES.flatMap((family) => nftables.elements(mapOf(family)))
}

/** Returns the commands that remove those elements and the chains that they lead to. */
export function removalOfFormer(
  kernel: Kernel,
  elements: readonly NftElement<Address, NftVerdict>[],
): NftCommand[] {
  if (elements.length === 0) return []
  const chains = kernel
    .firewall()
    .filter(
      ({ via, family, table }) =>
        via === 'nftables' && family === POD_TABLE.family && table === POD_TABLE.name,
    )
    .filter(({ name }) => name === BASE || name.startsWith(CHAIN_PREFIX))
  return [
    ...elements.map(({ key }) => removeElements(mapOf(key.family), { key })),
    ...chains.flatMap(({ name }) => removeChain({ table: POD_TABLE, name })),
  ]
}

/** Removes their maps. In a transaction of its own: until one is over, the kernel counts what it removes. */
export function removeFormerMaps({ nftables }: Kernel): void {
  for (const family of FAMILIES) {
    ignoreErrnos(['ENOENT', 'EBUSY'], () => nftables.apply([{ op: 'removeSet', set: mapOf(family) }]))
  }
}

function mapOf(family: Family): NftSet<Address, NftVerdict> {
  return { table: POD_TABLE, name: `masquerade${family}`, key: ipAddress(family), data: verdict }
}
