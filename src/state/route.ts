import { type Address, type Cidr, sameAddress, sameCidr } from '../core/address.ts'
import { type Route, Table } from '../kernel/kernel.ts'
import type { PlannedRoute } from './desired.ts'

/** What a route of IPv6 gets that names no priority. */
const IPV6_PRIORITY = 1024

/** Whether a route leads to the same destination by the same next hop. */
export function isSameWay(actual: Route, wanted: PlannedRoute, anyTable: boolean): boolean {
  return (
    sameCidr(actual.dst, wanted.dst) &&
    sameOptional(actual.gateway, wanted.gateway) &&
    ((wanted.table === undefined && anyTable) || tableOf(actual) === tableOf(wanted))
  )
}

/** Whether it differs only in its numbers: it would stay in use beside the right one, or keep it out. */
export function isRival(actual: Route, wanted: PlannedRoute): boolean {
  return isSameWay(actual, wanted, false) && metricOf(actual) === metricOf(wanted)
}

/** What is left open may be anything. When a link gets a smaller MTU, so do its routes of IPv6. */
export function hasNumbers(actual: Route, wanted: PlannedRoute, linkMtu: number): boolean {
  const numbers = ['priority', 'advmss', 'scope'] as const
  const mtus = wanted.mtu === undefined ? [actual.mtu] : [wanted.mtu, Math.min(wanted.mtu, linkMtu)]
  return (
    mtus.includes(actual.mtu) &&
    numbers.every((key) => wanted[key] === undefined || actual[key] === wanted[key]) &&
    (!wanted.source || sameOptional(actual.source, wanted.source))
  )
}

/** Returns the priority that a route has in the kernel. */
export function metricOf({ dst, priority }: Pick<PlannedRoute, 'dst' | 'priority'>): number {
  return priority ?? usualMetric(dst)
}

/** Returns what a route gets that names no priority. */
export function usualMetric({ address: { family } }: Cidr): number {
  return family === 6 ? IPV6_PRIORITY : 0
}

function tableOf({ table }: PlannedRoute): number {
  return table ?? Table.main
}

function sameOptional(a: Address | undefined, b: Address | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && sameAddress(a, b))
}
