import { type Cidr, contains, FAMILIES } from '../core/address.ts'
import type { NftElement } from '../kernel/nftables/objects.ts'
import type { DesiredPrefixSet } from '../state/desired.ts'
import { CLUSTER_SETS } from '../state/own_table.ts'
import { widest } from '../state/prefix_set.ts'
import type { LocalNode } from './backend.ts'
import type { ClusterNode } from './cluster.ts'

/** The kernel keeps 127 bytes of a comment. */
const MAX_NAME = 120

/**
 * Returns the sets of destinations to which pods of this node speak with their own address: the ranges of all nodes, its own too, and those
 * of the configuration. A range with addresses of nodes in it is a mistake, see `planOverlay`.
 */
export function planClusterSets(cluster: readonly ClusterNode[], node: LocalNode): DesiredPrefixSet[] {
  const configured = node.config.nonMasqueradeCIDRs.map((key) => ({ key, comment: 'overlay.json' }))
  const ranges = [...cluster]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name, addresses, podCidrs }): NftElement<Cidr>[] => {
      const nodes = [...node.addresses, ...addresses]
      const sound = podCidrs.filter((range) => !nodes.some((address) => contains(range, address)))
      return sound.map((key) => ({ key, comment: `node ${name}`.slice(0, MAX_NAME) }))
    })
  return FAMILIES.map((family) => ({
    kind: 'prefixSet',
    set: CLUSTER_SETS[family],
    elements: widest([...configured, ...ranges].filter(({ key }) => key.address.family === family)),
    words: `the nftables set ${CLUSTER_SETS[family].name} of what is not masqueraded`,
  }))
}
