import { describe, expect, it } from 'vitest'
import { createFakeNode, type FakeNode } from '../fakes/node.ts'
import { gcConfig, MODES } from '../support/fault_modes.ts'
import { atEachStep, KILLS, type Outcome } from '../support/fault_sweep.ts'
import {
  addressesOf,
  expectNothing,
  expectSuccess,
  expectWhole,
  heldAddresses,
} from '../support/node_expectations.ts'

/*
 * SIGKILL before, in the middle of and after every step of the kernel, the disk and a delegated plugin; then what a
 * runtime, or a reboot, does next. Whatever that is, all that is left in the end is compared with nothing.
 */

describe.each(Object.entries(MODES))('%s: ADD killed at any step', (_, config) => {
  const afterKill = (verify: (struck: Outcome) => void) =>
    atEachStep(createFakeNode, (node) => node.call('ADD', { config }), KILLS, verify)

  it('is undone by DEL', () => {
    const kills = afterKill((struck) => {
      expectSuccess(struck, 'DEL', { config })
      expectNothing(struck)
    })
    expect(kills).toBeGreaterThan(12)
  })

  it('is taken over by the next ADD, which gives the same addresses', () => {
    const whole = createFakeNode().call('ADD', { config })
    afterKill((struck) => {
      const held = heldAddresses(struck.node)
      const again = struck.node.call('ADD', { config })
      // Killed after the last word was written: the attachment is whole, and a second ADD rightly says so.
      if (again.json['code'] === 104) expectWhole(struck, whole, { config })
      else {
        expect(again, struck.where).toMatchObject({ exitCode: 0 })
        expect(addressesOf(again), struck.where).toEqual(expect.arrayContaining(held))
        expectWhole(struck, again, { config })
      }
      expectSuccess(struck, 'DEL', { config })
      expectNothing(struck)
    })
  })

  it('is undone by a GC that knows of no attachment', () => {
    afterKill((struck) => {
      expectSuccess(struck, 'GC', { config: gcConfig(config) })
      expectNothing(struck)
    })
  })

  it('and by power loss: is undone by GC', () => {
    afterKill((struck) => {
      struck.node.reboot()
      expectSuccess(struck, 'GC', { config: gcConfig(config) })
      expectNothing(struck)
    })
  })

  it('and by power loss: leaves a node that is ready, on which ADD and DEL work', () => {
    afterKill((struck) => {
      struck.node.reboot()
      expectSuccess(struck, 'STATUS', { config })
      expectWhole(struck, expectSuccess(struck, 'ADD', { config }), { config })
      expectSuccess(struck, 'DEL', { config })
      expectNothing(struck)
    })
  })
})

describe.each(Object.entries(MODES))('%s', (_, config) => {
  const withPod = (): FakeNode => {
    const node = createFakeNode()
    node.call('ADD', { config })
    return node
  }
  const afterKill = (command: string, verify: (struck: Outcome) => void) =>
    atEachStep(withPod, (node) => node.call(command, { config: gcConfig(config) }), KILLS, verify)

  describe.each(['DEL', 'GC'])('%s killed at any step', (command) => {
    it.each(['DEL', 'GC'])('is finished by %s', (next) => {
      const kills = afterKill(command, (struck) => {
        expectSuccess(struck, next, { config: gcConfig(config) })
        expectNothing(struck)
      })
      expect(kills).toBeGreaterThan(2)
    })

    it('and by power loss: is finished by GC', () => {
      afterKill(command, (struck) => {
        struck.node.reboot()
        expectSuccess(struck, 'GC', { config: gcConfig(config) })
        expectNothing(struck)
      })
    })

    it('makes way for an ADD, unless the interface is there as yet', () => {
      afterKill(command, (struck) => {
        const again = struck.node.call('ADD', { config })
        if (again.json['code'] === 104) expect(struck.node.residue(), struck.where).toContainEqual(LINK)
        else {
          expect(again, struck.where).toMatchObject({ exitCode: 0 })
          expectWhole(struck, again, { config })
        }
        expectSuccess(struck, 'DEL', { config })
        expectNothing(struck)
      })
    })
  })
})

const LINK = expect.stringMatching(/^link veth/)
