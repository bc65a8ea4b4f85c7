import { formatCidr } from '../core/address.ts'
import { quote } from '../core/shell.ts'
import type { Change, PacketFilter, Qdisc } from '../kernel/kernel.ts'

export type TrafficChange = Extract<
  Change,
  { op: 'setQdisc' | 'removeQdisc' | 'addPacketFilter' | 'removePacketFilter' }
>

type NameOf = (linkIndex: number) => string

/** Returns what a person types to change queueing disciplines and filters. */
export function trafficCommand(change: TrafficChange, nameOf: NameOf): string {
  const dev = `dev ${quote(nameOf(change.linkIndex))}`
  switch (change.op) {
    case 'setQdisc':
      return `tc qdisc add ${dev} ${qdiscWords(change.qdisc)}`
    case 'removeQdisc':
      return `tc qdisc del ${dev} ${change.qdisc.kind === 'tbf' ? 'root' : 'clsact'}`
    case 'addPacketFilter':
      return `tc filter add ${dev} ${filterWords(change.filter)} ${decisionWords(change.filter, nameOf)}`
    case 'removePacketFilter':
      return `tc filter del ${dev} ${filterWords(change.filter)}`
  }
}

/** The rate is in bytes a second, which tc calls bps. */
function qdiscWords(qdisc: Qdisc): string {
  if (qdisc.kind === 'clsact') return 'clsact'
  return `root handle 1: tbf rate ${qdisc.rate}bps burst ${qdisc.burst} limit ${qdisc.limit}`
}

function filterWords({ direction, order, match }: PacketFilter): string {
  const protocol = match ? (match.cidr.address.family === 4 ? 'ip' : 'ipv6') : 'all'
  return `${direction} protocol ${protocol} prio ${order}`
}

function decisionWords({ match, redirect }: PacketFilter, nameOf: NameOf): string {
  const family = match?.cidr.address.family === 6 ? 'ip6' : 'ip'
  const packets = match
    ? `${family} ${match.end === 'source' ? 'src' : 'dst'} ${formatCidr(match.cidr)}`
    : 'u32 0 0'
  const decision =
    redirect === undefined ? 'classid 1:1' : `action mirred egress redirect dev ${quote(nameOf(redirect))}`
  return `u32 match ${packets} ${decision}`
}
