import { type CellParts, encodeCell, type WayState } from '../../../src/overlay/mesh/cell.ts'
import { WAYS } from '../../../src/overlay/mesh/packet.ts'
import type { MeshFinding, MeshView } from '../../../src/overlay/mesh/view.ts'

/** Whatever is said of a pair of nodes, by their indexes; else all is well. */
export type Trouble = readonly [from: number, to: number, state: WayState]

/** A mesh of so many nodes, the same each time. Nodes of different racks are behind routers. */
export function meshOf(
  count: number,
  troubles: readonly Trouble[] = [],
  findings: readonly MeshFinding[] = [],
  nameOf = (i: number) => `node${i + 1}`,
): MeshView {
  const now = Date.now()
  const indexes = Array.from({ length: count }, (_, i) => i)
  const rackOf = (i: number) => Math.floor(i / 4)
  const partsOf = (from: number, to: number): CellParts => {
    const isTunnelled = rackOf(from) !== rackOf(to)
    const state = troubles.find(([a, b]) => a === from && b === to)?.[2] ?? 'ok'
    const rttUs = 180 + (isTunnelled ? 320 : 0) + ((from * 37 + to * 101) % 90)
    return { state, isTunnelled, ...(['ok', 'lossy', 'small'].includes(state) && { rttUs }) }
  }
  const cellsOf = (from: number, to: number) =>
    WAYS.map(({ network }) => {
      if (from === to) return 0
      const parts = partsOf(from, to)
      return encodeCell(network === 'pods' ? parts : { ...parts, state: 'ok', isTunnelled: false })
    })
  return {
    node: nameOf(0),
    version: '0.1.0',
    now,
    backend: 'direct',
    probePort: 19475,
    intervalMs: 5000,
    isWhole: true,
    size: count,
    nodes: indexes.map((i) => ({
      name: nameOf(i),
      addresses: [`192.0.2.${i + 1}`, `2001:db8::${i + 1}`],
      podCidrs: [`10.244.${i}.0/24`, `fd00:244:${i}::/64`],
      ageMs: i === 0 ? 0 : 4000 + 700 * (i % 9),
      unreachable: 0,
    })),
    rows: indexes.map((from) => indexes.flatMap((to) => cellsOf(from, to))),
    peers: indexes.slice(1).map((to) => ({
      name: nameOf(to),
      ways: WAYS.map(({ network, family }) => {
        const { state, isTunnelled, rttUs = 0 } = partsOf(0, to)
        const isSilent = network === 'pods' && state === 'silent'
        return {
          network,
          family,
          address: network === 'pods' ? `10.244.${to}.0` : `192.0.2.${to + 1}`,
          path: network === 'pods' && isTunnelled ? 'vxlan' : 'direct',
          state: network === 'pods' ? state : 'ok',
          rttMs: isSilent ? null : rttUs / 1000,
          loss: isSilent ? 1 : 0,
          lastSeen: isSilent ? null : now - 3000,
          mtu: network === 'pods' && isTunnelled ? 1450 : 1500,
        }
      }),
    })),
    findings,
  }
}
