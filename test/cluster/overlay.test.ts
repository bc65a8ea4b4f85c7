import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { importAgentImage } from '../support/cluster/agent_image.ts'
import type { KubePod } from '../support/cluster/api.ts'
import { type Cluster, podCidrOf, startCluster } from '../support/cluster/cluster.ts'
import { CONTROL_PLANE, CONTROL_PLANE_6 } from '../support/cluster/control_plane.ts'
import type { ClusterNode } from '../support/cluster/node.ts'
import { isReady, webPodSpec, workload } from '../support/cluster/pods.ts'
import {
  addressesOf,
  createServices,
  expectMesh,
  expectMtu,
  expectServices,
  lostDuring,
  nodeOf,
  type PodsOfNodes,
  podsOfNodes,
} from '../support/cluster/traffic.ts'
import { AGENT } from '../support/node/agent.ts'
import { run } from '../support/node/private_namespaces.ts'

/*
 * The network between three nodes with addresses of both families, from conf/bowline.yaml as it is: each node has one pod and kube-proxy, and
 * an outside host, the test itself, has no route to any pod.
 */
const MANIFEST = readFileSync(new URL('../../conf/bowline.yaml', import.meta.url), 'utf8')
const PODS = workload('DaemonSet', 'web', {
  template: {
    metadata: { labels: { app: 'web' } },
    spec: { ...webPodSpec({ listenAt: '[::]' }), tolerations: [{ operator: 'Exists' }] },
  },
})
const OVERLAY = `ip route show proto 98; ip -6 route show proto 98
  for link in bowline-vxlan bowline-vxlan6; do bridge fdb show dev $link 2>/dev/null || true; done`
const BOWLINE = '/opt/cni/bin/bowline'

let cluster: Cluster
let work: string
let pods: PodsOfNodes

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'images-'))
  cluster = await startCluster(['current', 'current', 'current'], { isDualStack: true })
  // The routes by which the kit reaches pods would hide a pod's packet that was not masqueraded.
  run("ip route show | grep '^10.244' | while read route; do ip route del $route; done")
  await importAgentImage(cluster, work)
  await cluster.api.apply(MANIFEST)
  await Promise.all(cluster.nodes.map((node) => cluster.untilReady(node)))
  await Promise.all(cluster.nodes.map((node) => node.enable('kube-proxy')))
  await cluster.api.apply(PODS)
  pods = await podsOfNodes(cluster, 'web')
  await createServices(cluster, pods)
})

afterAll(async () => {
  await cluster?.stop()
  rmSync(work, { recursive: true })
})

const numbered = (n: number): ClusterNode => cluster.nodes[n] as ClusterNode

async function agents(): Promise<KubePod[]> {
  return await cluster.api.until('an agent is ready on each node', async () => {
    const all = await cluster.api.list<KubePod>('Pod', 'k8s-app=bowline')
    return all.length === cluster.nodes.length && all.every(isReady) && all
  })
}

async function agentOf(node: ClusterNode): Promise<KubePod> {
  return (await agents()).find(({ spec }) => spec.nodeName === node.name) as KubePod
}

const overlayOf = (node: ClusterNode): Promise<string> => node.exec('sh', '-c', OVERLAY)

/** Nothing of the nodes reaches the API server until `work` is done. */
async function withoutApiServer(work: () => Promise<void>): Promise<void> {
  run("nft 'add table inet away; add chain inet away input { type filter hook input priority 0; }'")
  run('nft add rule inet away input iifname nodes tcp dport 443 drop')
  try {
    await work()
  } finally {
    run('nft delete table inet away')
  }
}

async function untilMesh(): Promise<void> {
  await cluster.api.until('all pods reach each other', async () => {
    pods = await podsOfNodes(cluster, 'web')
    await expectMesh(cluster, pods)
    return true
  })
}

