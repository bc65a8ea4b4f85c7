import { findingsOf } from '../../overlay/mesh/findings.ts'
import { Matrix } from '../../overlay/mesh/matrix.ts'
import { type NodeId, nodeIdOf } from '../../overlay/mesh/packet.ts'
import type { MeshFinding } from '../../overlay/mesh/view.ts'
import { waysTo } from '../../overlay/mesh/ways.ts'
import type { OverlayPlan } from '../../overlay/plan.ts'
import type { Warning } from '../log.ts'
import { Peer } from './peer.ts'

/** What this node knows of the mesh. */
export class MeshState {
  readonly ownName: string
  readonly ownId: NodeId
  /** By name, in the order of names. */
  readonly peers = new Map<string, Peer>()
  /** Of other nodes; the own row is in `peers`. */
  readonly matrix = new Matrix()
  /** The names of peers to which some way is silent. */
  readonly unreachable = new Set<string>()
  /** The names of peers with which anything is wrong. */
  readonly suspects = new Set<string>()
  /** The names of all nodes in their order. */
  ring: readonly string[] = []
  plan: OverlayPlan | undefined
  /** What the overlay itself complains of. */
  complaints: readonly Warning[] = []
  /** What keeps this node from measuring at all. */
  obstacle: Warning | undefined
  #offered: { readonly plan: OverlayPlan | undefined; readonly complaints: readonly Warning[] } | undefined
  readonly #byId = new Map<NodeId, Peer>()
  readonly #findings = new Map<string, readonly MeshFinding[]>()

  constructor(ownName: string) {
    this.ownName = ownName
    this.ownId = nodeIdOf(ownName)
  }

  /** Takes the plan in force, which may change many times before anybody needs it. */
  offer(plan: OverlayPlan | undefined, complaints: readonly Warning[]): void {
    this.#offered = { plan, complaints }
  }

  /** Makes the last plan that was offered the one in use. Returns it if it was not; without a plan the earlier one stays. */
  proceed(): OverlayPlan | undefined {
    const offered = this.#offered
    if (!offered) return undefined
    this.#offered = undefined
    const { plan, complaints } = offered
    this.complaints = complaints
    if (!plan) return undefined
    const before = this.plan
    this.plan = plan
    const isSame =
      before?.peers.size === plan.peers.size &&
      [...plan.peers].every(([name, { peer }]) => before.peers.get(name)?.peer === peer)
    if (!isSame) this.#setPeers(plan)
    return plan
  }

  peerWith(id: NodeId): Peer | undefined {
    return this.#byId.get(id)
  }

  /** Takes the ways to a peer from the plan, which may have changed since. */
  refresh(peer: Peer): void {
    if (this.plan) peer.setWays(waysTo(peer.node, this.plan))
  }

  /** Draws the conclusions from what has been measured of a peer. Returns its findings from before and now. */
  conclude(peer: Peer): { readonly before: readonly MeshFinding[]; readonly now: readonly MeshFinding[] } {
    const { name } = peer.node
    const before = this.#findings.get(name) ?? []
    const now = this.plan ? findingsOf(name, peer.measured(), this.plan.node, peer.offload) : []
    if (now.length > 0) this.#findings.set(name, now)
    else this.#findings.delete(name)
    for (const [names, isOne] of [
      [this.unreachable, peer.isUnreachable()],
      [this.suspects, peer.isSuspect()],
    ] as const) {
      if (isOne) names.add(name)
      else names.delete(name)
    }
    return { before, now }
  }

  /** Returns all that is wrong, the worst first. */
  findings(): MeshFinding[] {
    const own = [...(this.obstacle ? [this.obstacle] : []), ...this.complaints].map(
      ({ message, hint = 'See the log of the agent.', level }): MeshFinding => ({
        check: 'overlay',
        level: level ?? 'error',
        message,
        hint,
      }),
    )
    const all = [...own, ...[...this.#findings.values()].flat()]
    return [...all.filter(({ level }) => level === 'error'), ...all.filter(({ level }) => level !== 'error')]
  }

  #setPeers(plan: OverlayPlan): void {
    const before = new Map(this.peers)
    this.peers.clear()
    this.#byId.clear()
    for (const [name, { peer: node }] of plan.peers) {
      const peer = before.get(name) ?? new Peer(node)
      peer.node = node
      this.peers.set(name, peer)
      this.#byId.set(peer.id, peer)
    }
    for (const names of [this.unreachable, this.suspects, this.#findings]) {
      for (const name of names.keys()) if (!this.peers.has(name)) names.delete(name)
    }
    this.ring = [...this.peers.keys(), this.ownName].sort()
    this.matrix.setNodes([...this.#byId.keys(), this.ownId])
  }
}
