import { addressKey, type Cidr, contains, formatCidr, overlaps, sameAddress } from '../core/address.ts'
import { unequalPart } from '../core/unequal_part.ts'
import type { Desired, DesiredPrefixSet, DesiredRoute } from '../state/desired.ts'
import type { Transition } from '../state/transition.ts'
import type { LocalNode, PeerEntry, Reach } from './backend.ts'
import { type Claims, claimsOf, moveClaims, rivalsOf } from './claims.ts'
import type { ClusterNode } from './cluster.ts'
import { type ClusterSets, initialClusterSets, nextClusterSets } from './cluster_sets.ts'
import { type Guard, isGuarded, nextNodeSets, noGuard } from './guard.ts'
import { BACKENDS } from './registry.ts'

export type OverlayPlan = ClusterSets & {
  readonly node: LocalNode
  /** What it was made of. */
  readonly cluster: readonly ClusterNode[]
  /** What keeps strangers out of the links. */
  readonly guard: Guard
  /** Links and addresses that some peer needs. */
  readonly links: readonly Desired[]
  /** By the name of the node. */
  readonly peers: ReadonlyMap<string, PeerPlan>
  readonly problems: readonly PeerProblem[]
  readonly claims: Claims
  /** How many peers need each link, by its name. */
  readonly users: ReadonlyMap<string, number>
}