describe('pods of three nodes', () => {
  it.each(['vxlan', 'direct', 'host-gw', 'vxlan'])(
    'reach each other by both families with their own addresses, with whole packets, and by Services: %s',
    async (backend) => {
      // Probes of a second, or the test would wait for them.
      const config = `"backend": "${backend}", "probeIntervalMs": 1000`
      await cluster.api.apply(MANIFEST.replace('"backend": "vxlan"', config))
      await cluster.api.until(`every node has the backend ${backend}`, async () => {
        const views = await Promise.all(
          cluster.nodes.map((node) => node.exec('curl', '-sf', 'http://127.0.0.1:19474/mesh')),
        )
        return views.every((text) => JSON.parse(text).backend === backend)
      })
      for (const node of cluster.nodes)
        expect((await overlayOf(node)).includes('dev bowline-vxlan')).toBe(backend === 'vxlan')
      await expectMesh(cluster, pods)
      await expectMtu(cluster, pods, backend === 'vxlan' ? 1450 : 1500)
      await expectServices(cluster, pods)
    },
  )

  it('reach the outside with the address of their node, and the other nodes themselves', async () => {
    const [[client], node] = [pods, numbered(1)]
    for (const address of [CONTROL_PLANE, CONTROL_PLANE_6, node.address, node.address6]) {
      await nodeOf(cluster, client).execInPod(client, 'ping', '-c', '1', '-W', '2', address)
    }
  })
})

it('nodes and their ways are shown to people on a node, and in the container of the agent', async () => {
  for (const node of cluster.nodes) {
    await cluster.api.until('it has measured the others', async () => {
      const { matrix, findings } = JSON.parse(await node.exec(BOWLINE, 'nodes', '--json'))
      expect(findings).toEqual([])
      expect(matrix).toHaveLength(3 * 2 * 4)
      return matrix.every(({ state }: { state: string }) => state === 'ok')
    })
  }
  const agent = await agentOf(numbered(0))
  const screen = await cluster.api.exec(agent, '/bowline', 'nodes')
  expect(screen).not.toBe(stripVTControlCharacters(screen))
  const shown = stripVTControlCharacters(screen)
  expect(shown).toContain('node1: 3 nodes, backend vxlan, each measured every 2s')
  expect(shown).toMatch(/node3 +10\.89\.0\.13 +vxlan +[\d.]+ ms +0 % +1450 +\d+s +ok\n/)
  expect(shown).toMatch(/node2 +[\d.]+ +· +[\d.]+\n/)
  expect(shown).toContain('✓ nothing is wrong, as far as has been measured')
  const [url = ''] = (await cluster.api.exec(agent, '/bowline', 'nodes', '--web')).split('\n')
  expect(await numbered(0).exec('curl', '-sf', url)).toContain('<html')
  expect(await cluster.api.exec(agent, '/bowline', 'doctor')).toMatch(/(\d+) of \1 checks found nothing/)
  expect(await numbered(1).exec(BOWLINE, 'doctor')).toMatch(/(\d+) of \1 checks found nothing/)
})

