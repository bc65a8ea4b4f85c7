import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/address.ts'
import type { Mac } from '../../src/core/mac.ts'
import { createFakeNode, type FakeNode, L2, L2_FULL, L3 } from '../support/fake_node.ts'

const ERRNOS = ['ENOSPC', 'EIO', 'EBUSY', 'ENOBUFS', 'EPERM']
const MAX_STEPS = 400

const OTHER_NETNS = '/var/run/netns/pod2'

/** What may be there when an ADD begins. */
const NODES: [string, (node: FakeNode, config: object) => void][] = [
  ['an empty node', () => {}],
  [
    'a node with another pod',
    (node, config) => {
      node.kernel.makeNetns(OTHER_NETNS)
      node.call('ADD', { config, containerId: 'c0', netns: OTHER_NETNS })
    },
  ],
  [
    'a node with a bridge of somebody else',
    ({ kernel }) => {
      const host = kernel.host()
      const mac = '02:00:00:00:00:99' as Mac
      const { index } = host.applyAndRead([{ op: 'createBridge', name: 'br0', mac }], { name: 'br0' })
      host.apply([{ op: 'addAddress', linkIndex: index, cidr: parseCidr('192.168.7.1/24') }])
    },
  ],
]

/** Calls `work` for every step of `run` on a fresh node; ends when the run has no such step any more. */
function atEachStep(run: (node: FakeNode) => void, work: (node: FakeNode, step: number) => void): number {
  for (let step = 1; step < MAX_STEPS; step++) {
    const node = createFakeNode({ duplicateDetectionMs: 40 })
    run(node)
    const before = node.steps()
    work(node, step)
    if (node.steps() - before < step) return step
  }
  throw new Error(`more than ${MAX_STEPS} steps`)
}

describe.each([
  ['l3', L3],
  ['l2', { ...L2, forceAddress: true }],
  ['l2 with all its keys', L2_FULL],
])('mode %s', (_, config) => {
  it('ADD killed at any step leaves what DEL removes entirely', () => {
    const steps = atEachStep(
      () => {},
      (node, step) => {
        node.stopAt(step, 'SIGKILL')
        node.call('ADD', { config })
        node.revive()
        expect(node.call('DEL', { config }), `killed at step ${step}`).toMatchObject({ exitCode: 0 })
        expect(node.residue(), `killed at step ${step}`).toEqual([])
      },
    )
    expect(steps).toBeGreaterThan(20)
  })

  it('ADD killed at any step can be called again without a DEL', () => {
    atEachStep(
      () => {},
      (node, step) => {
        node.stopAt(step, 'SIGKILL')
        const first = node.call('ADD', { config })
        node.revive()
        // Killed after the last word was written: the attachment is whole, and a second ADD rightly says so.
        if (
          first.exitCode === 0 ||
          node.call('CHECK', { config: { ...config, prevResult: first.json } }).exitCode === 0
        )
          return
        const second = node.call('ADD', { config })
        if (second.json['code'] === 104) return
        expect(second, `killed at step ${step}`).toMatchObject({ exitCode: 0 })
        node.call('DEL', { config })
        expect(node.residue(), `killed at step ${step}`).toEqual([])
      },
    )
  })

  it('DEL killed at any step is finished by the next DEL', () => {
    atEachStep(
      (node) => void node.call('ADD', { config }),
      (node, step) => {
        node.stopAt(step, 'SIGKILL')
        node.call('DEL', { config })
        node.revive()
        expect(node.call('DEL', { config }), `killed at step ${step}`).toMatchObject({ exitCode: 0 })
        expect(node.residue(), `killed at step ${step}`).toEqual([])
      },
    )
  })

  describe.each(NODES)('on %s', (_, prepare) => {
    it.each(ERRNOS)(
      'ADD refused with %s at any step either succeeds or leaves the node as it was',
      (errno) => {
        atEachStep(
          (node) => prepare(node, config),
          (node, step) => {
            const before = node.snapshot()
            node.stopAt(step, errno)
            const { exitCode } = node.call('ADD', { config })
            node.revive()
            if (exitCode !== 0) expect(node.snapshot(), `${errno} at step ${step}`).toEqual(before)
          },
        )
      },
    )
  })

  it.each(ERRNOS)('DEL refused with %s at any step is finished by the next DEL', (errno) => {
    atEachStep(
      (node) => void node.call('ADD', { config }),
      (node, step) => {
        node.stopAt(step, errno)
        node.call('DEL', { config })
        node.revive()
        expect(node.call('DEL', { config }), `${errno} at step ${step}`).toMatchObject({ exitCode: 0 })
        expect(node.residue(), `${errno} at step ${step}`).toEqual([])
      },
    )
  })
})
