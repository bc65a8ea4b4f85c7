import { type Address, type Cidr, FAMILIES, type Family } from '../../../core/address.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { ipAddress, ipPrefix } from '../../../kernel/nftables/datatypes.ts'
import { vmap } from '../../../kernel/nftables/expressions/lookup.ts'
import { saddr } from '../../../kernel/nftables/expressions/payload.ts'
import { type NftChain, type NftCommand, type NftSet, removeChain } from '../../../kernel/nftables/objects.ts'
import { type NftVerdict, verdict } from '../../../kernel/nftables/verdict.ts'
import type { Desired } from '../../../state/desired.ts'
import { CLUSTER_SETS } from '../../../state/own_table.ts'
import { POD_TABLE, removeFrame } from '../nftables.ts'

/* What all masqueraded subnets of a node have in common. */

/** The lock under which masquerading changes. On a node where it was never taken, nothing was masqueraded. */
export const LOCK = 'masquerade'
const SOURCE_NAT = 100

/** Which chain decides for the pods of a subnet. The kernel takes no prefix that overlaps another one. */
export const SUBNET_MAPS: Record<Family, NftSet<Cidr, NftVerdict>> = {
  4: { table: POD_TABLE, name: 'subnets4', key: ipPrefix(4), data: verdict },
  6: { table: POD_TABLE, name: 'subnets6', key: ipPrefix(6), data: verdict },
}

/** Pods that are not masqueraded although their subnet is. */
export const EXEMPT_SETS: Record<Family, NftSet<Address>> = {
  4: { table: POD_TABLE, name: 'exempt4', key: ipAddress(4) },
  6: { table: POD_TABLE, name: 'exempt6', key: ipAddress(6) },
}

/** Returns the base chain, and the sets that it and the chains of subnets look into. */
export function baseObject(): Desired {
  return {
    kind: 'nftChain',
    chain: baseChain(),
    base: [
      { op: 'ensureTable', table: POD_TABLE },
      ...FAMILIES.flatMap((family) =>
        [SUBNET_MAPS[family], CLUSTER_SETS[family], EXEMPT_SETS[family]].map(
          (set): NftCommand => ({ op: 'ensureSet', set }),
        ),
      ),
    ],
    otherwise: 'the rules that masquerade pods are missing in table inet bowline',
  }
}

/** Returns whether the node has what all subnets have in common. */
export function hasMasquerade({ nftables }: Kernel): boolean {
  return nftables.hasChain(baseChain())
}

/** Removes what all subnets have in common, and the table unless another feature is in it. What the agent has put into its sets stays. */
export function removeBase(kernel: Kernel): void {
  const { nftables } = kernel
  const unused = FAMILIES.map((family) => CLUSTER_SETS[family]).filter(
    (set) => nftables.elements(set).length === 0,
  )
  const own = FAMILIES.flatMap((family) => [SUBNET_MAPS[family], EXEMPT_SETS[family]])
  removeFrame(kernel, POD_TABLE, [
    ...removeChain(baseChain()),
    ...[...own, ...unused].map((set): NftCommand => ({ op: 'removeSet', set, elements: true })),
  ])
}

function baseChain(): NftChain {
  return {
    table: POD_TABLE,
    name: 'masquerade-pods',
    hook: { type: 'nat', hook: 'postrouting', priority: SOURCE_NAT },
    rules: FAMILIES.map((family) => [vmap(saddr(family), SUBNET_MAPS[family])]),
  }
}
