import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { KubeObject, KubePod } from '../support/cluster/api.ts'
import { installBowline } from '../support/cluster/bowline.ts'
import { type Cluster, startCluster } from '../support/cluster/cluster.ts'
import type { ClusterNode } from '../support/cluster/node.ts'
import { expectNoResidue, removeAll, runPod, webPod } from '../support/cluster/pods.ts'
import { ask, askCommand, type Question, serverCommand } from '../support/node/exchange.ts'

/*
 * What pods ask of their node, in the words of Kubernetes and of both containerds. The pods are connected by the shipped conflist and have
 * no other plugin.
 */
let cluster: Cluster
let node: ClusterNode
let other: ClusterNode

beforeAll(async () => {
  cluster = await startCluster(['current', 'distribution'])
  const [first, second] = cluster.nodes as unknown as [ClusterNode, ClusterNode]
  node = first
  other = second
  await Promise.all(cluster.nodes.map((one) => installBowline(cluster, one)))
  await Promise.all(cluster.nodes.map((one) => cluster.untilReady(one)))
})

afterAll(() => cluster?.stop())

type HostPort = { readonly hostPort: number; readonly hostIP?: string; readonly protocol?: string }

/** A web server with these ports of its node, whose answers say the pod's name on port 8081 by every transport. */
async function runServer(name: string, on: ClusterNode, ...ports: HostPort[]): Promise<KubePod> {
  const pod = await runPod(cluster, publishing(name, on, ...ports))
  // It ends with the pod.
  void on.execInPod(pod, ...serverCommand(8081, name)).catch(() => undefined)
  await cluster.api.until(`${name} serves`, async () => {
    const question = { transport: 'tcp', address: '127.0.0.1', port: 8081 } as const
    return (await on.execInPod(pod, ...askCommand([question]))).includes(name)
  })
  return pod
}

function publishing(name: string, on: ClusterNode, ...ports: HostPort[]): KubeObject {
  const { spec, ...pod } = webPod(name, on) as KubeObject & { spec: { containers: object[] } }
  const published = ports.map((one) => ({ containerPort: 8081, ...one }))
  const [container] = spec.containers
  return { ...pod, spec: { ...spec, containers: [{ ...container, ports: published }] } } as KubeObject
}

const tcp = (address: string, port: number, more: Partial<Question> = {}): Question => ({
  transport: 'tcp',
  address,
  port,
  ...more,
})
const udp = (address: string, port: number, more: Partial<Question> = {}): Question => ({
  ...tcp(address, port, more),
  transport: 'udp',
})

/** As the node counts its processes. */
async function askFrom(on: ClusterNode, ...questions: Question[]): Promise<string[]> {
  return JSON.parse(await on.exec(...askCommand(questions))) as string[]
}

async function askFromPod(pod: KubePod, on: ClusterNode, ...questions: Question[]): Promise<string[]> {
  return JSON.parse(await on.execInPod(pod, ...askCommand(questions))) as string[]
}

it('host ports of the same number on other addresses and by another protocol do not conflict', async () => {
  // Kubernetes' own test, "HostPort validates that there is no conflict between pods with same hostPort but different hostIP and protocol".
  const port = { hostPort: 54323 }
  const pods = [
    await runServer('local', node, { ...port, hostIP: '127.0.0.1' }),
    await runServer('single', node, { ...port, hostIP: node.address }),
    await runServer('datagrams', node, { ...port, hostIP: node.address, protocol: 'UDP' }),
  ]
  const from = node.address
  const answers = await askFrom(
    node,
    tcp('127.0.0.1', 54323, { from }),
    tcp('127.0.0.1', 54323),
    tcp(node.address, 54323, { from }),
    udp(node.address, 54323, { from }),
  )
  expect(answers).toEqual([
    `local ${from}`,
    expect.stringMatching(/^local 10\.244\./),
    `single ${from}`,
    `datagrams ${from}`,
  ])
  for (const pod of pods) await removeAll(cluster, pod)
  await expectNoResidue(cluster, node)
})

it.each([
  ['current', () => node, () => other],
  ['distribution', () => other, () => node],
])('a host port is reached from everywhere, by the %s containerd', async (_, here, there) => {
  const published = { hostPort: 18080 }
  const server = await runServer(
    'web',
    here(),
    published,
    { ...published, protocol: 'UDP' },
    { ...published, protocol: 'SCTP' },
  )
  const [client, remote] = [await runServer('client', here()), await runServer('remote', there())]
  const address = here().address
  const all: Question[] = (['tcp', 'udp', 'sctp'] as const).map((transport) => ({
    transport,
    address,
    port: 18080,
  }))
  const each = (seen: string) => all.map(() => `web ${seen}`)
  expect(await ask(undefined, all)).toEqual(each('10.89.0.1'))
  expect(await askFrom(here(), ...all)).toEqual(each(address))
  expect(await askFrom(there(), ...all)).toEqual(each(there().address))
  expect(await askFromPod(client, here(), ...all)).toEqual(each(client.status.podIP ?? ''))
  expect(await askFromPod(server, here(), ...all)).toEqual(
    all.map(() => expect.stringMatching(/^web 10\.244\.\d+\.1$/)),
  )
  // The node of the other pod hides it behind its own address.
  expect(await askFromPod(remote, there(), ...all)).toEqual(each(there().address))
  for (const pod of [server, client, remote]) await removeAll(cluster, pod)
  for (const one of [node, other]) await expectNoResidue(cluster, one)
})

it('a client that goes on sending by UDP finds the pod that has the port now', async () => {
  const question = udp(node.address, 18053, { from: '10.89.0.1', fromPort: 5353 })
  for (const name of ['first', 'second']) {
    const pod = await runServer(name, node, { hostPort: 18053, protocol: 'UDP' })
    expect(await ask(undefined, [question])).toEqual([`${name} 10.89.0.1`])
    await removeAll(cluster, pod)
  }
  await expectNoResidue(cluster, node)
})

it('a port that a program of the node has is said in an event, and the pod starts when it is free', async () => {
  const server = node.exec(...serverCommand(18090, 'program')).catch(() => undefined)
  await cluster.api.until(
    'the program listens',
    async () => (await askFrom(node, tcp('127.0.0.1', 18090)))[0] !== 'refused',
  )
  const manifest = publishing('waiting', node, { hostPort: 18090 })
  await cluster.api.apply(manifest)
  await cluster.api.until('an event names the port', async () => {
    const events = await cluster.api.list<KubeObject & { message?: string }>('Event')
    return events.some(({ message = '' }) =>
      message.includes('host port 18090/tcp is held by a program of the node'),
    )
  })
  await node.exec(
    'sh',
    '-c',
    "kill -9 $(ss -Hltnp 'sport = :18090' | grep -o 'pid=[0-9]*' | head -n 1 | cut -d= -f2)",
  )
  await server
  const pod = await runPod(cluster, manifest)
  await removeAll(cluster, pod)
  await expectNoResidue(cluster, node)
})

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
