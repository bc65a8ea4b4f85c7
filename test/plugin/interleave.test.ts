import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { deriveNames } from '../../src/core/names.ts'
import {
  createFakeNode,
  type FakeAnswer,
  type FakeCall,
  type FakeNode,
  L2,
  L3,
  NETNS,
  NETNS_2,
} from '../fakes/node.ts'
import { gcConfig } from '../support/fault_scenarios.ts'
import { stateOf } from '../support/fault_sweep.ts'
import {
  addressesOf,
  expectNothing,
  expectSuccess,
  expectWhole,
  type Subject,
} from '../support/node_expectations.ts'

/*
 * Two processes at once: at every step of one call another one runs from its beginning to its end. What the first holds
 * locked the second finds locked; it then says "try again later" and is called again when the first is over. Nobody may lose
 * anything by the other, and in the end nothing is left.
 */

type Pod = Required<Pick<FakeCall, 'containerId' | 'ifName' | 'netns'>> & { readonly config: object }
type Act = {
  readonly command: string
  readonly pod: Pod
  /** For GC. */
  readonly valid?: readonly Pod[]
  /** The disk refuses its last step. */
  readonly fails?: boolean
}
/** The answers of the ADDs by pod. */
type Added = Map<Pod, FakeAnswer>

type Encounter = {
  readonly there?: readonly Pod[]
  readonly acts: readonly [Act, Act]
  /** Who must be whole in the end. */
  readonly live: readonly Pod[]
  /** Who must be whole or gone. */
  readonly wholeOrGone?: readonly Pod[]
}

const MAX_STEPS = 600

const SAME = [
  'ADD and ADD',
  'ADD and ADD of one container',
  'DEL and DEL',
  'DEL and DEL of the same',
  'GC and GC',
]

/** On a bridge pods share more than in mode l3 as they come, and as an ADD that fails goes. */
const ON_A_BRIDGE = /^(ADD and (ADD|DEL|ADD on|DEL on|a GC)|an ADD that fails and (ADD|DEL)$)/

describe.each([
  ['l3', L3],
  ['l2 with a VLAN, whose bridge is missing', { ...L2, vlan: 100 }],
])('%s', (_, config) => {
  const one: Pod = { containerId: 'c1', ifName: 'eth0', netns: NETNS, config }
  const another: Pod = { ...one, ifName: 'eth1' }
  const two: Pod = { containerId: 'c2', ifName: 'eth0', netns: NETNS_2, config }
  const stale: Pod = { ...two, containerId: 'c3', ifName: 'eth3' }
  const range = [[{ subnet: '10.2.0.0/24', gateway: '10.2.0.1' }]]
  const other: Pod = {
    ...two,
    config: {
      ...config,
      name: 'other',
      forceAddress: false,
      isGateway: false,
      ipam: { ...L3.ipam, ranges: range, routes: [] },
    },
  }
  /** A pod of another network with a part of the same subnets. */
  const sharing: Pod = {
    ...other,
    config: {
      ...other.config,
      ipam: {
        ...L3.ipam,
        ranges: [
          [{ subnet: '10.1.0.0/24', rangeStart: '10.1.0.200' }],
          [{ subnet: 'fd00:1::/64', rangeStart: 'fd00:1::200' }],
        ],
        routes: [],
      },
    },
  }
  const plain: Pod = { ...one, config: { ...config, ipMasq: false } }
  const add = (pod: Pod): Act => ({ command: 'ADD', pod })
  const del = (pod: Pod): Act => ({ command: 'DEL', pod })
  const check = (pod: Pod): Act => ({ command: 'CHECK', pod })
  const gc = (...valid: Pod[]): Act => ({ command: 'GC', pod: one, valid })

  const encounters: [string, Encounter][] = [
    ['ADD and ADD', { acts: [add(one), add(two)], live: [one, two] }],
    ['ADD and ADD of one container', { acts: [add(one), add(another)], live: [one, another] }],
    [
      'ADD and ADD on another network of the same bridge',
      { acts: [add(one), add(other)], live: [one, other] },
    ],
    ['ADD and DEL', { there: [two], acts: [add(one), del(two)], live: [one] }],
    ['ADD and DEL on another network', { there: [other], acts: [add(one), del(other)], live: [one] }],
    [
      'ADD and the last DEL of a network with the same subnet',
      { there: [sharing], acts: [add(one), del(sharing)], live: [one] },
    ],
    [
      'ADD and a GC of a network with the same subnet',
      { there: [sharing], acts: [add(one), { ...gc(), pod: sharing }], live: [one] },
    ],
    [
      'an ADD that fails and ADD on a network with the same subnet',
      { acts: [{ ...add(one), fails: true }, add(sharing)], live: [sharing] },
    ],
    [
      'ADD and an ADD without masquerading',
      { there: [sharing], acts: [add(plain), del(sharing)], live: [plain] },
    ],
    ['ADD and DEL of one container', { there: [another], acts: [add(one), del(another)], live: [one] }],
    ['an ADD that fails and ADD', { acts: [{ ...add(one), fails: true }, add(two)], live: [two] }],
    ['an ADD that fails and DEL', { there: [two], acts: [{ ...add(one), fails: true }, del(two)], live: [] }],
    ['ADD and CHECK', { there: [two], acts: [add(one), check(two)], live: [one, two] }],
    ['ADD and STATUS', { acts: [add(one), { command: 'STATUS', pod: two }], live: [one] }],
    [
      'ADD and a GC that knows of it',
      { there: [two, stale], acts: [add(one), gc(one, two)], live: [one, two] },
    ],
    [
      'ADD and a GC that does not',
      { there: [two, stale], acts: [add(one), gc(two)], live: [two], wholeOrGone: [one] },
    ],
    ['DEL and DEL', { there: [one, two], acts: [del(one), del(two)], live: [] }],
    ['DEL and DEL of the same', { there: [one], acts: [del(one), del(one)], live: [] }],
    ['DEL and CHECK', { there: [one, two], acts: [del(one), check(two)], live: [two] }],
    ['DEL and GC', { there: [one, two, stale], acts: [del(one), gc(two)], live: [two] }],
    ['GC and GC', { there: [one, two, stale], acts: [gc(two), gc(two)], live: [two] }],
  ]

  const chosen = encounters.filter(([name]) => config.mode === 'l3' || ON_A_BRIDGE.test(name))
  describe.each(chosen)('%s', (name, { there = [], acts: [first, second], live, wholeOrGone = [] }) => {
    it.each([
      ['the second within the first', first, second],
      // Two acts that differ by nothing, or by the name of the pod, meet in one order only.
      ...(SAME.includes(name) ? [] : [['the first within the second', second, first] as const]),
    ] as const)('%s', (_order, outer, inner) => {
      const meetings = atEachMeeting(there, outer, inner, (subject, added) => {
        const lives = [...added].filter(([pod]) => live.includes(pod))
        expect(lives.length, subject.where).toBe(live.length)
        for (const [pod, answer] of lives) expectWhole(subject, answer, pod)
        for (const pod of wholeOrGone) {
          const answer = added.get(pod)
          if (answer && !isGone(subject.node, pod)) expectWhole(subject, answer, pod)
        }
        const addresses = lives.flatMap(([, answer]) => addressesOf(answer))
        expect(new Set(addresses).size, subject.where).toBe(addresses.length)
        for (const pod of new Set([...there, first.pod, second.pod])) expectSuccess(subject, 'DEL', pod)
        expectNothing(subject)
      })
      expect(meetings).toBeGreaterThan(4)
    })
  })
})

