import { expect, it } from 'vitest'
import { parseMac } from '../../src/core/mac.ts'
import { createFakeNode, type FakeNode, L2, NETNS, NETNS_2 } from '../fakes/node.ts'

/* The MTU of a pod on a bridge, and of the bridge. What an uplink has to do with it is a matter of the real kernel. */
const OTHER = { containerId: 'c2', netns: NETNS_2 }

function add(node: FakeNode, call: object, config: object): void {
  expect(node.call('ADD', { ...call, config })).toMatchObject({ exitCode: 0 })
}

const mtusOf = ({ kernel }: FakeNode, netns: string) => [
  kernel.host().link({ name: 'br0' })?.mtu,
  kernel.openNetns(netns).link({ name: 'eth0' })?.mtu,
]

it('a pod gets no more than the bridge has', () => {
  const node = createFakeNode()
  node.kernel.host().apply([
    { op: 'createBridge', name: 'br0', mac: parseMac('02:00:00:00:00:99') },
    { op: 'setLink', link: { name: 'br0' }, mtu: 1300 },
  ])
  add(node, {}, L2)
  expect(mtusOf(node, NETNS)).toEqual([1300, 1300])
})

it('the bridge follows the key "mtu" up and down', () => {
  const node = createFakeNode()
  add(node, {}, { ...L2, mtu: 1350 })
  expect(mtusOf(node, NETNS)).toEqual([1350, 1350])
  add(node, OTHER, { ...L2, mtu: 1320 })
  expect(mtusOf(node, NETNS_2)).toEqual([1320, 1320])
})
