import { describe, expect, it } from 'vitest'
import { createFakeNode, type FakeNode, L2_FULL, L3, NETNS_2 } from '../fakes/node.ts'
import { gcConfig, NEIGHBOUR, SITUATIONS } from '../support/fault_modes.ts'
import { atEachStep, KILLS, type Outcome } from '../support/fault_sweep.ts'
import { expectNothing, expectSuccess, expectWhole } from '../support/node_expectations.ts'

/*
 * A call dies or fails on a node that is not empty: other pods keep what they have, be they there before or come since,
 * and what an earlier boot has left goes.
 */

const MODES = { l3: L3, 'l2 with all keys': L2_FULL }
/** After a power cut an ADD that fails may have freed what the boot before has left: that is no harm. */
const QUIET = Object.entries(SITUATIONS).filter(([name]) => !name.includes('power cut'))
const LATER = { containerId: 'c4', netns: NETNS_2, ifName: 'eth4' }

describe.each(Object.entries(MODES))('%s', (_, config) => {
  const gc = { config: gcConfig(config, NEIGHBOUR) }

  describe.each(Object.entries(SITUATIONS))('on %s', (_situation, prepare) => {
    it.each(['DEL', 'GC'])('an ADD killed at any step is undone by %s, and nothing else', (recovery) => {
      const whole = wholeNeighbour(prepare(config), config)
      atEachStep(
        () => prepare(config),
        (node) => node.call('ADD', { config }),
        KILLS,
        (struck) => {
          expectSuccess(struck, recovery, recovery === 'GC' ? gc : { config })
          if (whole) expectWhole(struck, whole, { config, ...NEIGHBOUR })
          expectEmptyAfterAll(struck, config)
        },
      )
    })
  })

  describe.each(QUIET)('on %s', (_situation, prepare) => {
    it('an ADD refused at any step leaves the node as it was', () => {
      const before = prepare(config).snapshot()
      const add = (node: FakeNode) => node.call('ADD', { config })
      atEachStep(
        () => prepare(config),
        add,
        { how: 'EIO', phases: ['before', 'after'] },
        (struck) => {
          if (struck.answer.exitCode !== 0) expect(struck.node.snapshot(), struck.where).toEqual(before)
        },
      )
    })
  })

  it('the DEL of an ADD killed at any step harms nobody who has come since', () => {
    const add = (node: FakeNode) => node.call('ADD', { config })
    atEachStep(createFakeNode, add, KILLS, (struck) => {
      const later = expectSuccess(struck, 'ADD', { config, ...LATER })
      expectSuccess(struck, 'DEL', { config })
      expectWhole(struck, later, { config, ...LATER })
      expectEmptyAfterAll(struck, config)
    })
  })

  it('the second DEL, after one that failed at any step, harms nobody who has come since', () => {
    const single = { ...config, ipam: { ...config.ipam, ranges: ONE_ADDRESS } }
    const withPod = (): FakeNode => {
      const node = createFakeNode()
      node.call('ADD', { config: single })
      return node
    }
    const del = (node: FakeNode) => node.call('DEL', { config: single })
    let meetings = 0
    atEachStep(withPod, del, { how: 'EIO', phases: ['before', 'after'] }, (struck) => {
      const later = struck.node.call('ADD', { config: single, ...LATER })
      if (later.exitCode === 0) meetings++
      expectSuccess(struck, 'DEL', { config: single })
      if (later.exitCode === 0) expectWhole(struck, later, { config: single, ...LATER })
      expectEmptyAfterAll(struck, single)
    })
    expect(meetings).toBeGreaterThan(3)
  })
})

/** The next pod gets the address of the last one. */
const ONE_ADDRESS = [[{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.7', rangeEnd: '10.1.0.7' }]]

/** What the ADD of the neighbour has answered, if there is one. */
function wholeNeighbour(node: FakeNode, config: object) {
  const again = node.call('ADD', { config, ...NEIGHBOUR })
  if (again.json['code'] !== 104) return undefined
  return createFakeNode().call('ADD', { config, ...NEIGHBOUR })
}

function expectEmptyAfterAll(struck: Outcome, config: object): void {
  for (const pod of [{}, NEIGHBOUR, LATER]) expectSuccess(struck, 'DEL', { config, ...pod })
  expectSuccess(struck, 'GC', { config: gcConfig(config) })
  expectNothing(struck)
}
