import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/address.ts'
import { createFakeNode, type FakeNode, L2 } from '../fakes/node.ts'

const config = { ...L2, enabledad: true }

function waits(node: FakeNode): { ms: number } {
  const total = { ms: 0 }
  node.beforeStep((what) => {
    total.ms += Number(/^wait (\d+) ms$/.exec(what)?.[1] ?? 0)
  })
  return total
}

describe('with enabledad', () => {
  it('ADD waits until duplicate detection is over, and no longer', () => {
    const node = createFakeNode({ duplicateDetectionMs: 1500 })
    const waited = waits(node)
    expect(node.call('ADD', { config })).toMatchObject({ exitCode: 0 })
    expect(waited.ms).toBe(1500)
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
