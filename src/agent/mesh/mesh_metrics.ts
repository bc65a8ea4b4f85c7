import { MATRIX_LIMIT } from '../../overlay/mesh/matrix.ts'
import { WAYS } from '../../overlay/mesh/packet.ts'
import { isTooSmall, lossOf, stateOf } from '../../overlay/mesh/way_health.ts'
import type { Measured } from '../../overlay/mesh/ways.ts'
import type { Metrics, Sample } from '../metrics.ts'
import type { MeshState } from './mesh_state.ts'
import type { Peer } from './peer.ts'

/** A label for each peer is a time series for each peer, on every node: so many at most, those first with which something is wrong. */
const MAX_PEERS = MATRIX_LIMIT

/** Lets the metrics show the mesh as it is when somebody asks: nothing is counted in between. */
export function observeMesh(metrics: Metrics, state: MeshState): void {
  metrics.observe('bowline_mesh_peers', () => {
    const all = [...state.peers.values()]
    const suspect = state.suspects.size
    const unmeasured = all.filter(({ turns }) => turns === 0).length
    const ok = all.length - suspect - unmeasured
    return Object.entries({ ok, suspect, unmeasured }).map(([name, count]) => [{ state: name }, count])
  })
  const observe = (name: Parameters<Metrics['observe']>[0], read: (one: Measured) => number | undefined) =>
    metrics.observe(name, () => shownPeers(state).flatMap((peer) => samples(peer, read)))
  observe('bowline_mesh_peer_reachable', ({ health }) => {
    const wayState = stateOf(health)
    return wayState === 'unmeasured' ? undefined : Number(!['silent', 'noAgent'].includes(wayState))
  })
  observe('bowline_mesh_peer_rtt_seconds', ({ health: { rttUs } }) => rttUs && Math.round(rttUs) / 1e6)
  observe('bowline_mesh_peer_loss_ratio', ({ health }) => (health.known > 0 ? lossOf(health) : undefined))
  observe('bowline_mesh_peer_mtu_bytes', ({ way: { mtu }, health: { size } }) =>
    isTooSmall(size) ? size.passes : size.passes >= mtu ? mtu : undefined,
  )
}

/** Counts a packet that has come in. */
export function countPacket(metrics: Metrics, result: 'answer' | 'answered' | 'ignored'): void {
  metrics.count('bowline_mesh_packets_total', { result })
}

function shownPeers({ peers, suspects }: MeshState): Peer[] {
  const all = [...peers.values()].filter(({ turns }) => turns > 0)
  if (all.length <= MAX_PEERS) return all
  const isSuspect = ({ node }: Peer) => suspects.has(node.name)
  return [...all.filter(isSuspect), ...all.filter((peer) => !isSuspect(peer))].slice(0, MAX_PEERS)
}

function samples(peer: Peer, read: (one: Measured) => number | undefined): Sample[] {
  return peer.measured().flatMap((one): Sample[] => {
    const value = read(one)
    if (value === undefined) return []
    const { network, family } = WAYS[one.index] ?? WAYS[0]
    return [[{ peer: peer.node.name, network, family: String(family), path: one.way.path }, value]]
  })
}
