import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { IMAGE_NAME } from '../../scripts/image/name.ts'
import { importAgentImage } from '../support/cluster/agent_image.ts'
import type { KubeNode, KubeObject, KubePod } from '../support/cluster/api.ts'
import { OTHER_NETWORK, writeConflist } from '../support/cluster/bowline.ts'
import { type Cluster, startCluster } from '../support/cluster/cluster.ts'
import type { ClusterNode } from '../support/cluster/node.ts'
import {
  addressSeenBy,
  expectNoResidue,
  readyPods,
  removeAll,
  runPod,
  webPod,
  webPodSpec,
  workload,
} from '../support/cluster/pods.ts'
import { buildVersion } from '../support/node/other_version.ts'

/* conf/bowline.yaml, applied to nodes that have our image and no network yet: with the current containerd, and with one without STATUS. */
const ROOT = new URL('../..', import.meta.url).pathname
/* The agent looks for leftovers every second, also while pods come and go: it must find none that are in use. */
const MANIFEST = readFileSync(`${ROOT}conf/bowline.yaml`, 'utf8').replace(
  /# (- name: GC_INTERVAL_SECONDS\n *)# ( *value: )"600"/,
  '$1$2"1"',
)
const REMOVED = 'removed what pods have left'
const DEPLOYMENT = workload('Deployment', 'web', {
  replicas: 2,
  template: {
    metadata: { labels: { app: 'web' } },
    spec: { ...webPodSpec(), nodeSelector: { 'kubernetes.io/hostname': 'node1' } },
  },
})
const OTHER_VERSION = '9.9.9'
const OTHER_IMAGE = `localhost/bowline:${OTHER_VERSION}`
const CONFLIST = '/etc/cni/net.d/10-bowline.conflist'

let cluster: Cluster
let node: ClusterNode
let older: ClusterNode

beforeAll(async () => {
  cluster = await startCluster(['current', 'distribution'])
  ;[node, older] = cluster.nodes as [ClusterNode, ClusterNode]
  const work = mkdtempSync(join(tmpdir(), 'images-'))
  await importAgentImage(cluster, work)
  const other = { path: 'bowline', mode: 0o755, bytes: buildVersion(OTHER_VERSION, work) }
  await importAgentImage(cluster, work, OTHER_IMAGE, [other])
})

afterAll(() => cluster?.stop())

async function twoPods(): Promise<[KubePod, KubePod]> {
  return (await readyPods(cluster, 'web', 2)) as [KubePod, KubePod]
}

function readConflist(): { plugins: Record<string, unknown>[] } {
  return JSON.parse(readFileSync(node.root + CONFLIST, 'utf8')) as { plugins: Record<string, unknown>[] }
}

function versionOnNode(): Promise<string> {
  return node.exec('/opt/cni/bin/bowline', '--version')
}

type AgentPod = KubePod & { readonly spec: { readonly containers: readonly { readonly image: string }[] } }

/** Waits until each node has one agent, which is ready and has this image; returns that of the first node. */
function agentOf(image: string): Promise<KubePod> {
  return cluster.api.until(`the agents of ${image} are ready`, async () => {
    const pods = await cluster.api.list<AgentPod>('Pod', 'k8s-app=bowline')
    const ready = pods.filter(
      ({ status, spec }) =>
        spec.containers[0]?.image === image &&
        status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True'),
    )
    const all = ready.length === 2 && pods.length === 2
    return all && ready.find(({ spec }) => spec.nodeName === node.name)
  })
}

it('makes the nodes ready, and runs the Deployment that was waiting for that', async () => {
  await cluster.untilReady(node, 'False')
  await cluster.api.apply(DEPLOYMENT)
  await cluster.api.apply(MANIFEST)
  const { spec } = await cluster.untilReady(node)
  await Promise.all([twoPods(), cluster.untilReady(older)])
  expect(readConflist().plugins[0]).toMatchObject({ ipam: { ranges: [[{ subnet: spec.podCIDR }]] } })
  await cluster.api.until('the condition NetworkUnavailable is False', async () => {
    const { status } = (await cluster.api.find<KubeNode>('Node', node.name)) ?? {}
    const isOurs = ({ type, status, reason }: { type: string; status: string; reason?: string }) =>
      type === 'NetworkUnavailable' && status === 'False' && reason === 'BowlineIsUp'
    return status?.conditions?.some(isOurs)
  })
  await agentOf(IMAGE_NAME)
  await removeAll(cluster, await runPod(cluster, webPod('older', older)))
  for (const one of cluster.nodes) await expectNoResidue(cluster, one)
})

