import { expect } from 'vitest'
import { quote } from '../../../src/core/shell.ts'
import { run } from '../node/private_namespaces.ts'
import type { KubeObject, KubePod } from './api.ts'
import type { Cluster } from './cluster.ts'
import { CONTROL_PLANE, CONTROL_PLANE_6 } from './control_plane.ts'
import type { ClusterNode } from './node.ts'
import { PORT, readyPods, seenBy, webPodSpec } from './pods.ts'

/* What Kubernetes expects of the network of pods on several nodes, asked with other people's programs. */

/** One pod on each node, in the order of the nodes. */
export type PodsOfNodes = readonly [KubePod, KubePod, KubePod]

const FAMILIES = [4, 6] as const
type Family = (typeof FAMILIES)[number]
const NODE_PORT = 30080
const LOCAL_NODE_PORT = 30081

export function nodeOf({ nodes }: Cluster, { spec, metadata }: KubePod): ClusterNode {
  const found = nodes.find(({ name }) => name === spec.nodeName)
  if (!found) throw new Error(`pod ${metadata.name} is on no node`)
  return found
}

export function addressOf({ status }: KubePod, family: Family): string {
  const found = (status.podIPs ?? []).find(({ ip = '' }) => ip.includes(':') === (family === 6))
  return found?.ip ?? ''
}

export function addressesOf(pod: KubePod): string[] {
  return FAMILIES.map((family) => addressOf(pod, family))
}

/** Waits for a pod with the label app=NAME on each node. */
export async function podsOfNodes(cluster: Cluster, app: string): Promise<PodsOfNodes> {
  const pods = await readyPods(cluster, app, cluster.nodes.length)
  const sorted = cluster.nodes.map(({ name }) => pods.find(({ spec }) => spec.nodeName === name))
  return sorted as unknown as PodsOfNodes
}

/** Each pod asks each other one by both families, and is seen with its own address. */
export async function expectMesh(cluster: Cluster, pods: PodsOfNodes): Promise<void> {
  for (const family of FAMILIES) {
    for (const client of pods) {
      const others = pods.filter((one) => one !== client)
      const seen = await Promise.all(
        others.map((server) => ask(cluster, client, addressOf(server, family), PORT)),
      )
      expect(seen).toEqual(others.map(() => addressOf(client, family)))
    }
  }
}

/** Bytes of the headers of an echo request. */
const HEADERS = { 4: 28, 6: 48 } as const

/** Packets of this size pass whole between pods of two nodes, and the sender of a larger one is told how large they may be. */
export async function expectMtu(
  cluster: Cluster,
  [client, server]: readonly [KubePod, KubePod, ...unknown[]],
  mtu: number,
): Promise<void> {
  const inPod = (...words: [string, ...string[]]) => nodeOf(cluster, client).execInPod(client, ...words)
  for (const family of FAMILIES) {
    const ping = (size: number) =>
      inPod('ping', '-n', '-c1', '-W2', '-M', 'do', '-s', `${size}`, addressOf(server, family))
    // Else the pod would remember the way before this one for ten minutes.
    await inPod('ip', `-${family}`, 'route', 'flush', 'cache')
    const size = mtu - HEADERS[family]
    const told = await ping(size + 1).catch(({ stdout, stderr }) => `${stdout}${stderr}`)
    expect(told).toMatch(new RegExp(`mtu[ =:]+${mtu}\\b`))
    expect(await ping(size)).toContain(' 0% packet loss')
  }
}

/** Services of the second pod alone, and a server in the network of its node. */
export async function createServices(cluster: Cluster, [client, server]: PodsOfNodes): Promise<void> {
  const { api } = cluster
  const path = `/api/v1/namespaces/default/pods/${server.metadata.name}`
  await api.request('PATCH', path, { metadata: { labels: { only: 'one' } } }, 'application/merge-patch+json')
  await api.apply(service('one', NODE_PORT, 'Cluster'))
  await api.apply(service('local', LOCAL_NODE_PORT, 'Local'))
  const spec = {
    ...webPodSpec({ listenAt: '[::]', nodeName: nodeOf(cluster, server).name }),
    hostNetwork: true,
  }
  await api.apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'host', labels: { app: 'host' } },
    spec,
  })
  await readyPods(cluster, 'host', 1)
  await api.until('kube-proxy knows the Services on all nodes', async () => {
    const clusterIps = await clusterIpsOf(cluster)
    const askers = [client, ...cluster.nodes]
    return await Promise.all(askers.flatMap((asker) => clusterIps.map((ip) => ask(cluster, asker, ip, 80))))
  })
}

