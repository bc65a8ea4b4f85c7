import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { DEFAULT_PATHS } from '../../src/plugin/ports.ts'
import {
  createFakeNode,
  type FakeCall,
  type FakeNode,
  L2_FULL,
  L3,
  NETNS_2,
  type Phase,
} from '../fakes/node.ts'
import {
  EMPTY_NODE,
  type FaultScenario,
  gcConfig,
  NEIGHBOUR,
  ONE_ADDRESS,
  prepare,
  USED_NODE,
} from '../support/fault_scenarios.ts'
import { atEachStep, type Fault, KILLS, type Outcome } from '../support/fault_sweep.ts'
import {
  addressesHeldBy,
  addressesOf,
  expectNothing,
  expectSuccess,
  expectWhole,
} from '../support/node_expectations.ts'

/*
 * A call is killed, or meets an errno, at every step of the kernel, the disk and a delegated plugin; then a runtime, or a
 * reboot, does what it does. All that is left in the end is compared with nothing. What the real binary does when its
 * system calls fail is proved on the real kernel; here are the states and sequences that take thousands of runs.
 */

const COMMANDS = ['ADD', 'DEL', 'GC'] as const
type Command = (typeof COMMANDS)[number]

/** The node before the call that is disturbed: what is to be removed must be there. */
function before(scenario: FaultScenario, command: Command): () => FakeNode {
  return () => {
    const node = prepare(scenario)
    if (command !== 'ADD') node.call('ADD', scenario.call)
    return node
  }
}

function callOf(command: string, { call, others = [] }: FaultScenario): FakeCall {
  return command === 'GC' ? { ...call, config: gcConfig(call.config, ...others) } : call
}

function disturb(
  scenario: FaultScenario,
  command: Command,
  fault: Fault,
  verify: (outcome: Outcome) => void,
  stride = 1,
): number {
  const call = callOf(command, scenario)
  return atEachStep(before(scenario, command), (node) => node.call(command, call), fault, verify, stride)
}

/** What must be true once the call's own attachment is removed. */
function createVerifier(scenario: FaultScenario): (outcome: Outcome) => void {
  const { call, makeNode = createFakeNode, others = [] } = scenario
  const residue = prepare(scenario).residue()
  const node = makeNode()
  const answers = others.map((other) => ({ other, answer: node.call('ADD', other) }))
  return (outcome) => {
    expect(residue, outcome.where).toEqual(expect.arrayContaining(outcome.node.residue()))
    for (const { other, answer } of answers) expectWhole(outcome, answer, { config: {}, ...other })
    expectSuccess(outcome, 'GC', { ...call, config: gcConfig(call.config) })
    expect(makeNode().residue(), outcome.where).toEqual(expect.arrayContaining(outcome.node.residue()))
  }
}

describe.each([...EMPTY_NODE, ...USED_NODE])('$what', (scenario) => {
  const { call, history, makeNode } = scenario
  const verifyRemoved = createVerifier(scenario)
  // What a node has behind it makes a difference to an ADD only.
  const commands = history || makeNode ? COMMANDS.slice(0, 1) : COMMANDS

  describe.each(commands)('%s killed at any step', (command) => {
    it.each(['DEL', 'GC'])('is cleared away by %s', (recovery) => {
      const kills = disturb(scenario, command, KILLS, (outcome) => {
        expectSuccess(outcome, recovery, callOf(recovery, scenario))
        verifyRemoved(outcome)
      })
      expect(kills).toBeGreaterThan(command === 'ADD' ? 8 : 2)
    })

    it('makes way for an ADD, which gives the addresses of the killed one', () => {
      const whole = before(scenario, 'ADD')().call('ADD', call)
      disturb(scenario, command, KILLS, (outcome) => {
        const held = addressesHeldBy(outcome.node, 'c1')
        const again = outcome.node.call('ADD', call)
        // Killed after its last write, or before its first removal: the attachment is there, and ADD says so.
        const isThere = [Code.interfaceExists, Code.addressInUse].some((code) => code === again.json['code'])
        if (!isThere) expect(again, outcome.where).toMatchObject({ exitCode: 0 })
        if (!isThere || command === 'ADD') expectWhole(outcome, isThere ? whole : again, call)
        if (!isThere && command === 'ADD' && !history)
          expect(addressesOf(again), outcome.where).toEqual(expect.arrayContaining(held))
        expectSuccess(outcome, 'DEL', call)
        verifyRemoved(outcome)
      })
    })
  })
})