it('lets the agent have no more than its one capability, and answer on loopback alone', async () => {
  const pod = await agentOf(IMAGE_NAME)
  const pid = await node.pidOf(pod, 'container')
  expect(await node.exec('grep', 'CapEff', `/proc/${pid}/status`)).toMatch(/\t0000000000001000$/)
  expect(await node.exec('curl', '-sf', 'http://127.0.0.1:19474/readyz')).toBe('ready')
  await expect(fetch(`http://${node.address}:19474/metrics`)).rejects.toThrow()
  expect(await cluster.api.log(pod)).toContain('pods of this node get a network')
  expect(await node.exec('curl', '-sf', 'http://127.0.0.1:19474/metrics')).toMatch(
    /^bowline_agent_gc_runs_total\{result="done"\} \d/m,
  )
})

it('keeps what another tool has chained into the conflist, through a rolling upgrade and a downgrade under churn', async () => {
  const [a, b] = await twoPods()
  const list = readConflist()
  const tuning = { type: 'tuning', sysctl: { 'net.core.somaxconn': '500' } }
  writeFileSync(
    `${node.root}${CONFLIST}.new`,
    JSON.stringify({ ...list, plugins: [...list.plugins, tuning] }),
  )
  await node.exec('mv', `${CONFLIST}.new`, CONFLIST)
  const churn = startChurn()
  for (const [image, version] of [
    [OTHER_IMAGE, OTHER_VERSION],
    [IMAGE_NAME, IMAGE_NAME.split(':')[1]],
  ] as const) {
    await cluster.api.apply(MANIFEST.replace(IMAGE_NAME, image))
    await agentOf(image)
    expect(await versionOnNode()).toBe(`bowline ${version}`)
    await churn.pods(3)
  }
  await churn.stop()
  expect(readConflist().plugins.map(({ type }) => type)).toEqual(['bowline', 'tuning'])
  expect(await addressSeenBy(b, a, node)).toBe(a.status.podIP)
  await expectNoResidue(cluster, node)
})

it('frees what a pod has left whose DEL went to the network of a conflist that sorted first', async () => {
  const [a, b] = await twoPods()
  const pod = await runPod(cluster, webPod('stranded', node))
  const agent = await agentOf(IMAGE_NAME)
  expect(await cluster.api.log(agent)).not.toContain(REMOVED)
  writeConflist(node, '05-other.conflist', OTHER_NETWORK)
  const foreign = await cluster.api.until('a pod gets an address of the other network', async () => {
    const found = await runPod(cluster, webPod('foreign', node))
    if (found.status.podIP?.startsWith('10.99.')) return found
    await removeAll(cluster, found)
    return undefined
  })
  await removeAll(cluster, pod)
  await removeAll(cluster, foreign)
  rmSync(`${node.root}/etc/cni/net.d/05-other.conflist`)
  await expectNoResidue(cluster, node)
  const log = await cluster.api.log(agent)
  expect(log.split(REMOVED)).toHaveLength(2)
  expect(log).toContain(`${pod.status.podIP}`)
  expect(await addressSeenBy(b, a, node)).toBe(a.status.podIP)
})

it('leaves running pods connected, and starts others, when the manifest is deleted', async () => {
  const [a, b] = await twoPods()
  for (const manifest of objectsOf(MANIFEST)) await cluster.api.remove(manifest)
  await cluster.api.until(
    'the agent is gone',
    async () => (await cluster.api.list('Pod', 'k8s-app=bowline')).length === 0,
  )
  expect(await addressSeenBy(b, a, node)).toBe(a.status.podIP)
  const pod = await runPod(cluster, webPod('later', node))
  expect(await addressSeenBy(a, pod, node)).toBe(pod.status.podIP)
  await removeAll(cluster, pod)
  await expectNoResidue(cluster, node)
})

/** Creates and removes pods, one after the other, until it is told to stop; then fails if the kubelet has met any error with one. */
function startChurn(): { pods(count: number): Promise<void>; stop(): Promise<void> } {
  let made = 0
  let isOver = false
  const loop = (async () => {
    for (; !isOver; made++) await removeAll(cluster, await runPod(cluster, webPod(`churn-${made}`, node)))
  })()
  return {
    async pods(count) {
      const wanted = made + count
      await cluster.api.until(`${count} more pods have come and gone`, async () => made >= wanted)
    },
    async stop() {
      isOver = true
      await loop
      const { items } = await cluster.api.request<{ items: { reason: string; message: string }[] }>(
        'GET',
        '/api/v1/events',
      )
      expect(items.filter(({ reason }) => /FailedCreatePodSandBox|FailedKillPod/.test(reason))).toEqual([])
    },
  }
}

function objectsOf(manifest: string): KubeObject[] {
  return [Bun.YAML.parse(manifest)].flat() as KubeObject[]
}
