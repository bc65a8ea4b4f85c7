import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { importAgentImage } from '../support/cluster/agent_image.ts'
import type { KubePod } from '../support/cluster/api.ts'
import { type Cluster, startCluster } from '../support/cluster/cluster.ts'
import { CONTROL_PLANE, CONTROL_PLANE_6 } from '../support/cluster/control_plane.ts'
import type { ClusterNode } from '../support/cluster/node.ts'
import { addressSeenBy, readyPods, webPodSpec, workload } from '../support/cluster/pods.ts'
import { run } from '../support/node/private_namespaces.ts'

/*
 * The network between three nodes with addresses of both families, from conf/bowline.yaml as it is: each node has one pod, and an outside
 * host, the test itself, has no route to any pod.
 */
const MANIFEST = readFileSync(new URL('../../conf/bowline.yaml', import.meta.url), 'utf8')
const PODS = workload('DaemonSet', 'web', {
  template: {
    metadata: { labels: { app: 'web' } },
    spec: { ...webPodSpec({ listenAt: '[::]' }), tolerations: [{ operator: 'Exists' }] },
  },
})
const OVERLAY =
  'ip route show proto 98; ip -6 route show proto 98; bridge fdb show dev bowline-vxlan 2>/dev/null; true'

let cluster: Cluster
let work: string
let pods: KubePod[]

beforeAll(async () => {
  work = mkdtempSync(join(tmpdir(), 'images-'))
  cluster = await startCluster(['current', 'current', 'current'], { isDualStack: true })
  // The routes by which the kit reaches pods would hide a pod's packet that was not masqueraded.
  run("ip route show | grep '^10.244' | while read route; do ip route del $route; done")
  await importAgentImage(cluster, work)
  await cluster.api.apply(MANIFEST)
  await Promise.all(cluster.nodes.map((node) => cluster.untilReady(node)))
  await cluster.api.apply(PODS)
  pods = await readyPods(cluster, 'web', 3)
})

afterAll(async () => {
  await cluster?.stop()
  rmSync(work, { recursive: true })
})

const nodeOf = (pod: KubePod): ClusterNode => {
  const found = cluster.nodes.find(({ name }) => name === pod.spec.nodeName)
  if (!found) throw new Error(`pod ${pod.metadata.name} is on no node`)
  return found
}
const addressesOf = ({ status }: KubePod): string[] => (status.podIPs ?? []).map(({ ip = '' }) => ip)
const podOn = (n: number): KubePod => pods.find((pod) => nodeOf(pod) === cluster.nodes[n]) as KubePod

/** Each pod asks each other one by both families, and is seen with its own address. */
async function expectMesh(): Promise<void> {
  for (const client of pods) {
    for (const server of pods.filter((one) => one !== client)) {
      for (const [family, address] of addressesOf(server).entries()) {
        const seen = await addressSeenBy(server, client, nodeOf(client), address)
        expect(seen).toBe(addressesOf(client)[family])
      }
    }
  }
}

async function agents(): Promise<KubePod[]> {
  return await cluster.api.until('an agent is ready on each node', async () => {
    const all = await cluster.api.list<KubePod>('Pod', 'k8s-app=bowline')
    const ready = all.filter(({ status, metadata }) => {
      const isReady = status.conditions?.some((one) => one.type === 'Ready' && one.status === 'True')
      return isReady && !metadata.deletionTimestamp
    })
    return ready.length === cluster.nodes.length && all.length === ready.length && ready
  })
}

const overlayOf = (node: ClusterNode): Promise<string> => node.exec('sh', '-c', OVERLAY)

/** Sends packets from one pod to each destination until `work` is done; returns how many of them had no answer. */
async function lostDuring(
  client: KubePod,
  destinations: readonly string[],
  work: () => Promise<void>,
): Promise<number[]> {
  const node = nodeOf(client)
  const logs = destinations.map((_, i) => `/run/ping-${i}`)
  const pid = await node.pidOf(client, 'container')
  const ping = (to: string, i: number) =>
    `(nsenter --net --target ${pid} ping -n -i 0.02 -W 1 ${to} >${logs[i]} 2>&1 & echo $! >${logs[i]}.pid)`
  await node.exec('sh', '-c', destinations.map(ping).join('; '))
  await work()
  await node.exec('sh', '-c', logs.map((log) => `kill -INT $(cat ${log}.pid)`).join('; '))
  return await Promise.all(
    logs.map(async (log) => {
      const text = await cluster.api.until('the summary', async () => {
        const found = await node.exec('cat', log)
        return found.includes('received') && found
      })
      const [, sent, received] = /(\d+) packets transmitted, (\d+) received/.exec(text) ?? []
      expect(Number(sent)).toBeGreaterThan(50)
      return Number(sent) - Number(received)
    }),
  )
}

describe('pods of three nodes', () => {
  it.each(['vxlan', 'direct', 'host-gw', 'vxlan'])(
    'reach each other by both families with their own addresses: %s',
    async (backend) => {
      await cluster.api.apply(MANIFEST.replace('"backend": "vxlan"', `"backend": "${backend}"`))
      await cluster.api.until(`every node has the backend ${backend}`, async () => {
        const views = await Promise.all(
          cluster.nodes.map((node) => node.exec('curl', '-sf', 'http://127.0.0.1:19474/mesh')),
        )
        return views.every((text) => JSON.parse(text).backend === backend)
      })
      for (const node of cluster.nodes)
        expect((await overlayOf(node)).includes('dev bowline-vxlan')).toBe(backend === 'vxlan')
      await expectMesh()
    },
  )

  it('reach the outside with the address of their node, and the other nodes themselves', async () => {
    const [client, node] = [podOn(0), cluster.nodes[1] as ClusterNode]
    for (const address of [CONTROL_PLANE, CONTROL_PLANE_6, node.address, node.address6]) {
      await nodeOf(client).execInPod(client, 'ping', '-c', '1', '-W', '2', address)
    }
  })
})

describe('a steady stream of packets', () => {
  it('loses none while the agent is killed and upgraded, and while the API server is away', async () => {
    const [client, server] = [podOn(0), podOn(1)]
    const node = nodeOf(client)
    const lost = await lostDuring(
      client,
      [...addressesOf(server), CONTROL_PLANE, CONTROL_PLANE_6],
      async () => {
        const agent = (await agents()).find(({ spec }) => spec.nodeName === node.name) as KubePod
        await node.exec('kill', '-9', await node.pidOf(agent, 'container'))
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
        run("nft 'add table inet away; add chain inet away input { type filter hook input priority 0; }'")
        run('nft add rule inet away input iifname nodes tcp dport 443 drop')
        const cut = (await agents()).find(({ spec }) => spec.nodeName === node.name) as KubePod
        await node.exec('kill', '-9', await node.pidOf(cut, 'container'))
        await cluster.api.until('an agent that knows the last cluster', async () =>
          (await node.exec('curl', '-sf', 'http://127.0.0.1:19474/metrics')).includes(
            'bowline_agent_overlay_routes 4',
          ),
        )
        run('nft delete table inet away')
      },
    )
    expect(lost).toEqual([0, 0, 0, 0])
  })
})

describe('a node', () => {
  it('that leaves is forgotten, and joins again when it comes back', async () => {
    const [near, gone] = [cluster.nodes[0], cluster.nodes[2] as ClusterNode]
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
    await cluster.api.until('all pods reach each other', async () => {
      pods = await readyPods(cluster, 'web', 3)
      await expectMesh()
      return true
    })
  })
})
