import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/address.ts'
import { parseMac } from '../../src/core/mac.ts'
import { createFakeKernel, type FakeKernel } from '../fakes/kernel.ts'

const table = { family: 'inet', name: 't' } as const
const POD = '/run/netns/pod'
const [near, far] = [parseMac('02:00:00:00:00:0a'), parseMac('02:00:00:00:00:0b')]

function nodeWithPod(): FakeKernel {
  const kernel = createFakeKernel()
  kernel.makeNetns(POD)
  return kernel
}

/** One of everything that leaves a trace. */
function attach(kernel: FakeKernel): void {
  const netns = kernel.openNetns(POD)
  const end = (name: string, mac: typeof near) => ({ name, mac })
  kernel.host().apply([
    { op: 'createVeth', host: end('veth1', near), peer: end('eth0', far), peerNetns: netns },
    { op: 'setLink', link: { name: 'veth1' }, up: true },
  ])
  const index = netns.link({ name: 'eth0' })?.index ?? 0
  netns.apply([
    { op: 'setLink', link: { index }, up: true },
    { op: 'addAddress', linkIndex: index, cidr: parseCidr('10.1.0.2/24') },
  ])
  kernel.host().writeSysctl('ipv4/ip_forward', '1')
  kernel.nftables.apply([
    { op: 'ensureTable', table },
    { op: 'ensureChain', chain: { table, name: 'c' } },
  ])
  netns.close()
}

describe('the dump of the fake kernel', () => {
  it('is the same for the same node, and changes with each thing on it', () => {
    const [one, two] = [nodeWithPod(), nodeWithPod()]
    const dumps = [one.dump()]
    one.onStep(({ phase, what }) => {
      if (phase === 'after' && !/^(open|read) /.test(what)) dumps.push(one.dump())
    })
    attach(one)
    attach(two)
    expect(one.dump()).toEqual(two.dump())
    expect(new Set(dumps.map((dump) => JSON.stringify(dump))).size).toBe(dumps.length)
  })

  it('is as before once everything was taken back', () => {
    const kernel = nodeWithPod()
    const before = kernel.dump()
    attach(kernel)
    kernel.host().apply([{ op: 'removeLink', link: { name: 'veth1' } }])
    kernel.host().writeSysctl('ipv4/ip_forward', '0')
    kernel.nftables.apply([
      { op: 'removeChain', chain: { table, name: 'c' } },
      { op: 'removeTable', table },
    ])
    expect(kernel.dump()).toEqual(before)
  })
})
