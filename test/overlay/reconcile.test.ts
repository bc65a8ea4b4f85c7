import { beforeEach, describe, expect, it } from 'vitest'
import { formatAddress, parseAddress, parseCidr } from '../../src/core/address.ts'
import { type FdbEntry, type Link, type Route, Scope } from '../../src/kernel/kernel.ts'
import type { KernelEvent } from '../../src/kernel/netlink/events.ts'
import type { ClusterNode } from '../../src/overlay/cluster.ts'
import { printCluster, readCluster } from '../../src/overlay/cluster_file.ts'
import { readOverlayConfig } from '../../src/overlay/config.ts'
import { createDriftFilter } from '../../src/overlay/drift.ts'
import { createKeeper } from '../../src/overlay/keeper.ts'
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
    expect(reconcile()).toMatchObject({ changes: [], failures: [] })
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

  it.each([
    ['on', true],
    ['off', false],
  ])('gives the link the checksum offload %s, from its first moment and after a change', (words, isOn) => {
    const host = kernel.host()
    const config = { ...readOverlayConfig('{}'), checksumOffload: isOn ? 'on' : 'off' } as const
    const plan = planOverlay(CLUSTER, { ...nodeIn(CLUSTER), config })
    expect(reconcileOverlay(kernel, plan).failures).toEqual([])
    expect(host.checksumOffload('bowline-vxlan')).toBe(isOn)
    const filter = createDriftFilter(plan)
    const event = (): KernelEvent => ({
      subject: 'link',
      isGone: false,
      link: host.link({ name: 'bowline-vxlan' }) as Link,
    })
    expect(filter.concerns(event())).toBe(false)
    host.setChecksumOffload('bowline-vxlan', !isOn)
    expect(filter.concerns(event())).toBe(true)
    const { found } = reconcileOverlay(kernel, plan)
    expect(found.flatMap(({ steps }) => steps.map(({ command }) => command))).toEqual([
      `ethtool -K bowline-vxlan tx-checksum-ip-generic ${words}`,
    ])
    expect(host.checksumOffload('bowline-vxlan')).toBe(isOn)
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
  const own = { protocol: 98, dst: parseCidr('10.244.2.0/24'), gateway: parseAddress('10.244.2.0') }
  const veth = 99
  const vxlan = (): Link => kernel.host().link({ name: 'bowline-vxlan' }) as Link
  const uplink = (): Link => kernel.host().link({ name: 'eth0' }) as Link
  const entry = () => kernel.host().fdbEntries(vxlan().index)[0]
  const address = (text: string, linkIndex: number) => ({
    cidr: parseCidr(text),
    linkIndex,
    scope: 0,
    flags: 0,
  })

  it.each<[string, () => KernelEvent, boolean]>([
    ['our link as it is', () => ({ subject: 'link', isGone: false, link: vxlan() }), false],
    ['our link down', () => ({ subject: 'link', isGone: false, link: { ...vxlan(), up: false } }), true],
    [
      'our link, as it was created',
      () => ({ subject: 'link', isGone: false, isNew: true, link: { ...vxlan(), up: false } }),
      false,
    ],
    [
      'another link of its name, as it was created',
      () => ({ subject: 'link', isGone: false, isNew: true, link: { ...vxlan(), index: veth } }),
      true,
    ],
    [
      'our link, renamed',
      () => ({ subject: 'link', isGone: false, link: { ...vxlan(), name: 'stolen' } }),
      true,
    ],
    ['our link, gone', () => ({ subject: 'link', isGone: true, link: vxlan() }), true],
    [
      'the link of a pod',
      () => ({ subject: 'link', isGone: false, link: { ...uplink(), index: veth } }),
      false,
    ],
    ['the uplink', () => ({ subject: 'link', isGone: false, link: uplink() }), true],
    [
      "the node's address",
      () => ({ subject: 'address', isGone: true, address: address('192.0.2.1/24', veth) }),
      true,
    ],
    [
      'a gateway of pods',
      () => ({ subject: 'address', isGone: false, address: address('10.244.1.1/32', veth) }),
      false,
    ],
    [
      'the address of our link',
      () => ({ subject: 'address', isGone: false, address: address('10.244.1.0/32', vxlan().index) }),
      false,
    ],
    [
      'another address of our link',
      () => ({ subject: 'address', isGone: false, address: address('10.9.0.1/32', vxlan().index) }),
      true,
    ],
    [
      'an address of link scope of our link',
      () => ({
        subject: 'address',
        isGone: false,
        address: { ...address('fe80::7/64', vxlan().index), scope: Scope.link },
      }),
      false,
    ],
    ['a neighbour on another link', () => ({ subject: 'neighbour', isGone: false, linkIndex: veth }), false],
    [
      'a neighbour that was learned on our link',
      () => ({
        subject: 'neighbour',
        isGone: false,
        linkIndex: vxlan().index,
        address: parseAddress('10.244.2.0'),
      }),
      true,
    ],
    [
      'a forwarding entry as it is',
      () => ({ subject: 'neighbour', isGone: false, linkIndex: vxlan().index, entry: entry() as FdbEntry }),
      false,
    ],
    [
      'a forwarding entry, gone',
      () => ({ subject: 'neighbour', isGone: true, linkIndex: vxlan().index, entry: entry() as FdbEntry }),
      true,
    ],
    ['our route as it is', () => route({}), false],
    ['our route, gone', () => ({ ...route({}), isGone: true }), true],
    ['our route with a second hop', () => route({ hopCount: 2 }), true],
    ['another route in its place', () => route({ protocol: 3 }), true],
    ['a route of ours to no peer', () => route({ dst: parseCidr('10.9.0.0/16') }), true],
    [
      'the end of a route of ours to no peer',
      () => ({ ...route({ dst: parseCidr('10.9.0.0/16') }), isGone: true }),
      false,
    ],
    ['a route to a pod', () => route({ dst: parseCidr('10.244.1.7/32'), protocol: 3 }), false],
  ])('about %s concerns the overlay or not', (_, event, expected) => {
    reconcile()
    expect(createDriftFilter(planOverlay(CLUSTER, nodeIn(CLUSTER))).concerns(event())).toBe(expected)
  })

  function route(part: Partial<Route>): KernelEvent {
    const linkIndex = vxlan().index
    return { subject: 'route', isGone: false, routes: [{ ...own, linkIndex, ...part }] }
  }
})

