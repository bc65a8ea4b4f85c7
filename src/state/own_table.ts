import type { Cidr, Family } from '../core/address.ts'
import { ipPrefix } from '../kernel/nftables/datatypes.ts'
import type { NftSet, NftTable } from '../kernel/nftables/objects.ts'

/** The table of everything that the program has of nftables in families IPv4 and IPv6. */
export const TABLE: NftTable = { family: 'inet', name: 'bowline' }

/** The table of what it has where frames enter a bridge. */
export const BRIDGE_TABLE: NftTable = { family: 'bridge', name: 'bowline' }

/**
 * Destinations that see a pod's own address: the ranges of all nodes, and what else the agent is told. Pods of all subnets look into them.
 * Only the agent changes them; the plugin makes them empty.
 */
export const CLUSTER_SETS: Record<Family, NftSet<Cidr>> = {
  4: { table: TABLE, name: 'cluster4', key: ipPrefix(4) },
  6: { table: TABLE, name: 'cluster6', key: ipPrefix(6) },
}
