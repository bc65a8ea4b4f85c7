import fc from 'fast-check'
import type { Phase, Stop } from '../fakes/node.ts'

/*
 * Scripts of what happens to a node: calls of several pods on two networks, and everything that may go wrong. A script is
 * plain data, so that one that fails can be made shorter, printed, and played again.
 */

export const NETWORKS = ['red', 'blue'] as const
export const CONTAINERS = ['c1', 'c2', 'c3'] as const
export const INTERFACES = ['eth0', 'eth1'] as const
/** Ways for two networks to be on one node: see `networkConfigs`. */
export const TOPOLOGIES = ['one bridge', 'two bridges', 'bridge and routed', 'both routed'] as const

export type Topology = (typeof TOPOLOGIES)[number]
export type Network = (typeof NETWORKS)[number]

export type Attachment = {
  readonly network: Network
  readonly container: (typeof CONTAINERS)[number]
  readonly ifName: (typeof INTERFACES)[number]
}

/** One call of the plugin. `ip`: the last byte of an address that is asked for. */
export type Call =
  | ({ readonly verb: 'ADD'; readonly ip?: number } & Attachment)
  | ({ readonly verb: 'DEL' } & Attachment)
  | ({ readonly verb: 'CHECK' } & Attachment)
  | { readonly verb: 'STATUS' | 'GC'; readonly network: Network }

/** What happens at one step of a call. */
export type FaultAtStep = { readonly at: number; readonly phase: Phase; readonly how: Stop }

export type Event =
  | { readonly is: 'call'; readonly call: Call }
  | { readonly is: 'fault'; readonly call: Call; readonly fault: FaultAtStep }
  /** Another process runs from beginning to end before a step of the call. */
  | { readonly is: 'meeting'; readonly call: Call; readonly at: number; readonly other: Call }
  | { readonly is: 'reboot' }
  /** The container's network namespace goes, and a new one takes its name. */
  | { readonly is: 'restart'; readonly container: Attachment['container'] }
  /** Somebody edits a file of the attachment. */
  | ({
      readonly is: 'edit'
      readonly file: 'lease' | 'record' | 'order'
      readonly how: 'empty' | 'remove'
    } & Attachment)

export type Script = { readonly topology: Topology; readonly events: readonly Event[] }

const network = fc.constantFrom(...NETWORKS)
const attachment = fc.record({
  network,
  container: fc.constantFrom(...CONTAINERS),
  ifName: fc.constantFrom(...INTERFACES),
})

const add = fc
  .tuple(attachment, fc.option(fc.integer({ min: 2, max: 7 }), { nil: undefined, freq: 4 }))
  .map(([one, ip]): Call => ({ verb: 'ADD', ...one, ...(ip !== undefined && { ip }) }))
const del = attachment.map((one): Call => ({ verb: 'DEL', ...one }))
const gc = network.map((one): Call => ({ verb: 'GC', network: one }))
const change = fc.oneof(
  { weight: 6, arbitrary: add },
  { weight: 3, arbitrary: del },
  { weight: 1, arbitrary: gc },
)
const look = fc.oneof(
  attachment.map((one): Call => ({ verb: 'CHECK', ...one })),
  network.map((one): Call => ({ verb: 'STATUS', network: one })),
)

/** More steps than a call has, so that some of the faults never come. */
const at = fc.integer({ min: 1, max: 90 })
const fault = fc.record({
  at,
  phase: fc.constantFrom<Phase>('before', 'midway', 'after'),
  how: fc.oneof(
    { weight: 2, arbitrary: fc.constant<Stop>('SIGKILL') },
    { weight: 1, arbitrary: fc.constantFrom<Stop>('ENOSPC', 'EIO', 'EPERM', 'ENOBUFS') },
  ),
})

const event: fc.Arbitrary<Event> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .oneof({ weight: 5, arbitrary: change }, { weight: 1, arbitrary: look })
      .map((call): Event => ({ is: 'call', call })),
  },
  { weight: 5, arbitrary: fc.record({ is: fc.constant('fault' as const), call: change, fault }) },
  {
    weight: 2,
    arbitrary: fc.record({
      is: fc.constant('meeting' as const),
      call: change,
      at,
      other: fc.oneof(change, look),
    }),
  },
  { weight: 1, arbitrary: fc.constant<Event>({ is: 'reboot' }) },
  {
    weight: 1,
    arbitrary: fc.record({ is: fc.constant('restart' as const), container: fc.constantFrom(...CONTAINERS) }),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(
        attachment,
        fc.constantFrom('lease' as const, 'record' as const, 'order' as const),
        fc.constantFrom('empty' as const, 'remove' as const),
      )
      .map(([one, file, how]): Event => ({ is: 'edit', file, how, ...one })),
  },
)

/** Scripts of up to `maxEvents` events. */
export function scripts(maxEvents: number): fc.Arbitrary<Script> {
  return fc.record({
    topology: fc.constantFrom(...TOPOLOGIES),
    events: fc.array(event, { maxLength: maxEvents }),
  })
}

/** A script for people, one line an event. */
export function describeScript({ topology, events }: Script): string {
  const lines = events.map((one, i) => `${String(i + 1).padStart(4)}. ${describeEvent(one)}`)
  return [`two networks, ${topology}:`, ...lines].join('\n')
}

function describeEvent(one: Event): string {
  switch (one.is) {
    case 'call':
      return describeCall(one.call)
    case 'fault': {
      const { at: step, phase, how } = one.fault
      return `${describeCall(one.call)}, ${how} ${phase} its step ${step}`
    }
    case 'meeting':
      return `${describeCall(one.call)}, and before its step ${one.at}: ${describeCall(one.other)}`
    case 'reboot':
      return 'the node reboots'
    case 'restart':
      return `the namespace of ${one.container} is made anew`
    case 'edit':
      return `somebody edits files: ${one.how} the ${one.file} of ${one.network} ${one.container} ${one.ifName}`
  }
}

export function describeCall(call: Call): string {
  if (!('container' in call)) return `${call.verb} ${call.network}`
  const ip = call.verb === 'ADD' && call.ip !== undefined ? ` with address .${call.ip}` : ''
  return `${call.verb} ${call.network} ${call.container} ${call.ifName}${ip}`
}