describe('a keeper', () => {
  const own = CLUSTER[0] as ClusterNode
  const config = readOverlayConfig('{}')
  const know = (cluster: readonly ClusterNode[]) => ({ cluster, own, config, mode: 'whole' as const })

  it('asks the kernel of nothing but the links when one node changes', () => {
    const keeper = createKeeper(kernel)
    keeper.run(know(CLUSTER.slice(0, 2)))
    const asked: string[] = []
    kernel.onStep(({ phase, what }) => void (phase === 'after' && asked.push(what)))
    const { outcome } = keeper.run(know(CLUSTER))
    expect(outcome.isWhole).toBe(false)
    expect(outcome.changes).toEqual([
      'the nftables set cluster4 of what is not masqueraded lacks 10.244.3.0/24',
      'the nftables set nodes4 of addresses of nodes lacks 192.0.2.3/32',
      'neighbour 10.244.3.0 on bowline-vxlan is missing on the host',
      expect.stringMatching(/^forwarding entry .* on bowline-vxlan is missing on the host$/),
      'route 10.244.3.0/24 is missing on the host',
    ])
    expect(asked.filter((what) => /list|routes|neighbours/.test(what))).toEqual([])
    expect(routes()).toEqual(['10.244.2.0', '10.244.3.0'])
    const walks = () => asked.filter((what) => what === 'list connections').length
    expect(walks()).toBe(0)
    expect(keeper.run(know(CLUSTER.slice(0, 2))).outcome.changes).toHaveLength(5)
    // The kernel walks its whole table for it: not for the family that no node had.
    expect(walks()).toBe(1)
    expect(routes()).toEqual(['10.244.2.0'])
    expect(reconcile(CLUSTER.slice(0, 2)).changes).toEqual([])
  })

  it('compares everything when the kernel refuses, and after events that contradict', () => {
    const keeper = createKeeper(kernel)
    keeper.run(know(CLUSTER))
    const [route] = kernel.host().routesOfProtocol(98)
    if (route) kernel.host().apply([{ op: 'removeRoute', route }])
    expect(keeper.run(know([CLUSTER[0], CLUSTER[2]] as ClusterNode[])).outcome).toMatchObject({
      isWhole: true,
      failures: [],
    })
    expect(keeper.isTrusting).toBe(true)
    expect(keeper.hear('lost')).toBe(true)
    expect(keeper.isTrusting).toBe(false)
    expect(keeper.run(know(CLUSTER)).outcome.isWhole).toBe(true)
  })

  it('replaces what belongs to a node that has moved, without a moment without it', () => {
    const keeper = createKeeper(kernel)
    keeper.run(know(CLUSTER))
    const moved = CLUSTER.map((one) =>
      one.name === 'n2' ? { ...one, addresses: [parseAddress('192.0.2.22')] } : one,
    )
    expect(keeper.run(know(moved)).outcome.changes).toEqual([
      'the nftables set nodes4 of addresses of nodes lacks 192.0.2.22/32',
      expect.stringMatching(/^forwarding entry .* is wrong/),
      'the nftables set nodes4 of addresses of nodes has 192.0.2.2/32 without need',
    ])
    expect(reconcile(moved).changes).toEqual([])
  })

  it('leaves what the agent before has made as it is, and mends that, until the cluster is known for certain', () => {
    const movedTo = (address: string) =>
      CLUSTER.map((one) => (one.name === 'n2' ? { ...one, addresses: [parseAddress(address)] } : one))
    const host = kernel.host()
    const linkIndex = () => host.link({ name: 'bowline-vxlan' })?.index ?? 0
    const destinations = () => host.fdbEntries(linkIndex()).map((one) => formatAddress(one.destination))
    createKeeper(kernel).run(know(movedTo('192.0.2.22')))
    const keeper = createKeeper(kernel)
    const stored = { ...know(CLUSTER), mode: 'addOnly' as const }
    keeper.run(stored)
    expect(destinations().sort()).toEqual(['192.0.2.22', '192.0.2.3'])
    const [entry] = host.fdbEntries(linkIndex())
    const stranger = { ...(entry as FdbEntry), destination: parseAddress('192.0.2.99') }
    host.apply([{ op: 'setFdbEntry', entry: stranger }])
    keeper.run(stored)
    expect(destinations()).not.toContain('192.0.2.99')
    keeper.run(know(movedTo('192.0.2.23')))
    expect(destinations().sort()).toEqual(['192.0.2.23', '192.0.2.3'])
  })
})

describe('the file of the last known cluster', () => {
  const NODES = [{ name: 'n1', internalIps: ['192.0.2.1'], podCidrs: ['10.244.1.0/24'] }]

  it('says the same as the cluster that was stored', () => {
    const files = createFakeFiles()
    expect(readCluster(files, '/var/lib/x/cluster.json')).toBeUndefined()
    files.ensureDirectory('/var/lib/x')
    files.replace('/var/lib/x/cluster.json', printCluster(NODES))
    expect(readCluster(files, '/var/lib/x/cluster.json')).toEqual(NODES)
  })

  it.each(['', '{', '{}', '[{"name":"a","internalIps":[1],"podCidrs":[]}]', '[null]'])(
    '%j is none',
    (text) => {
      const files = createFakeFiles()
      files.ensureDirectory('/var/lib/x')
      files.replace('/var/lib/x/cluster.json', text)
      expect(readCluster(files, '/var/lib/x/cluster.json')).toBeUndefined()
    },
  )
})
