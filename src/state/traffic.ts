import { describePacketFilter } from '../kernel/describe.ts'
import type { PacketFilter, Qdisc } from '../kernel/kernel.ts'
import type { DesiredPacketFilter, DesiredQdisc } from './desired.ts'
import type { Difference, Step } from './explain.ts'
import { indexIn, type PlaceState } from './observe.ts'
import type { TrafficChange } from './traffic_command.ts'

/* Traffic control: what links do with packets before they send them, or when they have received them. */

export type TrafficObject = DesiredQdisc | DesiredPacketFilter

/** Returns the change that makes an object where there is none. */
export function createTraffic(object: TrafficObject, indexOf: (link: string) => number): TrafficChange {
  const linkIndex = indexOf(object.link)
  if (object.kind === 'qdisc') return { op: 'setQdisc', linkIndex, qdisc: object.qdisc }
  const { redirect, ...filter } = object.filter
  const to = redirect === undefined ? {} : { redirect: indexOf(redirect) }
  return { op: 'addPacketFilter', linkIndex, filter: { ...filter, ...to } }
}

/** Returns whether an object is missing or wrong. A wrong one goes first, as no link has two in its place. */
export function judgeTraffic(
  object: TrafficObject,
  state: PlaceState,
  step: (change: TrafficChange) => Step,
): Difference[] {
  const create = createTraffic(object, (name) => indexIn(state, name))
  const removal =
    'qdisc' in create
      ? judgeQdisc(create, state.qdiscs.get(object.link) ?? [])
      : judgeFilter(create, state.packetFilters.get(object.link) ?? [])
  if (removal === 'right') return []
  const what = `${wordsOf(object)} is ${removal ? 'wrong' : 'missing'}`
  return [{ what, steps: [...(removal ? [removal] : []), create].map(step) }]
}

type Removal = TrafficChange | 'right' | undefined

function judgeQdisc(
  { linkIndex, qdisc }: Extract<TrafficChange, { op: 'setQdisc' | 'removeQdisc' }>,
  all: readonly Qdisc[],
): Removal {
  const present = all.find(({ kind }) => kind === qdisc.kind)
  if (!present) return undefined
  return isSameQdisc(present, qdisc) ? 'right' : { op: 'removeQdisc', linkIndex, qdisc: present }
}

/** The kernel keeps a burst as the time that it takes. */
function isSameQdisc(present: Qdisc, wanted: Qdisc): boolean {
  if (present.kind !== 'tbf' || wanted.kind !== 'tbf') return present.kind === wanted.kind
  const isSameBurst = Math.abs(present.burst - wanted.burst) <= wanted.burst / 100 + wanted.rate / 1e6
  return present.rate === wanted.rate && present.limit === wanted.limit && isSameBurst
}

function judgeFilter(
  { linkIndex, filter }: Extract<TrafficChange, { op: 'addPacketFilter' | 'removePacketFilter' }>,
  all: readonly PacketFilter[],
): Removal {
  const present = all.find(({ direction, order }) => direction === filter.direction && order === filter.order)
  if (!present) return undefined
  const isSame =
    describePacketFilter(present) === describePacketFilter(filter) && present.redirect === filter.redirect
  return isSame ? 'right' : { op: 'removePacketFilter', linkIndex, filter: present }
}

function wordsOf(object: TrafficObject): string {
  const where = `${object.link} ${object.place.words}`
  if (object.kind === 'packetFilter') {
    return `the filter for ${describePacketFilter(object.filter)} of ${where}`
  }
  return object.qdisc.kind === 'tbf'
    ? `the limit of ${object.qdisc.rate * 8} bit/s on what ${where} sends`
    : `the place of filters (clsact) of ${where}`
}
