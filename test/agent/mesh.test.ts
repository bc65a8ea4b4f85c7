import { afterEach, describe, expect, it } from 'vitest'
import { type Mesh, type MeshPorts, startMesh } from '../../src/agent/mesh/mesh.ts'
import { createMetrics } from '../../src/agent/metrics.ts'
import { type Address, contains, formatAddress, sameAddress } from '../../src/core/address.ts'
import type { LocalNode } from '../../src/overlay/backend.ts'
import { clusterNode } from '../../src/overlay/cluster_file.ts'
import { readOverlayConfig } from '../../src/overlay/config.ts'
import { encodeRequest, nodeIdOf } from '../../src/overlay/mesh/packet.ts'
import type { MeshView } from '../../src/overlay/mesh/view.ts'
import { planOverlay } from '../../src/overlay/plan.ts'
import { createFakeKernel } from '../fakes/kernel.ts'
import { until } from '../support/until.ts'

/* Agents that measure each other over a network of this test: their loops and packets are the real ones. */
let stop = new AbortController()
afterEach(() => {
  stop.abort()
  stop = new AbortController()
})

type Sent = {
  readonly from: number
  readonly to: Address
  readonly bytes: Uint8Array
  readonly isFilled: boolean
}

function network(count: number) {
  const indexes = Array.from({ length: count }, (_, i) => i)
  const cluster = indexes.map((i) =>
    clusterNode({ name: nameOf(i), internalIps: [`192.0.2.${i + 1}`], podCidrs: [`10.244.${i}.0/24`] }),
  )
  const inboxes = new Map<number, (bytes: Uint8Array) => void>()
  const sent: Sent[] = []
  /** Decides whether a packet arrives. */
  let passes = (_: Sent): boolean => true
  const logs = indexes.map((): string[] => [])
  const broken = indexes.map((): string[] => [])
  const receiverOf = (to: Address) =>
    indexes.find(
      (i) =>
        cluster[i]?.addresses.some((one) => sameAddress(one, to)) ||
        cluster[i]?.podCidrs.some((range) => contains(range, to)),
    )
  const metrics = indexes.map(() => createMetrics())
  let nonces = 0
  const portsOf = (i: number): MeshPorts => ({
    log: { info: (_, text) => logs[i]?.push(text), warn: (_, text) => logs[i]?.push(text) },
    metrics: metrics[i] ?? createMetrics(),
    nodeName: nameOf(i),
    async listen(_, onPacket) {
      inboxes.set(i, onPacket)
      return { close: () => void inboxes.delete(i) }
    },
    openSender: () => ({
      send(bytes, to, _, isFilled = false) {
        const one = { from: i, to, bytes, isFilled }
        sent.push(one)
        if (passes(one)) queueMicrotask(() => inboxes.get(receiverOf(to) ?? -1)?.(bytes))
        return true
      },
      refusals: () => [],
      close() {},
    }),
    nowMs: () => performance.now(),
    nonce: () => (++nonces).toString(16).padStart(16, '0'),
    random: () => 0.5,
    onBrokenOffload: (peer) => broken[i]?.push(peer),
  })
  const meshes = indexes.map((i): Mesh => startMesh(portsOf(i), stop.signal))
  const plan = (i: number, known = cluster, mesh = meshes[i]) => {
    const own = cluster[i]
    if (!own) throw new Error('no such node')
    const place = { netns: createFakeKernel().host(), words: 'on the host', prefix: '' }
    const config = { ...readOverlayConfig('{}'), probeIntervalMs: 1 }
    const node: LocalNode = { ...own, place, underlay: [], config }
    mesh?.setPlan(planOverlay(known, node), [])
  }
  for (const i of indexes) plan(i)
  return {
    sent,
    metrics,
    logs,
    broken,
    cluster,
    plan,
    ports: portsOf,
    mesh: (i: number) => meshes[i] as Mesh,
    view: (i: number) => meshes[i]?.view() as MeshView,
    let: (decide: typeof passes) => {
      passes = decide
    },
    deliver: (i: number, bytes: Uint8Array) => inboxes.get(i)?.(bytes),
  }
}

const nameOf = (i: number) => `n${String(i).padStart(3, '0')}`
const known = ({ rows }: MeshView) => rows.flat().filter((cell) => cell !== 0).length

