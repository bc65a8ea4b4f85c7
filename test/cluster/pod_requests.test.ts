import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { KubePod } from '../support/cluster/api.ts'
import { installBowline } from '../support/cluster/bowline.ts'
import { type Cluster, startCluster } from '../support/cluster/cluster.ts'
import type { ClusterNode } from '../support/cluster/node.ts'
import { expectNoResidue, removeAll, runPod, webPod } from '../support/cluster/pods.ts'

/* What pods ask of a node by their specification and their annotations, through the kubelet and containerd. */

let cluster: Cluster
let node: ClusterNode

beforeAll(async () => {
  cluster = await startCluster(['current'])
  node = cluster.nodes[0]
  await installBowline(cluster, node)
  await cluster.untilReady(node)
})

afterAll(() => cluster?.stop())

describe('a pod with bandwidth annotations', () => {
  const RATE = 8e6
  const SIZE = 2e6

  it('sends and receives no more than they say, though containerd sends a burst of half a gigabyte', async () => {
    const [limited, free] = [webPod('limited', node), webPod('free', node)]
    const rates = { 'kubernetes.io/ingress-bandwidth': '8M', 'kubernetes.io/egress-bandwidth': '8M' }
    const annotated = { ...limited, metadata: { ...limited.metadata, annotations: rates } }
    const [a, b] = [await runPod(cluster, annotated), await runPod(cluster, free)]
    for (const pod of [a, b]) await serveFile(pod)
    const url = (pod: KubePod) => `http://${pod.status.podIP}:8080/file`
    const curl = ['curl', '-sf', '-o', '/dev/null', '-w', '%{speed_download}'] as const
    const speeds = {
      sent: await node.exec(...curl, url(a)),
      received: await node.execInPod(a, ...curl, url(b)),
      free: await node.exec(...curl, url(b)),
    }
    for (const bytes of [speeds.sent, speeds.received]) {
      expect(Number(bytes) * 8, JSON.stringify(speeds)).toBeGreaterThan(0.5 * RATE)
      expect(Number(bytes) * 8, JSON.stringify(speeds)).toBeLessThan(1.3 * RATE)
    }
    expect(Number(speeds.free) * 8).toBeGreaterThan(2 * RATE)
    for (const pod of [annotated, free]) await removeAll(cluster, pod)
    await expectNoResidue(cluster, node)
    expect(await node.exec('ip', '-o', 'link', 'show', 'type', 'ifb')).toBe('')
  })

  async function serveFile(pod: KubePod): Promise<void> {
    const path = `/proc/${await node.pidOf(pod, 'container')}/root/www/file`
    await node.exec('dd', 'if=/dev/zero', `of=${path}`, `bs=${SIZE}`, 'count=1', 'status=none')
  }
})
