import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/address.ts'
import type { Mac } from '../../src/core/mac.ts'
import { createFakeNode, type FakeNode, L2 } from '../fakes/node.ts'

const config = { ...L2, enabledad: true }

function waits(node: FakeNode): { ms: number } {
  const total = { ms: 0 }
  node.beforeStep((what) => {
    total.ms += Number(/^wait (\d+) ms$/.exec(what)?.[1] ?? 0)
  })
  return total
}

/** Another machine on the bridge that the pod will join, with this address. */
function placeMachine({ kernel }: FakeNode, address: string): void {
  const host = kernel.host()
  kernel.makeNetns('/var/run/netns/machine')
  const peerNetns = kernel.openNetns('/var/run/netns/machine')
  const [mac, other] = ['02:00:00:00:00:99', '02:00:00:00:00:98'] as Mac[]
  const bridge = { name: 'br0', mac: mac as Mac }
  const { index } = host.applyAndRead([{ op: 'createBridge', ...bridge }], { name: 'br0' })
  const ends = { host: { name: 'machine0', mac: mac as Mac }, peer: { name: 'eth0', mac: other as Mac } }
  host.apply([
    { op: 'setLink', link: { index }, up: true, ipv6LinkLocal: false },
    { op: 'createVeth', ...ends, peerNetns },
    { op: 'setLink', link: { name: 'machine0' }, master: index, up: true },
  ])
  const end = peerNetns.applyAndRead([{ op: 'setLink', link: { name: 'eth0' }, up: true }], { name: 'eth0' })
  peerNetns.apply([{ op: 'addAddress', linkIndex: end.index, cidr: parseCidr(address), noDad: true }])
}

describe('with enabledad', () => {
  it('ADD waits until duplicate detection is over, and no longer', () => {
    const node = createFakeNode({ duplicateDetectionMs: 1500 })
    const waited = waits(node)
    expect(node.call('ADD', { config })).toMatchObject({ exitCode: 0 })
    expect(waited.ms).toBe(1500)
  })

  it('ADD fails and leaves nothing when another machine has the address, and says which', () => {
    const node = createFakeNode({ duplicateDetectionMs: 1500 })
    placeMachine(node, 'fd00:1::2/128')
    const before = node.snapshot()
    const { json } = node.call('ADD', { config: { ...config, isGateway: false } })
    expect(json).toMatchObject({ code: 101, msg: expect.stringContaining('fd00:1::2 is in use') })
    expect(node.snapshot()).toEqual(before)
  })

  it('ADD gives up after 5 s, leaves nothing, and says try again later', () => {
    const node = createFakeNode({ duplicateDetectionMs: 60_000 })
    const before = node.snapshot()
    const waited = waits(node)
    expect(node.call('ADD', { config }).json).toMatchObject({ code: 11 })
    expect(waited.ms).toBe(5000)
    expect(node.snapshot()).toEqual(before)
  })

  it.each([
    ['without the key', L2],
    [
      'of a pod without IPv6',
      { ...config, ipam: { ...L2.ipam, ranges: [[{ subnet: '10.1.0.0/24' }]], routes: [] } },
    ],
  ])('an ADD %s waits for nothing', (_, given) => {
    const node = createFakeNode({ duplicateDetectionMs: 1500 })
    const waited = waits(node)
    expect(node.call('ADD', { config: given })).toMatchObject({ exitCode: 0 })
    expect(waited.ms).toBe(0)
  })

  it('CHECK passes while duplicate detection goes on', () => {
    const node = createFakeNode({ duplicateDetectionMs: 1500 })
    const { json } = node.call('ADD', { config })
    const pod = node.kernel.openNetns('/var/run/netns/pod1')
    const { index = 0 } = pod.link({ name: 'eth0' }) ?? {}
    pod.apply([
      { op: 'removeAddress', linkIndex: index, cidr: parseCidr('fd00:1::2/64') },
      { op: 'addAddress', linkIndex: index, cidr: parseCidr('fd00:1::2/64') },
    ])
    expect(node.call('CHECK', { config: { ...config, prevResult: json } })).toMatchObject({ exitCode: 0 })
  })
})
