import { beforeEach, describe, expect, it } from 'vitest'
import { formatAddress, parseAddress, parseCidr } from '../../src/core/address.ts'
import type { ClusterNode } from '../../src/overlay/cluster.ts'
import { readCluster, writeCluster } from '../../src/overlay/cluster_file.ts'
import { readOverlayConfig } from '../../src/overlay/config.ts'
import { createDriftFilter } from '../../src/overlay/drift.ts'
import { planOverlay } from '../../src/overlay/plan.ts'
import { type Mode, type Reconciled, readUnderlay, reconcileOverlay } from '../../src/overlay/reconcile.ts'
import type { Place } from '../../src/state/desired.ts'
import { createFakeFiles } from '../fakes/files.ts'
import { createFakeKernel, type FakeKernel } from '../fakes/kernel.ts'

let kernel: FakeKernel
let place: Place

const CLUSTER: readonly ClusterNode[] = [1, 2, 3].map((n) => ({
  name: `n${n}`,
  addresses: [parseAddress(`192.0.2.${n}`)],
  podCidrs: [parseCidr(`10.244.${n}.0/24`)],
}))

beforeEach(() => {
  kernel = createFakeKernel()
  kernel.makeNetns('/run/netns/router')
  const peerNetns = kernel.openNetns('/run/netns/router')
  const mac = (n: number) => `02:00:00:00:00:0${n}` as never
  const host = kernel.host()
  place = { netns: host, words: 'on the host', prefix: '' }
  const ends = { host: { name: 'eth0', mac: mac(1) }, peer: { name: 'r', mac: mac(2) } }
  host.apply([
    { op: 'createVeth', ...ends, peerNetns },
    { op: 'setLink', link: { name: 'eth0' }, up: true },
  ])
  const linkIndex = host.link({ name: 'eth0' })?.index ?? 0
  host.apply([{ op: 'addAddress', linkIndex, cidr: parseCidr('192.0.2.1/24') }])
})

function nodeIn(cluster: readonly ClusterNode[]) {
  const [own] = cluster
  if (!own) throw new Error('an empty cluster')
  return { ...own, place, underlay: readUnderlay(place.netns), config: readOverlayConfig('{}') }
}

function reconcile(cluster = CLUSTER, mode: Mode = 'whole'): Reconciled {
  return reconcileOverlay(kernel, planOverlay(cluster, nodeIn(cluster)), mode)
}

const routes = (): string[] =>
  kernel
    .host()
    .routesOfProtocol(98)
    .map(({ dst }) => formatAddress(dst.address))

describe('a run', () => {
  it('makes what is missing, and the next one finds nothing', () => {
    expect(reconcile().failures).toEqual([])
    expect(routes()).toEqual(['10.244.2.0', '10.244.3.0'])
    expect(reconcile()).toEqual({ changes: [], failures: [] })
  })

  it('says what it has found', () => {
    reconcile()
    const [route] = kernel.host().routesOfProtocol(98)
    if (route) kernel.host().apply([{ op: 'removeRoute', route }])
    expect(reconcile().changes).toEqual(['route 10.244.2.0/24 is missing on the host'])
  })

  it('removes what is stale, and only if the cluster is known for certain', () => {
    reconcile()
    expect(reconcile(CLUSTER.slice(0, 2), 'addOnly').changes).toEqual([])
    expect(routes()).toEqual(['10.244.2.0', '10.244.3.0'])
    reconcile(CLUSTER.slice(0, 2))
    expect(routes()).toEqual(['10.244.2.0'])
    reconcile(CLUSTER.slice(0, 1))
    expect(kernel.host().link({ name: 'bowline-vxlan' })).toBeUndefined()
  })

  it('goes on after a refusal, and returns it', () => {
    kernel.onStep(({ what }) => {
      if (what.includes('add route 10.244.2.0/24')) throw new Error('as the test wants it')
    })
    const { failures } = reconcile()
    expect(failures.map(({ message }) => message)).toEqual([expect.stringContaining('as the test wants it')])
    expect(routes()).toEqual(['10.244.3.0'])
  })
})

describe('an event of the kernel', () => {
  it.each([
    ['our link', { subject: 'link', linkIndex: 99, name: 'bowline-vxlan' }, true],
    ['the link of a pod', { subject: 'link', linkIndex: 99, name: 'veth01234567890' }, false],
    ["the node's address", { subject: 'address', linkIndex: 99, address: parseAddress('192.0.2.1') }, true],
    ['a gateway of pods', { subject: 'address', linkIndex: 99, address: parseAddress('10.244.1.1') }, false],
    ['a neighbour on another link', { subject: 'neighbour', linkIndex: 99 }, false],
    ['a route to a range', { subject: 'route', dst: parseCidr('10.244.2.0/24'), protocol: 3 }, true],
    ['a route of ours', { subject: 'route', dst: parseCidr('10.9.0.0/16'), protocol: 98 }, true],
    ['a route to a pod', { subject: 'route', dst: parseCidr('10.244.1.7/32'), protocol: 3 }, false],
  ] as const)('about %s concerns the overlay or not', (_, event, expected) => {
    reconcile()
    const node = nodeIn(CLUSTER)
    expect(createDriftFilter(planOverlay(CLUSTER, node).desired, node)(event)).toBe(expected)
  })
})

describe('the file of the last known cluster', () => {
  it('says the same as the cluster that was stored', () => {
    const files = createFakeFiles()
    expect(readCluster(files, '/var/lib/x/cluster.json')).toBeUndefined()
    writeCluster(files, '/var/lib/x/cluster.json', CLUSTER)
    expect(readCluster(files, '/var/lib/x/cluster.json')).toEqual(CLUSTER)
  })

  it.each(['', '{', '{}', '[{"name":"a","addresses":["?"],"podCidrs":[]}]'])('%j is none', (text) => {
    const files = createFakeFiles()
    files.ensureDirectory('/var/lib/x')
    files.replace('/var/lib/x/cluster.json', text)
    expect(readCluster(files, '/var/lib/x/cluster.json')).toBeUndefined()
  })
})