/**
 * Lets `inner` run as a whole before each step of `outer`, on a fresh node each time; then calls again who was told to.
 * Verifies each outcome that differs from those before.
 */
function atEachMeeting(
  there: readonly Pod[],
  outer: Act,
  inner: Act,
  verify: (subject: Subject, added: Added) => void,
): number {
  const seen = new Set<string>()
  for (let step = 1; step < MAX_STEPS; step++) {
    const node = createFakeNode()
    const added: Added = new Map()
    for (const pod of there) added.set(pod, node.call('ADD', pod))
    for (const { pod } of [outer, inner].filter(({ fails }) => fails)) node.refuse(lastStepOf(pod), 'EIO')
    let answer: FakeAnswer | undefined
    node.interruptAt(step, () => {
      answer = perform(node, inner, added)
    })
    const outerAnswer = perform(node, outer, added)
    if (!answer) return step - 1
    const subject = { node, where: `${inner.command} ${node.where()} of ${outer.command}` }
    settle(subject, inner, answer, added)
    settle(subject, outer, outerAnswer, added)
    const outcome = JSON.stringify([stateOf(node), [...added]])
    if (!seen.has(outcome)) verify(subject, added)
    seen.add(outcome)
  }
  throw new Error(`the call has more than ${MAX_STEPS} steps`)
}

function perform(node: FakeNode, { command, pod, valid = [] }: Act, added: Added): FakeAnswer {
  const previous = command === 'CHECK' ? { prevResult: added.get(pod)?.json } : {}
  const answer = node.call(command, { ...pod, config: { ...gcConfig(pod.config, ...valid), ...previous } })
  if (command === 'ADD' && answer.exitCode === 0) added.set(pod, answer)
  return answer
}

/** Whoever found something locked is called once more; all others must have succeeded. */
function settle(subject: Subject, act: Act, first: FakeAnswer, added: Added): void {
  const answer = first.json['code'] === Code.tryLater ? perform(subject.node, act, added) : first
  const outcome = act.fails ? { json: { code: Code.internal } } : { exitCode: 0 }
  expect(answer, `${subject.where}; ${act.command} of ${act.pod.containerId}`).toMatchObject(outcome)
}

function isGone(node: FakeNode, { containerId, ifName }: Pod): boolean {
  const { key, hostIfName } = deriveNames({ network: 'net', containerId, ifName })
  return !node.residue().some((left) => left.includes(key) || left.includes(hostIfName))
}

/** The word that makes the record complete. */
function lastStepOf({ containerId, ifName }: Pod): RegExp {
  return new RegExp(`^writeAt .*/${deriveNames({ network: 'net', containerId, ifName }).key}$`)
}
