import { mkdtempSync } from 'node:fs'
import { createLinuxKernel } from '../../../src/kernel/linux/kernel.ts'
import { clusterNode } from '../../../src/overlay/cluster_file.ts'
import { readOverlayConfig } from '../../../src/overlay/config.ts'
import { planOverlay } from '../../../src/overlay/plan.ts'
import { compareOverlay, readUnderlay } from '../../../src/overlay/reconcile.ts'
import { hostPlace } from '../../../src/state/desired.ts'
import { authorityOf, createFakeApiServer } from '../../../test/fakes/api_server.ts'
import { run } from '../../../test/support/node/private_namespaces.ts'
import { createOutside } from '../../../test/support/node/sandbox.ts'
import { DAMAGE, KINDS } from '../../../test/support/overlay/damage.ts'
import { startAgent } from './agent_process.ts'
import { type Spread, spreadOf } from './spread.ts'
import { waited } from './waited.ts'

/* How long it takes until what somebody has damaged is whole again: the agent as it was built, on a node with two peers. */

/** Between two cases, and until what the agent has done is told to it. */
const PAUSE_MS = 100
const MAC = "mac() { bridge fdb show dev bowline-vxlan | grep 'dst 192.0.2.2 ' | cut -d' ' -f1; }"
const STALE_ELEMENT = 'nft add element inet bowline cluster4 { 10.244.9.0/24 }'
const HARMS = ['deleted', 'changed', 'duplicated'] as const

/** Tells for each kind of object how long after the end of the command it was whole again, over all kinds of damage and rounds. */
export async function measureHealing(
  rounds: number,
  tell: (kind: string, healedMs: Spread) => void,
): Promise<void> {
  createOutside()
  const nodes = [1, 2, 3].map((n) => ({
    name: `n${n}`,
    internalIps: [`192.0.2.${n}`, `2001:db8::${n}`],
    podCidrs: [`10.244.${n}.0/24`, `fd00:244:${n}::/64`],
  }))
  const server = createFakeApiServer()
  for (const { name, internalIps, podCidrs: podCIDRs } of nodes)
    server.setNode(name, { internalIps, podCIDRs })
  const { hostname: host, port } = new URL(server.url)
  const options = { ca: authorityOf('old'), token: 'first', config: '{"probeIntervalMs":0}' }
  const start = () => startAgent({ work: mkdtempSync('/run/agent-'), server: { host, port }, ...options })
  let agent = start()
  const isWhole = comparison(nodes)
  try {
    await waited(isWhole)
    for (const kind of KINDS) {
      const times: number[] = []
      for (const damage of HARMS.flatMap((harm) => DAMAGE[kind][harm])) {
        for (let round = 0; round < rounds; round++) {
          await Bun.sleep(PAUSE_MS)
          run(`${MAC}; { ${damage}; } 2>/dev/null || true`)
          times.push(await waited(isWhole))
        }
      }
      tell(kind, spreadOf(times))
    }
    const starts: number[] = []
    for (let round = 0; round < rounds; round++) {
      await agent.stop()
      // One of each kind: several routes to one destination would exclude each other.
      run([DAMAGE['IPv4 route'].stale[0], DAMAGE['IPv6 route'].stale[0], STALE_ELEMENT].flat().join('; '))
      agent = start()
      await waited(isWhole)
      starts.push(performance.now() - agent.startedMs)
    }
    tell('stale, from the start of the agent', spreadOf(starts))
  } finally {
    await agent.stop()
    await server.stop()
  }
}

function comparison(nodes: readonly Parameters<typeof clusterNode>[0][]): () => boolean {
  const kernel = createLinuxKernel()
  const netns = kernel.host()
  const place = hostPlace(netns)
  const cluster = nodes.map(clusterNode)
  const [own] = cluster
  if (!own) throw new Error('no nodes')
  const config = readOverlayConfig('{}')
  return () => {
    const plan = planOverlay(cluster, { ...own, place, config, underlay: readUnderlay(netns) })
    return compareOverlay(kernel, plan, 'whole').found.length === 0
  }
}
