import { describe, expect, it } from 'vitest'
import { createFakeNode, delegated, type FakeNode, L2, L3 } from '../fakes/node.ts'
import { gcConfig } from '../support/fault_scenarios.ts'
import { atEachPair, type InjectedFault } from '../support/fault_sweep.ts'
import { expectNothing, expectSuccess, expectWhole } from '../support/node_expectations.ts'

/*
 * Two faults: the process that cleans up after another one is killed as well, or a rollback meets an error of its own.
 * The third process has nothing to complain about and leaves nothing. BOWLINE_STRIDE=1 takes every pair of steps.
 */

const STRIDE = Number(process.env['BOWLINE_STRIDE'] ?? 5)

const MODES = { 'l2 with a VLAN': { ...L2, vlan: 100 }, 'another IPAM plugin': delegated(L3) }

describe.each(Object.entries(MODES))('%s', (_, config) => {
  const faultOn = (command: string, how: string): InjectedFault => ({
    call: (node) => node.call(command, { config: gcConfig(config) }),
    how,
    // Of a removal's steps only every third changes something, and SIGKILL is tried at those alone.
    stride: Math.ceil(STRIDE / (how === 'SIGKILL' && command !== 'ADD' ? 3 : 2)),
  })
  const withPod = (): FakeNode => {
    const node = createFakeNode()
    node.call('ADD', { config })
    return node
  }

  it.each([
    [
      'ADD is killed, DEL is killed, DEL',
      createFakeNode,
      faultOn('ADD', 'SIGKILL'),
      faultOn('DEL', 'SIGKILL'),
    ],
    [
      'ADD is killed, ADD is killed, DEL',
      createFakeNode,
      faultOn('ADD', 'SIGKILL'),
      faultOn('ADD', 'SIGKILL'),
    ],
    ['ADD is killed, GC is killed, GC', createFakeNode, faultOn('ADD', 'SIGKILL'), faultOn('GC', 'SIGKILL')],
    ['ADD is killed, DEL is refused, DEL', createFakeNode, faultOn('ADD', 'SIGKILL'), faultOn('DEL', 'EIO')],
    ['DEL is killed, DEL is killed, DEL', withPod, faultOn('DEL', 'SIGKILL'), faultOn('DEL', 'SIGKILL')],
    ['DEL is refused, DEL is killed, DEL', withPod, faultOn('DEL', 'EIO'), faultOn('DEL', 'SIGKILL')],
    ['DEL is killed, GC is killed, GC', withPod, faultOn('DEL', 'SIGKILL'), faultOn('GC', 'SIGKILL')],
    ['GC is refused, GC is killed, GC', withPod, faultOn('GC', 'EIO'), faultOn('GC', 'SIGKILL')],
  ])('%s: nothing is left', (name, prepare, first, second) => {
    const last = name.endsWith('GC') ? 'GC' : 'DEL'
    const pairs = atEachPair(prepare, first, second, (outcome) => {
      expectSuccess(outcome, last, { config: gcConfig(config) })
      expectNothing(outcome)
    })
    expect(pairs).toBeGreaterThan(5)
  })

  it('ADD is killed, ADD is killed, ADD: the attachment is whole', () => {
    atEachPair(createFakeNode, faultOn('ADD', 'SIGKILL'), faultOn('ADD', 'SIGKILL'), (outcome) => {
      const answer = outcome.node.call('ADD', { config })
      // The second was killed after its last word.
      if (answer.json['code'] !== 104) expectWhole(outcome, answer, { config })
      expectSuccess(outcome, 'DEL', { config })
      expectNothing(outcome)
    })
  })

  it.each(['EIO', 'SIGKILL'])('ADD is refused, its rollback meets %s, DEL: nothing is left', (how) => {
    let pairs = 0
    for (let step = 1; step < MAX_STEPS; step += STRIDE) {
      let isOver = false
      for (let more = 1; !isOver; more += 2) {
        const node = createFakeNode()
        node.stopAt(step, 'EIO')
        node.stopAt(step + more, how)
        const answer = node.call('ADD', { config })
        isOver = node.isDue()
        node.revive()
        if (isOver) break
        pairs++
        const subject = { node, where: `EIO at step ${step}, ${how} ${more} steps later, ${node.where()}` }
        if (answer.exitCode === 0) expectWhole(subject, answer, { config })
        expectSuccess(subject, 'DEL', { config })
        expectNothing(subject)
      }
    }
    expect(pairs).toBeGreaterThan(20)
  })
})

/** More than an ADD has. */
const MAX_STEPS = 90