describe.each([...EMPTY_NODE, ...USED_NODE].filter(({ history }) => !history))('$what', (scenario) => {
  it('ADD that meets EIO at any step is whole, or has changed nothing', () => {
    expectAllOrNothing(scenario, 'EIO')
  })
})

/** Those that the code knows. EIO stands for all that it does not. */
const ERRNOS = ['EEXIST', 'ENOENT', 'EBUSY', 'ENODEV', 'ENOSPC', 'EROFS']
const PHASES: readonly Phase[] = ['before', 'midway', 'after']
/** To a removal these say that there is nothing to remove, or that others need it: the kernel does not lie about that. */
const GONE = ['ENODEV', 'ENOENT', 'EBUSY']

describe.each(EMPTY_NODE)('$what', (scenario) => {
  const errnos = scenario.what === 'l3' ? ERRNOS : ERRNOS.slice(0, 1)

  it.each(errnos)('ADD that meets %s at any step is whole, or has changed nothing', (how) => {
    expectAllOrNothing(scenario, how)
  })

  describe.each(['DEL', 'GC'] as const)('%s', (command) => {
    it.each(['EIO', ...errnos.slice(0, 4)])(
      'that meets %s at any step tells, or has done all; the next one does the rest',
      (how) => {
        const phases = GONE.includes(how) ? PHASES.slice(2) : PHASES
        disturb(scenario, command, { how, phases }, (outcome) => {
          if (outcome.answer.exitCode === 0) expectNothing(outcome)
          expectSuccess(outcome, command, callOf(command, scenario))
          expectNothing(outcome)
        })
      },
    )
  })

  it('DEL that cannot remove one thing removes all others, but for the addresses of a link that stays', () => {
    const hasAddresses = scenario.what !== 'l2, no addresses'
    disturb(
      scenario,
      'DEL',
      { how: 'EIO', phases: ['before'], everyStep: true },
      ({ node, answer, where }) => {
        if (answer.exitCode === 0 || !REMOVAL.test(where)) return
        const left = {
          link: node.residue().some((one) => one.startsWith('link veth')),
          addresses: addressesHeldBy(node, 'c1').length + node.delegate.leases.size > 0,
        }
        // Nobody may get the addresses while the link has them.
        expect(left, where).toEqual(left.link ? { link: true, addresses: hasAddresses } : left)
      },
    )
  })
})

const REMOVAL = /remove link|remove \S*\/networks\/|strict-ipam/

function expectAllOrNothing(scenario: FaultScenario, how: string): void {
  const unchanged = prepare(scenario).snapshot()
  const verifyRemoved = createVerifier(scenario)
  let failed = 0
  disturb(scenario, 'ADD', { how, phases: PHASES }, (outcome) => {
    if (outcome.answer.exitCode !== 0) {
      failed++
      expect(outcome.node.snapshot(), outcome.where).toEqual(unchanged)
    } else {
      expectWhole(outcome, outcome.answer, scenario.call)
      expectSuccess(outcome, 'DEL', scenario.call)
      verifyRemoved(outcome)
    }
  })
  expect(failed).toBeGreaterThan(0)
}

/** Nothing is written through to the disk (fsync), so a power failure may leave any file of the last calls like this. */
const TEARS: Record<string, (files: FakeNode['files'], path: string) => void> = {
  whole: () => {},
  empty: (files, path) => files.replace(path, ''),
  'cut short': (files, path) => files.replace(path, (files.read(path) ?? '').slice(0, 9)),
  'full of zeros': (files, path) => files.replace(path, '\0'.repeat((files.read(path) ?? '').length)),
  missing: (files, path) => void files.remove(path),
}

