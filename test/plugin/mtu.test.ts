import { beforeEach, describe, expect, it } from 'vitest'
import { parseAddress, parseCidr } from '../../src/core/address.ts'
import { parseMac } from '../../src/core/mac.ts'
import { createFakeNode, type FakeNode, L2, NETNS } from '../fakes/node.ts'

/* The MTU of a pod on a bridge, and of the bridge, when the configuration has no key "mtu". */
const OTHER = { containerId: 'c2', netns: '/var/run/netns/pod2' }
const MAC = parseMac('02:00:00:00:00:99')

let node: FakeNode

beforeEach(() => {
  node = createFakeNode()
})

/** Gives the node a way out that takes packets of so many bytes. */
function addUplink(mtu: number): void {
  const host = node.kernel.host()
  node.kernel.makeNetns('/outside')
  const ends = { host: { name: 'up0', mac: MAC }, peer: { name: 'up0', mac: MAC } }
  const peerNetns = node.kernel.openNetns('/outside')
  const { index } = host.applyAndRead([{ op: 'createVeth', ...ends, peerNetns, mtu }], { name: 'up0' })
  const cidr = parseCidr('192.168.9.2/24')
  const route = { dst: parseCidr('0.0.0.0/0'), gateway: parseAddress('192.168.9.1'), linkIndex: index }
  host.apply([
    { op: 'addAddress', linkIndex: index, cidr },
    { op: 'setLink', link: { index }, up: true },
    { op: 'addRoute', route },
  ])
}

function add(call = {}, config: object = L2): void {
  expect(node.call('ADD', { ...call, config })).toMatchObject({ exitCode: 0 })
}

const bridgeMtu = () => node.kernel.host().link({ name: 'br0' })?.mtu
const podMtu = (path: string) => node.kernel.openNetns(path).link({ name: 'eth0' })?.mtu

describe.each([1400, 1500, 9000])('on a node whose uplink has an MTU of %i', (mtu) => {
  beforeEach(() => addUplink(mtu))

  it('the first pod gets it, and so does one that comes after the bridge was empty', () => {
    add()
    expect([bridgeMtu(), podMtu(NETNS)]).toEqual([mtu, mtu])
    node.call('DEL', { config: L2 })
    expect(bridgeMtu()).toBe(mtu)
    add(OTHER)
    expect(podMtu(OTHER.netns)).toBe(mtu)
  })

  it('a pod gets no more than it on a bridge that somebody else made', () => {
    node.kernel.host().apply([{ op: 'createBridge', name: 'br0', mac: MAC }])
    add()
    expect(podMtu(NETNS)).toBe(Math.min(mtu, 1500))
  })

  it('a pod gets no more than the bridge has', () => {
    node.kernel.host().apply([
      { op: 'createBridge', name: 'br0', mac: MAC },
      { op: 'setLink', link: { name: 'br0' }, mtu: 1300 },
    ])
    add()
    expect([bridgeMtu(), podMtu(NETNS)]).toEqual([1300, 1300])
  })

  it('the key "mtu" counts, and the bridge follows it up and down', () => {
    add({}, { ...L2, mtu: 1350 })
    expect([bridgeMtu(), podMtu(NETNS)]).toEqual([1350, 1350])
    add(OTHER, { ...L2, mtu: 1320 })
    expect([bridgeMtu(), podMtu(OTHER.netns)]).toEqual([1320, 1320])
  })
})

it('on a node without a way out a pod gets what its bridge has', () => {
  add()
  expect([bridgeMtu(), podMtu(NETNS)]).toEqual([1500, 1500])
})
