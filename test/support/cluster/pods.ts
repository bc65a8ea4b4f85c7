import { basename } from 'node:path'
import { expect } from 'vitest'
import { NOTHING, residue } from '../node/sandbox.ts'
import { IMAGE, webServerCommand } from '../runtimes/image.ts'
import type { KubeObject, KubePod } from './api.ts'
import type { Cluster } from './cluster.ts'
import type { ClusterNode } from './node.ts'

/** Where web servers listen. */
export const PORT = 8080

/** A pod, or the template of pods: a web server, which the kubelet asks for /healthz before it counts as ready. */
export function webPodSpec({
  hostPort,
  nodeName,
  listenAt,
}: {
  hostPort?: number
  nodeName?: string
  listenAt?: string
} = {}) {
  const port = { containerPort: PORT, ...(hostPort !== undefined && { hostPort }) }
  const serve = `echo ok >/www/healthz; exec ${webServerCommand(PORT, listenAt).join(' ')}`
  return {
    ...(nodeName && { nodeName }),
    terminationGracePeriodSeconds: 1,
    containers: [
      {
        name: 'web',
        image: IMAGE,
        command: ['/bin/sh', '-c', serve],
        ports: [port],
        readinessProbe: { httpGet: { path: '/healthz', port: PORT }, periodSeconds: 1, failureThreshold: 1 },
      },
    ],
  }
}

/** A Deployment or DaemonSet of web servers with the label app=NAME. */
export function workload(kind: 'Deployment' | 'DaemonSet', name: string, spec: object = {}): KubeObject {
  const labels = { app: name }
  const template = { metadata: { labels }, spec: webPodSpec() }
  return {
    apiVersion: 'apps/v1',
    kind,
    metadata: { name },
    spec: { selector: { matchLabels: labels }, template, ...spec },
  }
}

/** A web server on a node, without any scheduler. */
export function webPod(name: string, { name: nodeName }: ClusterNode, hostPort?: number): KubeObject {
  const spec = webPodSpec({ nodeName, ...(hostPort !== undefined && { hostPort }) })
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, labels: { app: name } }, spec }
}

/** Waits for as many ready pods with the label app=NAME, and no other pods with it; sorted by name. */
export function readyPods(
  { api }: Cluster,
  app: string,
  count: number,
  timeoutMs?: number,
): Promise<KubePod[]> {
  const check = async () => {
    const pods = await api.list<KubePod>('Pod', `app=${app}`)
    const ready = pods.filter(isReady)
    if (ready.length === count && pods.length === count) return pods
    throw new Error(
      pods.map(({ metadata, status }) => `${metadata.name}: ${JSON.stringify(status)}`).join('\n'),
    )
  }
  return api.until(`${count} pods of ${app} are ready`, check, timeoutMs)
}

/** Creates a pod and waits until it is ready. */
export async function runPod(cluster: Cluster, manifest: KubeObject): Promise<KubePod> {
  await cluster.api.apply(manifest)
  const [pod] = await readyPods(cluster, manifest.metadata.name, 1)
  return pod as KubePod
}

/** Removes a pod or the owner of pods with the label app=NAME, and waits until the pods are gone. */
export async function removeAll({ api }: Cluster, manifest: KubeObject): Promise<void> {
  await api.remove(manifest)
  const check = async () => (await api.list('Pod', `app=${manifest.metadata.name}`)).length === 0
  await api.until(`the pods of ${manifest.metadata.name} are gone`, check)
}

/** Returns the address that a pod's web server sees when another pod asks it. */
export async function addressSeenBy(server: KubePod, client: KubePod, node: ClusterNode): Promise<string> {
  const url = `http://${server.status.podIP}:${PORT}/cgi-bin/peer`
  return seenBy(await node.execInPod(client, 'curl', '-sf', '-m', '5', url))
}

/** Returns the address in the answer of /cgi-bin/peer. A socket of both families has IPv4 in the form of IPv6. */
export function seenBy(answer: string): string {
  return answer.replace(/^\[?(?:::ffff:)?([^\]]*)\]?$/, '$1')
}

/** Waits until the node has links, leases and records for its running pods, and for no others. */
export async function expectNoResidue({ api }: Cluster, node: ClusterNode): Promise<void> {
  await api.until(`${node.name} has no residue`, async () => {
    const pods = (await api.list<KubePod>('Pod')).filter(
      ({ spec }) => spec.nodeName === node.name && !('hostNetwork' in spec),
    )
    const { links, leases, records, nftElements } = await residue(node)
    expect(leases.map((path) => basename(path)).toSorted()).toEqual(
      pods.map(({ status }) => status.podIP).toSorted(),
    )
    expect({ links: links.length, records: records.length }).toEqual({
      links: pods.length,
      records: pods.length,
    })
    if (pods.length === 0) expect(nftElements).toEqual(NOTHING.nftElements)
    return true
  })
}

export function isReady({ status, metadata }: KubePod): boolean {
  const ready = status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')
  return ready === true && metadata.deletionTimestamp === undefined
}
