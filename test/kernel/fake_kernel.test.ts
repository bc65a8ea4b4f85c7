import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/address.ts'
import { Fault } from '../../src/core/errors.ts'
import { parseMac } from '../../src/core/mac.ts'
import type { Change } from '../../src/kernel/kernel.ts'
import { Killed } from '../fakes/files.ts'
import { killAt, refuseAt, type Step } from '../fakes/kernel/steps.ts'
import { createFakeKernel, type FakeKernel } from '../fakes/kernel.ts'
import { faultOf } from '../support/fault_of.ts'

const POD = '/run/netns/pod'
const [near, far] = [parseMac('02:00:00:00:00:0a'), parseMac('02:00:00:00:00:0b')]

function nodeWithPod(): FakeKernel {
  const kernel = createFakeKernel()
  kernel.makeNetns(POD)
  return kernel
}

const bridge = (name: string): Change => ({ op: 'createBridge', name, mac: near })

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
  kernel.nft([
    { op: 'ensureTable', table: 't' },
    { op: 'ensureChain', table: 't', chain: 'c' },
  ])
  netns.close()
}

describe('the steps of the fake kernel', () => {
  it('are one for each change, query, sysctl and transaction, before and after', () => {
    const kernel = nodeWithPod()
    const steps: Step[] = []
    kernel.onStep((step) => void steps.push(step))
    attach(kernel)
    expect(steps.filter(({ phase }) => phase === 'before').map(({ kind }) => kind)).toEqual(
      'open change change query change change sysctl nft'.split(' '),
    )
    expect(steps.filter(({ phase }) => phase === 'after')).toHaveLength(8)
    expect(steps.map(({ seq }) => seq)).toEqual([1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8])
    expect(steps[2]?.what).toContain('veth1')
  })

  it('can be refused one at a time, while the rest of a batch goes on', () => {
    const kernel = nodeWithPod()
    kernel.onStep(refuseAt(1, 'ENOMEM'))
    const fault = faultOf(() => kernel.host().apply([bridge('one'), bridge('two')]))
    expect(fault.errno).toBe('ENOMEM')
    expect(fault.message).toBe('create bridge one: ENOMEM')
    expect(kernel.dump().host.links.map(({ name }) => name)).toEqual(['lo', 'two'])
  })

  it('that are refused afterwards were done all the same', () => {
    const kernel = nodeWithPod()
    kernel.onStep(({ phase }) => {
      if (phase === 'after') throw new Fault('no answer', { errno: 'ENOBUFS' })
    })
    expect(faultOf(() => kernel.host().apply([bridge('one')])).errno).toBe('ENOBUFS')
    expect(kernel.dump().host.links).toHaveLength(2)
  })

  it.each(['before', 'after'] as const)('can end the process just %s any of them', (phase) => {
    const whole = nodeWithPod()
    attach(whole)
    for (let seq = 1; seq <= whole.steps.count; seq++) {
      const kernel = nodeWithPod()
      kernel.onStep(killAt(seq, phase))
      expect(() => attach(kernel)).toThrow(Killed)
      expect(kernel.steps.count).toBe(seq)
    }
  })

  it('are over once the process was killed, until the next one', () => {
    const kernel = nodeWithPod()
    kernel.onStep(killAt(1, 'after'))
    expect(() => kernel.host().apply([bridge('one'), bridge('two')])).toThrow(Killed)
    kernel.onStep(undefined)
    expect(() => kernel.host().links()).toThrow(Killed)
    expect(() => kernel.nft([])).toThrow(Killed)
    kernel.revive()
    expect(
      kernel
        .host()
        .links()
        .map(({ name }) => name),
    ).toEqual(['lo', 'one'])
  })
})

describe('the dump of the fake kernel', () => {
  it('is the same for the same node, and changes with each thing on it', () => {
    const [one, two] = [nodeWithPod(), nodeWithPod()]
    const dumps = [one.dump()]
    one.onStep(({ phase, kind }) => {
      if (phase === 'after' && kind !== 'query' && kind !== 'open') dumps.push(one.dump())
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
    kernel.nft([
      { op: 'removeChain', table: 't', chain: 'c' },
      { op: 'removeTable', table: 't' },
    ])
    expect(kernel.dump()).toEqual(before)
  })
})

describe('a reboot of the fake kernel', () => {
  it('leaves nothing but a new boot id', () => {
    const kernel = nodeWithPod()
    attach(kernel)
    kernel.rebootTo('boot-2')
    const { host, namespaces, nft } = kernel.dump()
    expect(kernel.bootId()).toBe('boot-2')
    expect(host.links).toHaveLength(1)
    expect([host.routes, host.sysctls, namespaces, nft]).toEqual([[], {}, {}, {}])
    expect(faultOf(() => kernel.openNetns(POD)).errno).toBe('ENOENT')
  })

  it('ends what a killed process held open', () => {
    const kernel = nodeWithPod()
    const netns = kernel.openNetns(POD)
    kernel.rebootTo('boot-2')
    expect(faultOf(() => netns.links()).errno).toBe('EBADF')
  })
})

describe('a namespace of the fake kernel', () => {
  it('is closed for good: nothing is done through a closed handle', () => {
    const kernel = nodeWithPod()
    const netns = kernel.openNetns(POD)
    netns.close()
    netns.close()
    expect(faultOf(() => netns.apply([bridge('br0')])).errno).toBe('EBADF')
  })
})
