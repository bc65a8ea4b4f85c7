import {
  addressKey,
  type Cidr,
  contains,
  formatCidr,
  networkOf,
  overlaps,
  sameAddress,
} from '../core/address.ts'
import type { Desired, DesiredRoute } from '../state/desired.ts'
import type { Transition } from '../state/transition.ts'
import type { LocalNode, PeerEntry, Reach } from './backend.ts'
import type { ClusterNode } from './cluster.ts'
import { type ClusterSets, planClusterSets } from './cluster_sets.ts'
import { BACKENDS } from './registry.ts'

export type OverlayPlan = ClusterSets & {
  readonly node: LocalNode
  /** Links and addresses that some peer needs. */
  readonly links: readonly Desired[]
  /** By the name of the node. */
  readonly peers: ReadonlyMap<string, PeerPlan>
  readonly problems: readonly PeerProblem[]
}

/** What one peer needs. */
export type PeerPlan = {
  readonly peer: ClusterNode
  /** What only one node can have: texts of its addresses, and of where its ranges begin. */
  readonly claims: readonly string[]
  /** For each claim the node, earlier in the order of names, that has it too. */
  readonly rivals: readonly (string | undefined)[]
  readonly links: readonly string[]
  /** What packets to the peer need. */
  readonly entries: readonly PeerEntry[]
  /** What sends packets there. */
  readonly routes: readonly DesiredRoute[]
  readonly problems: readonly PeerProblem[]
}

/** Why pods of a peer cannot be reached, or not for certain. It concerns no other peer. */
export type PeerProblem = {
  readonly node: string
  /** All of its pods if there is none. */
  readonly range?: string
  readonly problem: string
  readonly hint: string
}

/**
 * Returns the kernel objects by which this node reaches the pods of all other nodes. Pure: the same cluster makes the same plan. An earlier
 * plan only saves work: what it has for a peer is taken over if neither that peer nor this node is another value.
 */
export function planOverlay(
  cluster: readonly ClusterNode[],
  node: LocalNode,
  earlier?: OverlayPlan,
): OverlayPlan {
  const known = earlier?.node === node ? earlier.peers : undefined
  const owners = new Map<string, string>()
  const peers = new Map<string, PeerPlan>()
  const others = cluster.filter(({ name }) => name !== node.name)
  for (const peer of others.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const before = known?.get(peer.name)
    const same = before?.peer === peer ? before : undefined
    const claims = same?.claims ?? claimsOf(peer)
    const rivals = claims.map((claim) => owners.get(claim))
    for (const claim of claims) if (!owners.has(claim)) owners.set(claim, peer.name)
    const isSame = same && rivals.every((rival, i) => rival === same.rivals[i])
    peers.set(peer.name, isSame ? same : planPeer(peer, node, claims, rivals))
  }
  const all = [...peers.values()]
  const needed = new Set(all.flatMap(({ links }) => links))
  const backend = BACKENDS[node.config.backend]
  return {
    node,
    links: [...needed].sort().flatMap((name) => backend.link(name, node)),
    peers,
    ...planClusterSets(cluster, node, known && earlier?.ranges),
    problems: all.flatMap(({ problems }) => problems),
  }
}

/** Returns all objects of a plan in the order of creation: links, then what packets to peers need, then the routes that send them there. */
export function desiredOf({ links, peers }: OverlayPlan): Desired[] {
  const all = [...peers.values()]
  return [...links, ...all.flatMap(({ entries }) => entries), ...all.flatMap(({ routes }) => routes)]
}

/** Returns what differs from one plan to the next, peer by peer. */
export function transitionsBetween(before: OverlayPlan, after: OverlayPlan): Transition[] {
  const transitions: Transition[] = []
  for (const [name, old] of before.peers) {
    const peer = after.peers.get(name)
    if (peer !== old) transitions.push({ before: objectsOf(old), after: objectsOf(peer) })
  }
  for (const [name, peer] of after.peers) {
    if (!before.peers.has(name)) transitions.push({ before: [], after: objectsOf(peer) })
  }
  return transitions
}

function objectsOf(plan: PeerPlan | undefined): Desired[] {
  return plan ? [...plan.entries, ...plan.routes] : []
}

function planPeer(
  peer: ClusterNode,
  node: LocalNode,
  claims: readonly string[],
  rivals: readonly (string | undefined)[],
): PeerPlan {
  const backend = BACKENDS[node.config.backend]
  const links = new Set<string>()
  const entries = new Map<string, PeerEntry>()
  const routes: DesiredRoute[] = []
  const problems = addressProblems(peer, rivals)
  for (const [i, range] of peer.podCidrs.entries()) {
    const way = conflictOf(range, peer, node, rivals[i]) ?? backend.reach(range, peer, node)
    if ('problem' in way) {
      problems.push({ node: peer.name, range: formatCidr(range), ...way })
      continue
    }
    if (way.link) links.add(way.link)
    // Ranges of two families have one forwarding entry for both.
    for (const entry of way.entries) entries.set(identityOf(entry), entry)
    if (way.route) routes.push(way.route)
  }
  return { peer, claims, rivals, links: [...links], entries: [...entries.values()], routes, problems }
}

function claimsOf({ addresses, podCidrs }: ClusterNode): string[] {
  return [...podCidrs.map((range) => networkOf(range).address), ...addresses].map(addressKey)
}

/** Of two nodes with one address both are programmed: which of them answers there is not known here, and that one is reached. */
function addressProblems(
  { name, podCidrs, mistakes = [] }: ClusterNode,
  rivals: readonly (string | undefined)[],
): PeerProblem[] {
  const rival = rivals.slice(podCidrs.length).find((one) => one !== undefined)
  const twice = rival && {
    node: name,
    problem: `node ${rival} has the same address`,
    hint: 'Delete the Node object of the node that no longer exists.',
  }
  return [...mistakes.map((mistake) => ({ node: name, ...mistake })), ...(twice ? [twice] : [])]
}

/** A range is left out that would take away the packets to pods of this node, to those of another one, or to nodes. */
function conflictOf(
  range: Cidr,
  peer: ClusterNode,
  node: LocalNode,
  rival: string | undefined,
): Extract<Reach, { problem: string }> | undefined {
  const hint = 'Delete the Node object of the node that no longer exists, or correct the ranges.'
  if (node.podCidrs.some((own) => overlaps(own, range))) {
    return { problem: 'its range overlaps with that of this node', hint }
  }
  if (rival !== undefined) return { problem: `a range of node ${rival} begins at the same address`, hint }
  if (peer.addresses.some((one) => node.addresses.some((own) => sameAddress(own, one)))) {
    return { problem: 'it has an address of this node', hint }
  }
  const hasNodes = [...node.addresses, ...peer.addresses].some((one) => contains(range, one))
  return hasNodes ? { problem: 'its range contains addresses of nodes', hint } : undefined
}

function identityOf(entry: PeerEntry): string {
  return entry.kind === 'neighbour'
    ? `${entry.link} ${addressKey(entry.address)}`
    : `${entry.link} ${entry.mac}`
}
