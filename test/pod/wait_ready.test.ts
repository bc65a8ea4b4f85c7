import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../src/core/address.ts'
import { parseMac } from '../../src/core/mac.ts'
import type { Link, Netns } from '../../src/kernel/kernel.ts'
import { settle } from '../../src/pod/wait_ready.ts'
import { createFakeKernel, type FakeKernel } from '../fakes/kernel.ts'
import { createFakeNode, L2, L3 } from '../fakes/node.ts'

const POD = '/run/netns/pod'

/** A pair whose host end is up and waits for the pod's, and what is done to the kernel from then on. */
function halfUp(): { kernel: FakeKernel; netns: Netns; hostEnd: Link; done: string[] } {
  const kernel = createFakeKernel()
  kernel.makeNetns(POD)
  const netns = kernel.openNetns(POD)
  const end = (name: string, last: string) => ({ name, mac: parseMac(`02:00:00:00:00:${last}`) })
  const hostEnd = kernel.host().applyAndRead(
    [
      { op: 'createVeth', host: end('veth1', '0a'), peer: end('eth0', '0b'), peerNetns: netns },
      { op: 'setLink', link: { name: 'veth1' }, up: true },
    ],
    { name: 'veth1' },
  )
  const done: string[] = []
  kernel.onStep(({ phase, what }) => phase === 'before' && done.push(what))
  return { kernel, netns, hostEnd, done }
}

function bringUp(netns: Netns): void {
  netns.apply([{ op: 'setLink', link: { name: 'eth0' }, up: true }])
}

const pauses = (done: readonly string[]): number => done.filter((what) => what.startsWith('wait')).length

describe('before ADD ends', () => {
  it('one question is asked of a pod that is ready', () => {
    const { kernel, netns, hostEnd, done } = halfUp()
    bringUp(netns)
    done.length = 0
    settle(kernel, hostEnd, [{ netns, addresses: [parseAddress('10.1.0.2')] }])
    expect(done).toHaveLength(1)
  })

  it.each([L3, L2])('that is the last that ADD asks the kernel ($mode)', (config) => {
    const node = createFakeNode()
    const done: string[] = []
    node.kernel.onStep(({ phase, what }) => phase === 'before' && done.push(what))
    node.call('ADD', { config })
    expect(done.slice(-3)).toEqual([
      expect.stringMatching(/^read link \d+$/),
      'find the route to fd00:1::2',
      'find the route to fd00:1::1',
    ])
  })

  it('a host end without carrier is waited for', () => {
    const { kernel, netns, hostEnd, done } = halfUp()
    kernel.onStep(({ phase, what }) => {
      if (phase !== 'after' || !what.startsWith('wait')) return
      done.push(what)
      if (pauses(done) === 3) bringUp(netns)
    })
    settle(kernel, hostEnd, [])
    expect(pauses(done)).toBe(3)
  })

  it('an IPv6 address is waited for that the kernel would still send elsewhere', () => {
    const { kernel, netns, hostEnd, done } = halfUp()
    bringUp(netns)
    const answers = [7, 7, undefined]
    const asked: Netns = Object.assign(Object.create(netns) as Netns, { routeTo: () => answers.shift() })
    settle(kernel, hostEnd, [{ netns: asked, addresses: [parseAddress('fd00::2')] }])
    expect([answers, pauses(done)]).toEqual([[], 2])
  })

  it('nothing is waited for longer than 2 s, all together', () => {
    const { kernel, netns, hostEnd, done } = halfUp()
    const asked: Netns = Object.assign(Object.create(netns) as Netns, { routeTo: () => 7 })
    settle(kernel, hostEnd, [{ netns: asked, addresses: [parseAddress('fd00::2')] }])
    expect(pauses(done)).toBe(2000)
  })

  it('a link that has gone is not waited for', () => {
    const { kernel, hostEnd, done } = halfUp()
    kernel.host().apply([{ op: 'removeLink', link: { name: 'veth1' } }])
    settle(kernel, hostEnd, [])
    expect(pauses(done)).toBe(0)
  })
})
