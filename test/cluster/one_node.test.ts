import { rmSync } from 'node:fs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { KubePod } from '../support/cluster/api.ts'
import { installBowline, OTHER_NETWORK, writeConflist } from '../support/cluster/bowline.ts'
import { type Cluster, startCluster } from '../support/cluster/cluster.ts'
import type { ClusterNode } from '../support/cluster/node.ts'
import {
  addressSeenBy,
  expectNoResidue,
  readyPods,
  removeAll,
  runPod,
  webPod,
  workload,
} from '../support/cluster/pods.ts'

/*
 * One node with the current containerd, which asks for STATUS. Each test begins and ends with the two pods of the
 * Deployment.
 */
const DEPLOYMENT = workload('Deployment', 'web', { replicas: 2 })

let cluster: Cluster
let node: ClusterNode

beforeAll(async () => {
  cluster = await startCluster(['current'])
  node = cluster.nodes[0]
})

afterAll(() => cluster?.stop())

async function twoPods(): Promise<[KubePod, KubePod]> {
  return (await readyPods(cluster, 'web', 2)) as [KubePod, KubePod]
}

it('makes the node ready, and runs the Deployment that was waiting for that', async () => {
  await cluster.untilReady(node, 'False')
  await cluster.api.apply(DEPLOYMENT)
  await installBowline(cluster, node)
  await cluster.untilReady(node)
  await twoPods()
  await expectNoResidue(cluster, node)
})

it('lets pods reach each other by HTTP, under their own addresses', async () => {
  const [a, b] = await twoPods()
  expect(await addressSeenBy(b, a, node)).toBe(a.status.podIP)
  expect(await addressSeenBy(a, b, node)).toBe(b.status.podIP)
})

it('lets the kubelet see that a pod is no longer ready', async () => {
  const pod = await runPod(cluster, webPod('probed', node))
  await node.exec('rm', `/proc/${await node.pidOf(pod, 'container')}/root/www/healthz`)
  await cluster.api.until('the pod is not ready', async () => {
    const found = await cluster.api.find<KubePod>('Pod', 'probed')
    return found?.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'False')
  })
  await removeAll(cluster, pod)
  await expectNoResidue(cluster, node)
})

it('makes the node not ready while an ADD would fail, and ready again', async () => {
  const [a, b] = await twoPods()
  await node.exec('mount', '--bind', '/var/lib/cni', '/var/lib/cni')
  await node.exec('mount', '-o', 'remount,bind,ro', '/var/lib/cni')
  const { status } = await cluster.untilReady(node, 'False')
  expect(status.conditions?.find(({ type }) => type === 'Ready')?.message).toContain('/var/lib/cni')
  expect(await addressSeenBy(b, a, node)).toBe(a.status.podIP)
  await node.exec('umount', '/var/lib/cni')
  await cluster.untilReady(node)
  expect(await twoPods()).toMatchObject([
    { metadata: { uid: a.metadata.uid } },
    { metadata: { uid: b.metadata.uid } },
  ])
})

it('publishes a host port by a plugin that is chained behind it', async () => {
  const portmap = { type: 'portmap', capabilities: { portMappings: true } }
  await installBowline(cluster, node, (conflist) => ({
    ...conflist,
    plugins: [...conflist.plugins, portmap],
  }))
  const pod = await runPod(cluster, webPod('published', node, 18080))
  const url = `http://${node.address}:18080/healthz`
  expect(await (await fetch(url)).text()).toBe('ok\n')
  await removeAll(cluster, pod)
  await expectNoResidue(cluster, node)
  await expect(fetch(url)).rejects.toThrow()
  await installBowline(cluster, node)
})

it('stays in use beside a conflist that sorts after its own', async () => {
  writeConflist(node, '20-other.conflist', OTHER_NETWORK)
  const pod = await runPod(cluster, webPod('beside', node))
  const [a] = await twoPods()
  expect(await addressSeenBy(a, pod, node)).toBe(pod.status.podIP)
  await removeAll(cluster, pod)
  await expectNoResidue(cluster, node)
  rmSync(`${node.root}/etc/cni/net.d/20-other.conflist`)
})

it('keeps its pods connected while another conflist sorts before its own, and takes over again', async () => {
  const [a, b] = await twoPods()
  writeConflist(node, '05-other.conflist', OTHER_NETWORK)
  const foreign = await cluster.api.until('a pod gets an address of the other network', async () => {
    const pod = await runPod(cluster, webPod('foreign', node))
    if (pod.status.podIP?.startsWith('10.99.')) return pod
    await removeAll(cluster, pod)
    return undefined
  })
  expect(await addressSeenBy(b, a, node)).toBe(a.status.podIP)
  await removeAll(cluster, foreign)
  rmSync(`${node.root}/etc/cni/net.d/05-other.conflist`)
  const pod = await runPod(cluster, webPod('again', node))
  expect(await addressSeenBy(a, pod, node)).toBe(pod.status.podIP)
  await removeAll(cluster, pod)
  await expectNoResidue(cluster, node)
})