function service(name: string, nodePort: number, externalTrafficPolicy: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name },
    spec: {
      type: 'NodePort',
      externalTrafficPolicy,
      ipFamilyPolicy: 'RequireDualStack',
      selector: { only: 'one' },
      ports: [{ port: 80, targetPort: PORT, nodePort }],
    },
  }
}

async function clusterIpsOf({ api }: Cluster): Promise<string[]> {
  const found = await api.find<KubeObject & { spec: { clusterIPs: string[] } }>('Service', 'one')
  return found?.spec.clusterIPs ?? []
}

/**
 * Nodes, pods and what is in the network of a node reach each other, and the Services of `createServices` from everywhere. The last column
 * says as whom the server sees who asks: pods with their own address, but with that of a node where kube-proxy or we hide them.
 */
export async function expectServices(cluster: Cluster, [client, server, third]: PodsOfNodes): Promise<void> {
  const [one, two, three] = [client, server, third].map((pod) => nodeOf(cluster, pod)) as [
    ClusterNode,
    ClusterNode,
    ClusterNode,
  ]
  const clusterIps = await clusterIpsOf(cluster)
  for (const family of FAMILIES) {
    const clusterIp = clusterIps.find((ip) => ip.includes(':') === (family === 6)) ?? ''
    const [first = '', second = ''] = [one, two].map((node) => (family === 6 ? node.address6 : node.address))
    const rows: [what: string, asker: Asker, address: string, port: number, as: Asker][] = [
      ['a node asks a pod of another one', one, addressOf(server, family), PORT, one],
      ['a pod asks a server of another node', client, second, PORT, one],
      ['a pod asks a server of its own node', server, second, PORT, server],
      ['a pod asks a Service', client, clusterIp, 80, client],
      ['a third one does', third, clusterIp, 80, third],
      ['a pod asks itself by its Service', server, clusterIp, 80, two],
      ['a node asks a Service', one, clusterIp, 80, one],
      ['the outside asks a port of a node without the pod', undefined, first, NODE_PORT, one],
      ['a node asks a port of another one', three, first, NODE_PORT, one],
      ['a pod asks a port of another node', third, first, NODE_PORT, one],
      ['a pod asks a port of its own node', client, first, NODE_PORT, one],
      ['the outside asks the node of the pod', undefined, second, LOCAL_NODE_PORT, undefined],
    ]
    const answers = await Promise.all(
      rows.map(async ([what, asker, address, port, as]) => {
        const seen = await ask(cluster, asker, address, port).catch((error) => `no answer: ${error}`)
        const isRight = (await addressesSeenOf(as)).includes(seen)
        return isRight ? [] : [`${what}, by IPv${family}: ${seen}`]
      }),
    )
    expect(answers.flat()).toEqual([])
  }
}

/** A pod, a node or the host of the test. */
type Asker = KubePod | ClusterNode | undefined

/** Returns the address that a web server sees when it is asked from there. */
async function ask(cluster: Cluster, asker: Asker, address: string, port: number): Promise<string> {
  const host = address.includes(':') ? `[${address}]` : address
  const words = ['curl', '-sgf', '-m', '5', `http://${host}:${port}/cgi-bin/peer`] as const
  if (!asker) return seenBy(run(words.map(quote).join(' ')))
  if (isNode(asker)) return seenBy(await asker.exec(...words))
  return seenBy(await nodeOf(cluster, asker).execInPod(asker, ...words))
}

async function addressesSeenOf(asker: Asker): Promise<string[]> {
  if (!asker) return [CONTROL_PLANE, CONTROL_PLANE_6]
  if (!isNode(asker)) return addressesOf(asker)
  const all = await asker.exec('ip', '-o', 'address')
  return [...all.matchAll(/inet6? ([^/ ]+)/g)].map(([, address = '']) => address)
}

function isNode(asker: KubePod | ClusterNode): asker is ClusterNode {
  return 'netns' in asker
}

/** Sends packets from a pod to each destination until `work` is done; returns how many of each had no answer. */
export async function lostDuring(
  cluster: Cluster,
  client: KubePod,
  destinations: readonly string[],
  work: () => Promise<void>,
): Promise<number[]> {
  const node = nodeOf(cluster, client)
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
