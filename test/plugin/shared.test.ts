import { describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { createFakeNode, L2 } from '../fakes/node.ts'

const OTHER = { containerId: 'c2', netns: '/var/run/netns/pod2' }

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
