import { sameAddress } from '../../core/address.ts'
import type { ClusterNode } from '../../overlay/cluster.ts'
import { encodeCell } from '../../overlay/mesh/cell.ts'
import type { OffloadVerdict } from '../../overlay/mesh/offload.ts'
import { type NodeId, nodeIdOf, type RowEntry, shortIdOf, WAYS } from '../../overlay/mesh/packet.ts'
import { newHealth, stateOf, type WayHealth } from '../../overlay/mesh/way_health.ts'
import type { Measured, Way } from '../../overlay/mesh/ways.ts'

/** Another node, and what this one has measured of it. */
export class Peer {
  node: ClusterNode
  readonly id: NodeId
  /** How often it has had a turn. */
  turns = 0
  /** What the last trial has shown; undefined if there was no need of one. */
  offload: OffloadVerdict | undefined
  #ways: readonly (Way | undefined)[] = []
  readonly #healths = new Map<number, WayHealth>()

  constructor(node: ClusterNode) {
    this.node = node
    this.id = nodeIdOf(node.name)
  }

  /** Takes the ways that packets have now. What was measured of another way says nothing of this one. */
  setWays(ways: readonly (Way | undefined)[]): void {
    for (const i of WAYS.keys()) {
      const [before, now] = [this.#ways[i], ways[i]]
      const isSame =
        before && now && sameAddress(before.destination, now.destination) && before.path === now.path
      if (!isSame) this.#healths.delete(i)
    }
    this.#ways = ways
  }

  /** Returns the ways that there are, each with what has been measured. */
  measured(): Measured[] {
    return this.#ways.flatMap((way, index) => (way ? [{ way, index, health: this.healthOf(index) }] : []))
  }

  healthOf(index: number): WayHealth {
    const health = this.#healths.get(index) ?? newHealth()
    this.#healths.set(index, health)
    return health
  }

  isSuspect(): boolean {
    return this.measured().some(({ health }) => !['ok', 'unmeasured'].includes(stateOf(health)))
  }

  /** Decides whether packets get lost on some way, or no agent answers. */
  isUnreachable(): boolean {
    return this.measured().some(({ health }) => ['silent', 'noAgent'].includes(stateOf(health)))
  }

  /** Returns this peer as an entry of the own row. */
  entry(): RowEntry {
    const cells = WAYS.map(() => encodeCell({ state: 'unmeasured', isTunnelled: false }))
    for (const { way, health, index } of this.measured()) {
      const { rttUs } = health
      cells[index] = encodeCell({ state: stateOf(health), isTunnelled: way.path !== 'direct', rttUs })
    }
    return { shortId: shortIdOf(this.id), cells }
  }
}
