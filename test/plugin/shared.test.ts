import { describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { createFakeNode, type FakeNode, L2, L2_FULL, L3 } from '../fakes/node.ts'

const OTHER = { containerId: 'c2', netns: '/var/run/netns/pod2' }

/** ADD of c1 is refused at the step whose words match, after another pod was attached just before it. */
function failWhileOtherComes(node: FakeNode, config: object, step: RegExp): void {
  node.kernel.makeNetns(OTHER.netns)
  let armed = true
  node.beforeStep((what) => {
    if (!armed || !step.test(what)) return
    armed = false
    expect(node.call('ADD', { ...OTHER, config })).toMatchObject({ exitCode: 0 })
    throw new Fault('the test: EIO', { errno: 'EIO' })
  })
  expect(node.call('ADD', { config })).toMatchObject({ exitCode: 1 })
}

describe('what pods share', () => {
  it.each([
    ['l2', L2],
    ['l2 with all its keys', L2_FULL],
  ])('stays for a pod that came while the ADD that made it was failing (%s)', (_, config) => {
    const node = createFakeNode()
    failWhileOtherComes(node, config, /set neighbour|add address 10\.1\.0\.2/)
    const { links, sysctls } = node.kernel.dump().host
    const bridge = links.find(({ name }) => name === 'br0')
    const port = links.find(({ master }) => master === 'br0')
    expect(bridge).toMatchObject({ up: true })
    expect(port).toBeDefined()
    expect(sysctls['all']).toMatchObject({ 'ipv4/forwarding': '1', 'ipv6/forwarding': '1' })
    expect(node.call('ADD', { config })).toMatchObject({ exitCode: 0 })
  })

  it('is forwarding too: it stays on when another pod came since', () => {
    const node = createFakeNode()
    failWhileOtherComes(node, L3, /writeAt .*\/bowline\/net\//)
    expect(node.kernel.dump().host.sysctls['all']).toMatchObject({ 'ipv4/forwarding': '1' })
  })

  it('is taken back when nobody came: forwarding is off again, and the bridge is gone', () => {
    const node = createFakeNode()
    node.beforeStep((what) => {
      if (/writeAt .*\/bowline\/net\//.test(what)) throw new Fault('the test: EIO', { errno: 'EIO' })
    })
    const before = node.snapshot()
    expect(node.call('ADD', { config: L2 })).toMatchObject({ exitCode: 1 })
    expect(node.snapshot()).toEqual(before)
  })
})

describe('the lock of a bridge', () => {
  const LOCK = '/var/lib/cni/bowline/.locks/bridge-br0'

  it('makes an ADD wait while somebody changes the bridge, and answer "try again later" in the end', () => {
    const node = createFakeNode()
    node.call('ADD', { config: L2 })
    const lock = node.files.lock(LOCK, 0)
    node.kernel.makeNetns(OTHER.netns)
    expect(node.call('ADD', { ...OTHER, config: L2 }).json).toMatchObject({ code: 11 })
    lock.release()
    expect(node.call('ADD', { ...OTHER, config: L2 })).toMatchObject({ exitCode: 0 })
  })

  it('keeps others from joining the bridge between the look at its ports and its removal', () => {
    const node = createFakeNode()
    node.kernel.makeNetns(OTHER.netns)
    const codes: unknown[] = []
    node.beforeStep((what) => {
      if (/writeAt .*\/bowline\/net\//.test(what)) throw new Fault('the test: EIO', { errno: 'EIO' })
      if (what !== 'remove link br0' || codes.length > 0) return
      codes.push(undefined)
      codes[0] = node.call('ADD', { ...OTHER, config: L2 }).json['code']
    })
    expect(node.call('ADD', { config: L2 })).toMatchObject({ exitCode: 1 })
    expect(codes).toEqual([11])
  })

  it('is shared by those who find the bridge as it should be', () => {
    const node = createFakeNode()
    node.call('ADD', { config: L2 })
    const lock = node.files.lock(LOCK, 0, 'shared')
    node.kernel.makeNetns(OTHER.netns)
    expect(node.call('ADD', { ...OTHER, config: L2 })).toMatchObject({ exitCode: 0 })
    lock.release()
  })

  it('is released when the ADD is over, whichever way it went', () => {
    const node = createFakeNode()
    node.call('ADD', { config: L2 })
    node.call('ADD', { config: L2 })
    node.call('ADD', { config: { ...L2, bridge: 'lo' } })
    expect(() => node.files.lock(LOCK, 0).release()).not.toThrow()
  })
})

it('the bridge is read once by an ADD that finds it as it should be', () => {
  const node = createFakeNode()
  node.call('ADD', { config: L2 })
  node.kernel.makeNetns(OTHER.netns)
  const reads: string[] = []
  node.beforeStep((what) => {
    if (/read link (br0|2)$/.test(what)) reads.push(what)
  })
  node.call('ADD', { ...OTHER, config: L2 })
  expect(reads).toEqual(['read link br0'])
})
