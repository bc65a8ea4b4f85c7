import { type Cidr, contains, formatCidr, overlaps, sameAddress } from '../core/address.ts'
import type { Desired, DesiredFdbEntry, DesiredNeighbour, Place } from '../state/desired.ts'
import type { Backend, LocalNode, Reach } from './backend.ts'
import type { ClusterNode } from './cluster.ts'
import { BACKENDS } from './registry.ts'

export type OverlayPlan = {
  /** The namespace that all objects are in. */
  readonly place: Place
  /** In the order of creation: links and addresses, then what packets to a peer need, then the routes that send packets there. */
  readonly desired: readonly Desired[]
  readonly problems: readonly PeerProblem[]
}

/** Why pods of a peer cannot be reached. It concerns no other peer. */
export type PeerProblem = {
  readonly node: string
  readonly range: string
  readonly problem: string
  readonly hint: string
}

type Way = Exclude<Reach, { problem: string }>

/** Returns the kernel objects by which this node reaches the pods of all other nodes. Pure: the same cluster makes the same plan. */
export function planOverlay(cluster: readonly ClusterNode[], node: LocalNode): OverlayPlan {
  const backend = BACKENDS[node.config.backend]
  const problems: PeerProblem[] = []
  const ways: Way[] = []
  const taken = new Map<string, string>()
  const peers = cluster.filter(({ name }) => name !== node.name)
  for (const peer of peers.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    for (const range of peer.podCidrs) {
      const way = conflictOf(range, peer, node, taken) ?? backend.reach(range, peer, node)
      taken.set(formatCidr(range), taken.get(formatCidr(range)) ?? peer.name)
      if ('problem' in way) problems.push({ node: peer.name, range: formatCidr(range), ...way })
      else ways.push(way)
    }
  }
  const desired = [...linksFor(ways, backend, node), ...entriesOf(ways), ...ways.map(({ route }) => route)]
  return { place: node.place, desired, problems }
}

/** A range is left out that would take away the packets to pods of this node, to those of another one, or to nodes. */
function conflictOf(
  range: Cidr,
  peer: ClusterNode,
  node: LocalNode,
  taken: ReadonlyMap<string, string>,
): Extract<Reach, { problem: string }> | undefined {
  const hint = 'Delete the Node object of the node that no longer exists, or correct the ranges.'
  if (node.podCidrs.some((own) => overlaps(own, range))) {
    return { problem: 'its range overlaps with that of this node', hint }
  }
  const other = taken.get(formatCidr(range))
  if (other !== undefined) return { problem: `node ${other} has the same range`, hint }
  if (peer.addresses.some((one) => node.addresses.some((own) => sameAddress(own, one)))) {
    return { problem: 'it has an address of this node', hint }
  }
  const hasNodes = [...node.addresses, ...peer.addresses].some((one) => contains(range, one))
  return hasNodes ? { problem: 'its range contains addresses of nodes', hint } : undefined
}

/** Only the links that some peer needs: a cluster of one node has none. */
function linksFor(ways: readonly Way[], backend: Backend, node: LocalNode): Desired[] {
  const needed = new Set(ways.flatMap(({ link }) => link ?? []))
  return [...needed].sort().flatMap((name) => backend.link(name, node))
}

/** A peer with ranges of two families has one forwarding entry for both. */
function entriesOf(ways: readonly Way[]): (DesiredNeighbour | DesiredFdbEntry)[] {
  const entries = new Map<string, DesiredNeighbour | DesiredFdbEntry>()
  for (const entry of ways.flatMap(({ entries: all }) => all)) {
    const subject = entry.kind === 'neighbour' ? `${entry.address.family} ${entry.address.value}` : entry.mac
    entries.set(`${entry.link} ${subject}`, entry)
  }
  return [...entries.values()]
}
