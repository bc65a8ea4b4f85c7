import { formatAddress, formatCidr } from '../../core/address.ts'
import { VERSION } from '../../core/version.ts'
import type { ClusterNode } from '../../overlay/cluster.ts'
import type { Cell } from '../../overlay/mesh/cell.ts'
import { MATRIX_LIMIT } from '../../overlay/mesh/matrix.ts'
import { nodeIdOf, shortIdOf, WAYS } from '../../overlay/mesh/packet.ts'
import type {
  MeshFinding,
  MeshView,
  NodeSummary,
  NoMesh,
  PeerView,
  WayView,
} from '../../overlay/mesh/view.ts'
import { isTooSmall, lossOf, stateOf } from '../../overlay/mesh/way_health.ts'
import type { MeshState } from './mesh_state.ts'
import type { Peer } from './peer.ts'

/** What a page that is open is told. */
export type MeshChange =
  | { readonly kind: 'view'; readonly view: MeshView | NoMesh }
  | {
      readonly kind: 'row'
      /** The node that measures. */
      readonly node: NodeSummary
      readonly cells: readonly Cell[]
      /** With the own row: what has been measured, and all that is wrong now. */
      readonly peer?: PeerView
      readonly findings?: readonly MeshFinding[]
    }

/** A finding for each peer of a large cluster would be more than anybody reads. */
const MAX_FINDINGS = 100

/** Returns all that is known of the mesh. */
export function viewOf(state: MeshState, nowMs: number): MeshView | NoMesh {
  const { plan, ownName, peers } = state
  if (!plan) return { overlay: 'waiting', findings: state.findings().slice(0, MAX_FINDINGS) }
  for (const peer of peers.values()) state.refresh(peer)
  const shown = shownNodes(state)
  const { backend, probePort, probeIntervalMs: intervalMs } = plan.node.config
  return {
    node: ownName,
    version: VERSION,
    now: Date.now(),
    backend,
    probePort,
    intervalMs,
    isWhole: state.matrix.isWhole,
    size: peers.size + 1,
    nodes: shown.map((node) => summaryOf(node, state, nowMs)),
    rows: shown.map((node) => rowOf(node, shown, state)),
    peers: shown.flatMap(({ name }) => {
      const peer = peers.get(name)
      return peer ? [peerView(peer, nowMs)] : []
    }),
    findings: state.findings().slice(0, MAX_FINDINGS),
  }
}

/** Returns what has changed by the turn of a peer: the own row, and that of the peer. */
export function rowChange(state: MeshState, peer: Peer, nowMs: number): MeshChange[] {
  const own = state.plan?.node
  const shown = shownNodes(state)
  if (!own) return []
  return [
    {
      kind: 'row',
      node: summaryOf(own, state, nowMs),
      cells: rowOf(own, shown, state),
      peer: peerView(peer, nowMs),
      findings: state.findings().slice(0, MAX_FINDINGS),
    },
    { kind: 'row', node: summaryOf(peer.node, state, nowMs), cells: rowOf(peer.node, shown, state) },
  ]
}

/** Returns all nodes in the order of their names; of a large cluster this one, and those with which something is wrong. */
function shownNodes({ plan, peers, matrix, suspects }: MeshState): ClusterNode[] {
  const own = plan ? [plan.node] : []
  const others = [...peers.values()].filter((peer) => matrix.isWhole || suspects.has(peer.node.name))
  const nodes: ClusterNode[] = [...own, ...others.slice(0, MATRIX_LIMIT - 1).map(({ node }) => node)]
  return nodes.sort((a, b) => (a.name < b.name ? -1 : 1))
}

function summaryOf({ name, addresses, podCidrs }: ClusterNode, state: MeshState, nowMs: number): NodeSummary {
  const isOwn = name === state.ownName
  const row = isOwn ? undefined : state.matrix.row(nodeIdOf(name))
  return {
    name,
    addresses: addresses.map(formatAddress),
    podCidrs: podCidrs.map(formatCidr),
    ageMs: isOwn ? 0 : row ? Math.round(nowMs - row.heardMs) : null,
    unreachable: isOwn ? state.unreachable.size : (row?.unreachable ?? 0),
  }
}

function rowOf({ name }: ClusterNode, shown: readonly ClusterNode[], state: MeshState): Cell[] {
  const none = WAYS.map(() => 0)
  if (name === state.ownName)
    return shown.flatMap(({ name: to }) => state.peers.get(to)?.entry().cells ?? none)
  const row = state.matrix.row(nodeIdOf(name))
  if (!row) return []
  return shown.flatMap(({ name: to }) => row.cells.get(shortIdOf(nodeIdOf(to))) ?? none)
}

function peerView(peer: Peer, nowMs: number): PeerView {
  const toUnix = Date.now() - nowMs
  const ways = peer.measured().map(({ way, health, index }): WayView => {
    const { network, family } = WAYS[index] ?? WAYS[0]
    const { rttUs, lastSeenMs, size } = health
    return {
      network,
      family,
      address: formatAddress(way.destination),
      path: way.path,
      state: stateOf(health),
      rttMs: rttUs === undefined ? null : Math.round(rttUs) / 1000,
      loss: Math.round(lossOf(health) * 1000) / 1000,
      lastSeen: lastSeenMs === undefined ? null : Math.round(toUnix + lastSeenMs),
      mtu: way.mtu,
      ...(isTooSmall(size) && { carries: size.passes }),
    }
  })
  return { name: peer.node.name, ways }
}
