import { type Cidr, contains, FAMILIES, networkOf } from '../core/address.ts'
import { MAX_COMMENT_BYTES } from '../kernel/nftables/elements.ts'
import type { NftElement } from '../kernel/nftables/objects.ts'
import type { DesiredPrefixSet } from '../state/desired.ts'
import { CLUSTER_SETS } from '../state/own_table.ts'
import { widest } from '../state/prefix_set.ts'
import type { LocalNode } from './backend.ts'
import type { ClusterNode } from './cluster.ts'

export type ClusterSets = {
  /** They grow before a packet could go to what they get, and shrink after the last one could. */
  readonly sets: readonly DesiredPrefixSet[]
  /** The elements of each node: the same values in the next plan, while the node is the same value. */
  readonly ranges: ReadonlyMap<ClusterNode, readonly NftElement<Cidr>[]>
}

/**
 * Returns the sets of destinations to which pods of this node speak with their own address: the ranges of all nodes, its own too, and those
 * of the configuration. A range with addresses of nodes in it is a mistake, see `planOverlay`. `known`: from an earlier plan of this node.
 */
export function planClusterSets(
  cluster: readonly ClusterNode[],
  node: LocalNode,
  known?: ClusterSets['ranges'],
): ClusterSets {
  const ranges = new Map(cluster.map((one) => [one, known?.get(one) ?? rangesOf(one, node)]))
  const configured = node.config.nonMasqueradeCIDRs.map((cidr) => ({
    key: networkOf(cidr),
    comment: 'overlay.json',
  }))
  const all = [...configured, ...[...ranges.values()].flat()]
  const sets = FAMILIES.map((family): DesiredPrefixSet => {
    const elements = widest(all.filter(({ key }) => key.address.family === family))
    const set = CLUSTER_SETS[family]
    return {
      kind: 'prefixSet',
      set,
      elements,
      words: `the nftables set ${set.name} of what is not masqueraded`,
    }
  })
  return { sets, ranges }
}

function rangesOf({ name, addresses, podCidrs }: ClusterNode, node: LocalNode): NftElement<Cidr>[] {
  const nodes = [...node.addresses, ...addresses]
  return podCidrs
    .filter((range) => !nodes.some((address) => contains(range, address)))
    .map((range) => ({ key: networkOf(range), comment: `node ${name}`.slice(0, MAX_COMMENT_BYTES) }))
}