describe.each(EMPTY_NODE)('$what: a power cut', ({ what, call }) => {
  const tears = Object.entries(TEARS).slice(0, what === 'l3' ? undefined : 1)
  const gone = { ...call, containerId: 'gone' }
  const history = (node: FakeNode) => {
    for (const command of ['ADD', 'DEL']) node.call(command, gone)
  }
  const scenario = { what, call, history }

  describe.each(tears)('that leaves a file %s', (how, tear) => {
    /** Damages one file on each node: the files take turns. */
    const eachTorn = (command: Command, verify: (outcome: Outcome) => void): void => {
      const fault = { ...KILLS, everyStep: how !== 'whole' }
      let turn = 0
      disturb(
        scenario,
        command,
        fault,
        ({ node, answer, where }) => {
          const paths = Object.keys(node.files.dump()).filter((path) => !path.endsWith('/'))
          const path = paths[turn++ % paths.length] ?? ''
          // What was made later reaches the disk later: without its record there is no lease.
          if (how === 'missing' && path.includes('/bowline/net/')) removeLeases(node)
          tear(node.files, path)
          node.reboot()
          verify({ node, answer, where: `${where}; torn: ${path}` })
        },
        how === 'whole' ? 1 : 2,
      )
    }

    it.each(how === 'whole' ? COMMANDS : (['ADD'] as const))(
      'at any step of %s leaves nothing that GC does not remove',
      (command) => {
        eachTorn(command, (outcome) => {
          expectSuccess(outcome, 'GC', { ...call, config: gcConfig(call.config) })
          expectNothing(outcome)
        })
      },
    )

    it('at any step of ADD leaves a node that is ready, on which ADD and DEL work', () => {
      eachTorn('ADD', (outcome) => {
        expectSuccess(outcome, 'STATUS', call)
        expectWhole(outcome, expectSuccess(outcome, 'ADD', call), call)
        expectSuccess(outcome, 'DEL', call)
        expectSuccess(outcome, 'GC', { ...call, config: gcConfig(call.config) })
        expectNothing(outcome)
      })
    })
  })
})

function removeLeases(node: FakeNode): void {
  for (const address of addressesHeldBy(node, 'c1'))
    node.files.remove(`${DEFAULT_PATHS.dataDir}/net/${address}`)
}

const LATER = { containerId: 'c4', netns: NETNS_2, ifName: 'eth4' }

describe.each(Object.entries({ l3: L3, 'l2 with all keys': L2_FULL }))('%s', (what, config) => {
  it('the DEL of an ADD killed at any step harms nobody who has come since', () => {
    disturb({ what, call: { config } }, 'ADD', KILLS, (outcome) => {
      const later = expectSuccess(outcome, 'ADD', { config, ...LATER })
      expectSuccess(outcome, 'DEL', { config })
      expectWhole(outcome, later, { config, ...LATER })
      expectSuccess(outcome, 'DEL', { config, ...LATER })
      expectNothing(outcome)
    })
  })

  it('the second DEL, after one that failed at any step, harms nobody who has got its address since', () => {
    const single = { ...config, ipam: ONE_ADDRESS }
    let meetings = 0
    const fault: Fault = { how: 'EIO', phases: ['before', 'after'] }
    disturb({ what, call: { config: single } }, 'DEL', fault, (outcome) => {
      const later = outcome.node.call('ADD', { config: single, ...LATER })
      if (later.exitCode === 0) meetings++
      expectSuccess(outcome, 'DEL', { config: single })
      if (later.exitCode === 0) expectWhole(outcome, later, { config: single, ...LATER })
      for (const pod of [LATER, NEIGHBOUR]) expectSuccess(outcome, 'DEL', { config: single, ...pod })
      expectNothing(outcome)
    })
    expect(meetings).toBeGreaterThan(3)
  })
})