describe('a mesh of agents', () => {
  it('is known whole to each node, also where an answer has room for a part of a row only', async () => {
    const { view } = network(40)
    await until('each pair by two ways, on two nodes', () =>
      [0, 17].every((i) => known(view(i)) === 40 * 39 * 2),
    )
    expect(view(0).findings).toEqual([])
  })

  it('tells what breaks and what is mended, once each', async () => {
    const { view, logs, let: decide } = network(3)
    await until('all', () => known(view(0)) === 12)
    decide(({ from, to }) => !(from === 0 && formatAddress(to) === '10.244.1.0'))
    await until('the finding', () => view(0).findings.length === 1)
    expect(view(0).findings[0]).toMatchObject({
      peer: 'n001',
      message: expect.stringContaining('UDP port 4789 (VXLAN)'),
    })
    decide(() => true)
    await until('the end of it', () => view(0).findings.length === 0)
    expect(logs[0]).toEqual([
      expect.stringMatching(/^pods of node n001 are not reached/),
      'all ways to node n001 are as they should be again',
    ])
  })

  it('finds which node sends packets that arrive only with a checksum, and blames no other', async () => {
    const { view, broken, let: decide } = network(3)
    await until('all', () => known(view(0)) === 12)
    const isOfPods = (to: Address) => formatAddress(to).startsWith('10.')
    decide(({ from, to, isFilled }) => !(from === 0 && isOfPods(to) && !isFilled))
    await until('the verdict', () => broken[0]?.includes('n001') === true && broken[0].includes('n002'))
    expect(view(0).findings[0]).toMatchObject({
      level: 'error',
      message: expect.stringContaining('whose checksum is left to the device'),
    })
    // The others get no answers from it by way of their pods.
    await until('their silence', () => [1, 2].every((i) => view(i).findings.length > 0))
    for (const i of [1, 2])
      expect(view(i).findings[0]?.message).toMatch(/^packets to pods of node n000 arrive /)
    expect(broken.slice(1)).toEqual([[], []])
  })

  it('tests no offload where nothing arrives', async () => {
    const { view, broken, sent, let: decide } = network(2)
    await until('all', () => known(view(0)) === 4)
    decide(({ to }) => !formatAddress(to).startsWith('10.'))
    await until('a trial by each', () =>
      [0, 1].every((i) => sent.some((one) => one.from === i && one.isFilled)),
    )
    await until('the finding', () => view(0).findings.length === 1)
    expect(view(0).findings[0]?.message).toContain('UDP port 4789 (VXLAN) is blocked')
    expect(broken).toEqual([[], []])
  })

  it('tells pages of each change, and nobody when nobody listens', async () => {
    const { mesh, plan, cluster } = network(3)
    const changes: string[] = []
    const end = mesh(0).subscribe((change) => changes.push(change.kind))
    await until('rows', () => changes.length > 3)
    plan(0, cluster.slice(0, 2))
    await until('the view', () => changes.includes('view'))
    end()
    const count = changes.length
    await Bun.sleep(20)
    expect(changes).toHaveLength(count)
  })
})

it('says what keeps a node from measuring, and what keeps it from a plan', async () => {
  const { ports, plan } = network(2)
  const alone = startMesh({ ...ports(0), listen: () => Promise.reject(new Error('EADDRINUSE')) }, stop.signal)
  alone.setPlan(undefined, [{ message: 'overlay.json is not valid', hint: 'Correct it.' }])
  expect(alone.view()).toMatchObject({
    overlay: 'waiting',
    findings: [{ check: 'overlay', hint: 'Correct it.' }],
  })
  plan(0, undefined, alone)
  await until('the obstacle', () => alone.view().findings.length === 1)
  expect(alone.view().findings).toMatchObject([
    { message: expect.stringMatching(/UDP port 19475: EADDRINUSE/) },
  ])
})

describe('a request', () => {
  const ask = (sender: string, receiver: string, nonce = 'f'.repeat(16)) =>
    encodeRequest({ kind: 'request', nonce, sender: nodeIdOf(sender), receiver: nodeIdOf(receiver), way: 0 })

  it('of a stranger, or for another node, gets no answer', async () => {
    const { deliver, metrics, sent, let: decide } = network(2)
    decide(() => false)
    await until('the listener', () => sent.length > 0)
    const before = sent.length
    deliver(0, ask('stranger', 'n000'))
    deliver(0, ask('n001', 'n001'))
    deliver(0, new Uint8Array(600))
    expect(sent).toHaveLength(before)
    expect(metrics[0]?.print()).toContain('bowline_mesh_packets_total{result="ignored"} 3\n')
  })

  it('is answered to the address of the node that it names, whoever has sent it, and some times a second only', async () => {
    const { deliver, sent, let: decide } = network(2)
    decide(() => false)
    await until('the listener', () => sent.length > 0)
    const before = sent.length
    for (let i = 0; i < 500; i++) deliver(0, ask('n001', 'n000'))
    const answers = sent.slice(before)
    expect(answers.length).toBeGreaterThan(0)
    expect(answers.length).toBeLessThanOrEqual(128)
    for (const { to, bytes } of answers) {
      expect(formatAddress(to)).toBe('192.0.2.2')
      expect(bytes.length).toBeLessThanOrEqual(ask('n001', 'n000').length)
    }
  })
})

it('an answer that nobody waits for teaches nothing', async () => {
  const { deliver, view, sent, let: decide } = network(2)
  decide(() => false)
  await until('the listener', () => sent.some(({ from }) => from === 1))
  const request = sent.find(({ from }) => from === 1)?.bytes ?? new Uint8Array()
  const forged = request.slice()
  forged[5] = 2
  forged.fill(0xaa, 8, 16)
  deliver(0, forged)
  expect(view(0).nodes[1]?.ageMs).toBeNull()
})
