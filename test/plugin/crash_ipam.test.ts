import { describe, expect, it } from 'vitest'
import { createFakeNode, type FakeAnswer, type FakeCall, type FakeNode } from '../fakes/node.ts'
import { gcConfig } from '../support/fault_modes.ts'
import { atEachStep, KILLS, type Outcome } from '../support/fault_sweep.ts'
import { addressesOf, expectNothing, expectSuccess, heldAddresses } from '../support/node_expectations.ts'

/*
 * The same store as an IPAM plugin of its own, under a plugin that makes the interface: killed and refused at every step.
 */

const CONFIG = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'macvlan',
  mode: 'bridge',
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]] },
}
const call: FakeCall = { config: CONFIG, calledAs: 'bowline-ipam' }
const gc: FakeCall = { ...call, config: gcConfig(CONFIG) }

const add = (node: FakeNode): FakeAnswer => node.call('ADD', call)
const withPod = (): FakeNode => {
  const node = createFakeNode()
  add(node)
  return node
}

describe('bowline-ipam, its ADD killed at any step', () => {
  const afterKill = (verify: (struck: Outcome) => void) => atEachStep(createFakeNode, add, KILLS, verify)

  it.each(['DEL', 'GC'])('is undone by %s', (command) => {
    const kills = afterKill((struck) => {
      expectSuccess(struck, command, command === 'GC' ? gc : call)
      expectNothing(struck)
    })
    expect(kills).toBeGreaterThan(8)
  })

  it('can be called again once a DEL has been in between, and holds what it gives', () => {
    afterKill((struck) => {
      expectSuccess(struck, 'DEL', call)
      const answer = expectSuccess(struck, 'ADD', call)
      expect(heldAddresses(struck.node).toSorted(), struck.where).toEqual(addressesOf(answer).toSorted())
      expectSuccess(struck, 'CHECK', call)
    })
  })

  it('and by power loss: is undone by GC, or made way for by the next ADD', () => {
    afterKill((struck) => {
      struck.node.reboot()
      expectSuccess(struck, 'ADD', call)
      expectSuccess(struck, 'DEL', call)
      expectSuccess(struck, 'GC', gc)
      expectNothing(struck)
    })
  })
})

describe('bowline-ipam', () => {
  it.each(['DEL', 'GC'])('%s killed at any step is finished by DEL', (command) => {
    atEachStep(
      withPod,
      (node) => node.call(command, gc),
      KILLS,
      (struck) => {
        expectSuccess(struck, 'DEL', call)
        expectNothing(struck)
      },
    )
  })

  it.each(['ENOSPC', 'EIO', 'EROFS', 'EEXIST', 'ENOENT'])(
    'ADD that meets %s at any step is whole, or has changed nothing',
    (how) => {
      const before = createFakeNode().snapshot()
      atEachStep(createFakeNode, add, { how, phases: ['before', 'midway'] }, (struck) => {
        if (struck.answer.exitCode === 0) expectSuccess(struck, 'CHECK', call)
        else expect(struck.node.snapshot(), struck.where).toEqual(before)
      })
    },
  )
})