describe('a steady stream of packets', () => {
  it('loses none while the agent is killed and upgraded, and while the API server is away and a node reboots', async () => {
    const [client, server] = pods
    const [node, other] = [numbered(0), numbered(2)]
    const destinations = [...addressesOf(server), CONTROL_PLANE, CONTROL_PLANE_6]
    const lost = await lostDuring(cluster, client, destinations, async () => {
      await node.exec('kill', '-9', await node.pidOf(await agentOf(node), 'container'))
      await agents()
      const upgraded = MANIFEST.replace(
        'env:\n',
        'env:\n            - name: LOG_LEVEL\n              value: debug\n',
      )
      expect(upgraded).not.toBe(MANIFEST)
      const before = new Set((await agents()).map(({ metadata }) => metadata.uid))
      await cluster.api.apply(upgraded)
      await cluster.api.until('all agents are new', async () =>
        (await agents()).every(({ metadata }) => !before.has(metadata.uid)),
      )
      const cut = await agentOf(node)
      await withoutApiServer(async () => {
        await node.exec('kill', '-9', await node.pidOf(cut, 'container'))
        await joinWithoutApiServer(other, client)
        await cluster.api.until('an agent that knows the last cluster', async () =>
          (await node.exec('curl', '-sf', 'http://127.0.0.1:19474/metrics')).includes(
            'bowline_agent_overlay_routes 4',
          ),
        )
      })
    })
    expect(lost).toEqual([0, 0, 0, 0])
    await untilMesh()
  })

  /** The kubelet knows no pods then. So the agent is started by hand, and a pod by what is on the disk of the node. */
  async function joinWithoutApiServer(node: ClusterNode, peer: KubePod): Promise<void> {
    await node.cutPower()
    await node.boot()
    expect(await overlayOf(node)).toBe('')
    const state = '/var/lib/cni/bowline-agent'
    const env = `NODE_NAME=${node.name} AGENT_STATE_DIR=${state} OVERLAY_CONFIG=${state}/overlay.json LOG_LEVEL=silent`
    const agent = node
      .exec('sh', '-c', `echo $$ >/run/agent.pid; ${env} exec ${AGENT}`)
      .catch(() => undefined)
    await cluster.api.until('it has the routes of the last known cluster', async () =>
      (await overlayOf(node)).includes(`dst ${numbered(0).address} `),
    )
    await node.exec('sh', '-c', `ip netns add early; ${BOWLINE} cni add bowline /run/netns/early`)
    for (const address of addressesOf(peer))
      await node.exec('ip', 'netns', 'exec', 'early', 'ping', '-c', '1', '-W', '2', address)
    await node.exec('sh', '-c', `${BOWLINE} cni del bowline /run/netns/early; ip netns del early`)
    await node.exec('sh', '-c', 'kill $(cat /run/agent.pid)')
    await agent
  }
})

describe('a node', () => {
  it('that leaves is forgotten, and joins again with other ranges and the same address when it comes back', async () => {
    const [near, gone] = [numbered(0), numbered(2)]
    const before = await podCidrOf(cluster.api, gone)
    await gone.cutPower()
    await cluster.api.request('DELETE', `/api/v1/nodes/${gone.name}`)
    await cluster.api.until(
      'node1 knows nothing of it',
      async () =>
        !(await overlayOf(near)).includes(gone.address) &&
        (await overlayOf(near)).split('\n').filter((line) => line.startsWith('10.244.')).length === 1,
    )
    // As a new machine: with the list of its former range pods would start before the agent does, with addresses of that.
    rmSync(`${gone.root}/etc/cni/net.d/10-bowline.conflist`)
    await gone.boot()
    await cluster.untilReady(gone)
    await untilMesh()
    expect(await podCidrOf(cluster.api, gone)).not.toBe(before)
    expect(await overlayOf(near)).not.toContain(before)
  })

  it('whose addresses become those of IPv6 alone carries pods of both families, and so it does with another one of IPv4', async () => {
    const moved = numbered(2)
    await moved.enable('kube-proxy')
    await Promise.all(cluster.nodes.map((node) => node.report([node.address6])))
    await untilOverlay((text) => text.includes('dev bowline-vxlan6') && !text.includes('dev bowline-vxlan '))
    await expectMesh(cluster, pods)
    await expectMtu(cluster, pods, 1430)
    const address = '10.89.0.99'
    await moved.exec(
      'sh',
      '-ec',
      `ip address del ${moved.address}/24 dev up0; ip address add ${address}/24 dev up0
      ip route add default via ${CONTROL_PLANE}`,
    )
    await Promise.all(
      cluster.nodes.map((node) => node.report([node === moved ? address : node.address, node.address6])),
    )
    await untilOverlay((text, node) => node === moved || text.includes(`dst ${address} `))
    await untilMesh()
    await expectMtu(cluster, pods, 1450)
  })

  async function untilOverlay(check: (text: string, node: ClusterNode) => boolean): Promise<void> {
    await cluster.api.until('the overlay is another one', async () => {
      const all = await Promise.all(cluster.nodes.map(async (node) => check(await overlayOf(node), node)))
      return all.every(Boolean)
    })
  }
})
