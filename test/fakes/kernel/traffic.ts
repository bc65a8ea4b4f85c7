import type { Change, PacketFilter, Qdisc } from '../../../src/kernel/kernel.ts'
import { type FakeLink, type Namespace, requireLink } from './state.ts'
import { refusal } from './steps.ts'

type Of<Op extends Change['op']> = Extract<Change, { op: Op }>

/** What is set on each link. It goes with the link. */
const TRAFFIC = new WeakMap<FakeLink, { qdiscs: Qdisc[]; filters: PacketFilter[] }>()

export function trafficOf(link: FakeLink | undefined): { qdiscs: Qdisc[]; filters: PacketFilter[] } {
  const none = { qdiscs: [], filters: [] }
  if (!link) return none
  const known = TRAFFIC.get(link) ?? none
  TRAFFIC.set(link, known)
  return known
}

/** Refusals: ENODEV, EEXIST where there is one of the kind, ENOENT for the removal of one that is not there. */
export function changeQdisc(
  namespace: Namespace,
  { op, linkIndex, qdisc }: Of<'setQdisc' | 'removeQdisc'>,
): void {
  const traffic = trafficOf(requireLink(namespace, { index: linkIndex }))
  const rest = traffic.qdiscs.filter(({ kind }) => kind !== qdisc.kind)
  const isThere = rest.length < traffic.qdiscs.length
  if (op === 'setQdisc' && isThere) throw refusal('EEXIST')
  if (op === 'removeQdisc' && !isThere) throw refusal('ENOENT')
  traffic.qdiscs = op === 'setQdisc' ? [...rest, qdisc] : rest
  if (op === 'removeQdisc' && qdisc.kind === 'clsact') traffic.filters = []
}

/** Refusals: ENODEV, EINVAL without `clsact`, ENOENT for the removal of one that is not there. */
export function changePacketFilter(
  namespace: Namespace,
  { op, linkIndex, filter }: Of<'addPacketFilter' | 'removePacketFilter'>,
): void {
  const traffic = trafficOf(requireLink(namespace, { index: linkIndex }))
  if (!traffic.qdiscs.some(({ kind }) => kind === 'clsact')) throw refusal('EINVAL')
  const rest = traffic.filters.filter(
    ({ direction, order }) => direction !== filter.direction || order !== filter.order,
  )
  if (op === 'removePacketFilter' && rest.length === traffic.filters.length) throw refusal('ENOENT')
  traffic.filters = op === 'addPacketFilter' ? [...rest, filter] : rest
}