/** What one peer needs. */
export type PeerPlan = {
  readonly peer: ClusterNode
  readonly claims: readonly string[]
  /** Of each claim. */
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

/** Returns the kernel objects by which this node reaches the pods of all other nodes. Pure: the same cluster makes the same plan. */
export function planOverlay(cluster: readonly ClusterNode[], node: LocalNode): OverlayPlan {
  return nextPlan(emptyPlan(node), cluster).plan
}

/** A plan, and the names of the peers of which it says something else than the one before. */
export type PlanStep = { readonly plan: OverlayPlan; readonly changed: ReadonlySet<string> }

/**
 * Returns the plan of the same node for another cluster, as `planOverlay` would. The work is that of the nodes that differ, but for passes
 * over all that do nothing but compare or copy references.
 */
export function nextPlan(before: OverlayPlan, cluster: readonly ClusterNode[]): PlanStep {
  const { node, problems } = before
  const { gone, come } = changesBetween(before.cluster, cluster)
  if (gone.length + come.length === 0) {
    const isSame = cluster.every((one, i) => one === before.cluster[i])
    return { plan: isSame ? before : { ...before, cluster }, changed: new Set() }
  }
  const maps = {
    peers: new Map(before.peers),
    claims: new Map(before.claims),
    users: new Map(before.users),
  }
  const changed = movePeers(maps, node, gone, come)
  const sets = nextClusterSets(before, node, gone, come)
  const guard = { ...before.guard, ...nextNodeSets(before.guard, node, gone, come) }
  const plan = { node, cluster, ...maps, ...sets, ...linksFor(before, guard, maps.users), problems }
  return { plan: withProblems(plan, before, changed), changed }
}

function emptyPlan(node: LocalNode): OverlayPlan {
  const guard = noGuard()
  const nothing = { links: [], peers: new Map(), problems: [], claims: new Map(), users: new Map() }
  return { node, cluster: [], ...nothing, guard, ...initialClusterSets(node) }
}

/** A node that is another value than before is among both. In the order of names. */
function changesBetween(
  before: readonly ClusterNode[],
  after: readonly ClusterNode[],
): { readonly gone: readonly ClusterNode[]; readonly come: readonly ClusterNode[] } {
  const { start, endOfA, endOfB } = unequalPart(before, after)
  const [old, next] = [before.slice(start, endOfA), after.slice(start, endOfB)]
  const [known, wanted] = [new Set(old), new Set(next)]
  const byName = (a: ClusterNode, b: ClusterNode) => (a.name < b.name ? -1 : 1)
  return {
    gone: old.filter((one) => !wanted.has(one)).sort(byName),
    come: next.filter((one) => !known.has(one)).sort(byName),
  }
}

/** Plans the peers that have changed, and those that have another rival by that. Returns the names of all whose plan is another one. */
function movePeers(
  maps: {
    peers: Map<string, PeerPlan>
    claims: Map<string, string | readonly string[]>
    users: Map<string, number>
  },
  node: LocalNode,
  gone: readonly ClusterNode[],
  come: readonly ClusterNode[],
): Set<string> {
  const { peers, claims, users } = maps
  const isPeer = ({ name }: ClusterNode) => name !== node.name
  /** What each is to be, and claims; undefined: gone. */
  const next = new Map<string, Pick<PeerPlan, 'peer' | 'claims'> | undefined>()
  for (const { name } of gone.filter(isPeer)) next.set(name, undefined)
  for (const peer of come.filter(isPeer)) next.set(peer.name, { peer, claims: claimsOf(peer) })
  for (const [name, one] of [...next]) {
    const concerned = moveClaims(claims, name, peers.get(name)?.claims ?? [], one?.claims ?? [])
    for (const other of concerned) if (!next.has(other)) next.set(other, peers.get(other))
  }
  const changed = new Set<string>()
  for (const [name, one] of next) {
    const old = peers.get(name)
    const rivals = rivalsOf(name, one?.claims ?? [], claims)
    if (one && one === old && rivals.every((rival, i) => rival === old.rivals[i])) continue
    const plan = one && planPeer(one.peer, node, one.claims, rivals)
    if (plan) peers.set(name, plan)
    else peers.delete(name)
    moveUsers(users, old?.links ?? [], plan?.links ?? [])
    changed.add(name)
  }
  return changed
}

function moveUsers(users: Map<string, number>, before: readonly string[], after: readonly string[]): void {
  for (const link of before) {
    const left = (users.get(link) ?? 0) - 1
    if (left > 0) users.set(link, left)
    else users.delete(link)
  }
  for (const link of after) users.set(link, (users.get(link) ?? 0) + 1)
}

/** Returns the links that have users, and the guard that goes with them. */
function linksFor(
  before: OverlayPlan,
  guard: Guard,
  users: ReadonlyMap<string, number>,
): Pick<OverlayPlan, 'links' | 'guard'> {
  const { node } = before
  const backend = BACKENDS[node.config.backend]
  const isSame = users.size === before.users.size && [...users.keys()].every((link) => before.users.has(link))
  if (isSame) return { links: before.links, guard }
  const links = [...users.keys()].sort().flatMap((name) => backend.link(name, node))
  return { links, guard: { ...guard, rules: (users.size > 0 && backend.guard?.(node)) || {} } }
}

/** Problems are in the order of names. Most plans have none. */
function withProblems(plan: OverlayPlan, before: OverlayPlan, changed: ReadonlySet<string>): OverlayPlan {
  const kept = before.problems.filter(({ node }) => !changed.has(node))
  const added = [...changed].flatMap((name) => plan.peers.get(name)?.problems ?? [])
  if (added.length + before.problems.length === 0) return plan
  return {
    ...plan,
    problems: [...kept, ...added].sort((a, b) => (a.node < b.node ? -1 : a.node > b.node ? 1 : 0)),
  }
}

/** Returns all objects of a plan in the order of creation: links, then what packets to peers need, then the routes that send them there. */
export function desiredOf({ links, peers }: OverlayPlan): Desired[] {
  const all = [...peers.values()]
  return [...links, ...all.flatMap(({ entries }) => entries), ...all.flatMap(({ routes }) => routes)]
}

/** Returns all sets that follow the cluster: those of the guard only where it has rules. */
export function setsOf({ sets, guard }: OverlayPlan): readonly DesiredPrefixSet[] {
  return isGuarded(guard) ? [...sets, ...guard.sets] : sets
}

/** Returns what differs from one plan to the next, peer by peer. */
export function transitionsBetween(before: OverlayPlan, { plan, changed }: PlanStep): Transition[] {
  return [...changed].map((name) => ({
    before: objectsOf(before.peers.get(name)),
    after: objectsOf(plan.peers.get(name)),
  }))
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
