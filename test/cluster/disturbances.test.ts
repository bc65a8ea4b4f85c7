import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { KubePod } from '../support/cluster/api.ts'
import { installBowline } from '../support/cluster/bowline.ts'
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
 * Two nodes, each with another containerd and a pod of the DaemonSet, which outlives what is done to the node:
 * `current` is 2.x, which speaks CNI 1.1.0; `distribution` is Debian's 1.6, which speaks 1.0.0.
 */
const RUNTIMES = ['current', 'distribution'] as const

let cluster: Cluster

beforeAll(async () => {
  cluster = await startCluster(RUNTIMES)
  await Promise.all(cluster.nodes.map((node) => installBowline(cluster, node)))
  await cluster.api.apply(workload('DaemonSet', 'web'))
  await readyPods(cluster, 'web', 2)
})

afterAll(() => cluster?.stop())

describe.each([
  { index: 0, runtime: 'current', cniVersion: '1.1.0' },
  { index: 1, runtime: 'distribution', cniVersion: '1.0.0' },
])('containerd ($runtime)', ({ index, cniVersion }) => {
  let node: ClusterNode

  beforeAll(() => {
    node = cluster.nodes[index] as ClusterNode
  })

  it(`speaks CNI ${cniVersion}`, () => {
    const results = join(node.root, 'var/lib/cni/results')
    const ours = readdirSync(results).filter((name) => name.endsWith('-eth0'))
    expect(ours).toHaveLength(1)
    const { result } = JSON.parse(readFileSync(join(results, `${ours}`), 'utf8'))
    expect(result.cniVersion).toBe(cniVersion)
  })

  it('lets its pod reach the pod of the other node, which sees the address of the node', async () => {
    const pods = await readyPods(cluster, 'web', 2)
    const own = pods.find(({ spec }) => spec.nodeName === node.name) as KubePod
    const other = pods.find(({ spec }) => spec.nodeName !== node.name) as KubePod
    expect(await addressSeenBy(other, own, node)).toBe(node.address)
  })

  it.each(['containerd', 'kubelet'] as const)(
    'keeps its pod while %s is restarted, and killed',
    async (service) => {
      const before = await podOf(node)
      for (const signal of ['TERM', 'KILL'] as const) {
        await node.restart(service, signal)
        await cluster.untilReady(node)
      }
      await expectUsable(node)
      const { metadata, status } = await podOf(node)
      expect(metadata.uid).toBe(before.metadata.uid)
      expect(status.podIP).toBe(before.status.podIP)
      expect(status.containerStatuses?.[0]?.restartCount).toBe(0)
    },
  )

  it('gives a pod another sandbox when the pause process was killed', async () => {
    const before = await podOf(node)
    await node.exec('kill', '-KILL', await node.pidOf(before, 'sandbox'))
    await cluster.api.until('the pod has been started again', async () => {
      const { status } = await podOf(node)
      return status.containerStatuses?.[0]?.restartCount === 1
    })
    await expectUsable(node)
    expect((await podOf(node)).metadata.uid).toBe(before.metadata.uid)
  })

  it('starts its pod again after a power cut', async () => {
    const { metadata, status } = await podOf(node)
    await node.cutPower()
    await node.boot()
    await cluster.api.until('the pod has been started again', async () => {
      const { status: now } = await podOf(node)
      return (
        (now.containerStatuses?.[0]?.restartCount ?? 0) > (status.containerStatuses?.[0]?.restartCount ?? 0)
      )
    })
    await expectUsable(node)
    expect((await podOf(node)).metadata.uid).toBe(metadata.uid)
  })
})

async function podOf({ name }: ClusterNode): Promise<KubePod> {
  const pods = await readyPods(cluster, 'web', 2)
  return pods.find(({ spec }) => spec.nodeName === name) as KubePod
}

/** Another pod can be created, reaches the node's pod under its own address, and leaves nothing behind. */
async function expectUsable(node: ClusterNode): Promise<void> {
  const pod = await runPod(cluster, webPod('visitor', node))
  expect(await addressSeenBy(await podOf(node), pod, node)).toBe(pod.status.podIP)
  await removeAll(cluster, pod)
  await expectNoResidue(cluster, node)
}
