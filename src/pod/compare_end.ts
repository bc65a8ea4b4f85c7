import { type Address, type Cidr, formatAddress, formatCidr, sameAddress, sameCidr } from '../core/address.ts'
import { AddressFlag, type Link, type LinkAddress, type Neighbour, type Route } from '../kernel/kernel.ts'
import { disableKey } from './ipv6.ts'
import type { EndPlan, PlannedRoute } from './plan.ts'
import {
  addAddress,
  addRoute,
  finding,
  type Place,
  removeRoute,
  setLink,
  setNeighbour,
  setSysctl,
} from './repair.ts'

const MAIN_TABLE = 254
/** What a route of IPv6 gets that names no priority. */
const IPV6_PRIORITY = 1024

/** How one end of a pod's link is judged. */
export type EndRules = {
  /** The hardware address that it must have; undefined where any will do. */
  readonly mac?: string
  readonly up: boolean
  /** Skip duplicate detection when an address is given back. */
  readonly noDad: boolean
  /**
   * Routes may have been moved to another table, as the reference plugin sbr does in a pod. What they have beside (a
   * source, numbers that nobody asked for) is never judged.
   */
  readonly anyTable: boolean
}

/** What of one end is missing or wrong, in the order in which it must be mended: a link that is down has lost the rest. */
export function compareEnd(place: Place, plan: EndPlan, link: Link, rules: EndRules): string[] {
  return [
    ...compareState(place, plan, link, rules),
    ...compareIpv6(place, plan.addresses, link),
    ...compareAddresses(place, plan.addresses, link, rules.noDad),
    ...compareNeighbours(place, plan, link),
    ...compareRoutes(place, plan, link, rules.anyTable),
  ]
}

/** IPv6 can be switched off on a link, and takes all of its addresses along. */
export function compareIpv6(
  place: Place,
  addresses: readonly Cidr[],
  { name }: Pick<Link, 'name'>,
): string[] {
  if (!addresses.some(({ address }) => address.family === 6)) return []
  // A link that a command before is going to make begins with the defaults.
  const [own, fresh] = [disableKey(name), disableKey('default')]
  const value = place.netns.readSysctl(own) ?? place.netns.readSysctl(fresh) ?? '0'
  return value === '0'
    ? []
    : [finding(`IPv6 is switched off on ${name} ${place.words}`, setSysctl(place, [own, '0']))]
}

/** Whether duplicate detection still goes on is not asked: CHECK may come right after ADD. */
export function compareAddresses(
  place: Place,
  wanted: readonly Cidr[],
  link: Link,
  noDad: boolean,
): string[] {
  const present = wanted.length > 0 ? place.netns.addresses(link.index) : []
  return wanted.flatMap((cidr) => {
    const found = present.find((one) => sameCidr(one.cidr, cidr))
    const what = `address ${formatCidr(cidr)}`
    if (!found) {
      return [
        finding(
          `${what} is missing on ${link.name} ${place.words}`,
          addAddress(place, link.name, cidr, noDad),
        ),
      ]
    }
    return isDuplicate(found)
      ? [finding(`${what} on ${link.name} ${place.words} is another machine's too`)]
      : []
  })
}

function isDuplicate({ flags }: LinkAddress): boolean {
  return (flags & AddressFlag.dadFailed) !== 0
}

/** With another MAC the kernel forgets the neighbours of a link, permanent ones too. */
function compareState(place: Place, { neighbours }: EndPlan, link: Link, { mac, up }: EndRules): string[] {
  const { name } = link
  const isForeign = mac !== undefined && link.mac !== mac
  const mend = () => [
    setLink(place, name, 'address', mac ?? ''),
    ...neighbours.map((one) => setNeighbour(place, name, one)),
  ]
  return [
    ...(isForeign
      ? [finding(`${name} ${place.words} has the MAC ${link.mac} instead of ${mac}`, ...mend())]
      : []),
    ...(up && !link.up ? [finding(`${name} ${place.words} is down`, setLink(place, name, 'up'))] : []),
  ]
}

function compareNeighbours(place: Place, { neighbours }: EndPlan, { index, name }: Link): string[] {
  const present = neighbours.length > 0 ? place.netns.neighbours(index) : []
  const isThere = ({ address, mac }: EndPlan['neighbours'][number]) =>
    present.some((one: Neighbour) => one.mac === mac && sameAddress(one.address, address))
  return neighbours
    .filter((one) => !isThere(one))
    .map((one) =>
      finding(
        `neighbour ${formatAddress(one.address)} is missing or wrong on ${name} ${place.words}`,
        setNeighbour(place, name, one),
      ),
    )
}

function compareRoutes(
  place: Place,
  { routes }: EndPlan,
  { index, name, mtu }: Link,
  anyTable: boolean,
): string[] {
  const present = routes.length > 0 ? place.netns.routes(index) : []
  return routes
    .filter((route) => !present.some((one) => isSameWay(one, route, anyTable) && hasNumbers(one, route, mtu)))
    .map((route) => {
      const wrong = present.filter((one) => isRival(one, route))
      return finding(
        `route ${describeRoute(route)} is missing or wrong on ${name} ${place.words}`,
        ...wrong.map((one) => removeRoute(place, name, one)),
        addRoute(place, name, route),
      )
    })
}

function isSameWay(actual: Route, wanted: PlannedRoute, anyTable: boolean): boolean {
  return (
    sameCidr(actual.dst, wanted.dst) &&
    sameOptional(actual.gateway, wanted.gateway) &&
    (wanted.table === undefined && anyTable ? true : tableOf(actual) === tableOf(wanted))
  )
}

/** One that differs only in its numbers would stay in use beside the right one, or keep it out. */
function isRival(actual: Route, wanted: PlannedRoute): boolean {
  const usual = wanted.dst.address.family === 6 ? IPV6_PRIORITY : 0
  return isSameWay(actual, wanted, false) && (actual.priority ?? usual) === (wanted.priority ?? usual)
}

/** What the plan leaves open may be anything. When a link gets a smaller MTU, so do its routes of IPv6. */
function hasNumbers(actual: Route, wanted: PlannedRoute, linkMtu: number): boolean {
  const numbers = ['priority', 'advmss', 'scope'] as const
  const mtus = wanted.mtu === undefined ? [actual.mtu] : [wanted.mtu, Math.min(wanted.mtu, linkMtu)]
  return (
    mtus.includes(actual.mtu) &&
    numbers.every((key) => wanted[key] === undefined || actual[key] === wanted[key]) &&
    (!wanted.source || sameOptional(actual.source, wanted.source))
  )
}

function tableOf({ table }: PlannedRoute): number {
  return table ?? MAIN_TABLE
}

function sameOptional(a: Address | undefined, b: Address | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && sameAddress(a, b))
}

function describeRoute({ dst, gateway }: PlannedRoute): string {
  return `${formatCidr(dst)}${gateway ? ` via ${formatAddress(gateway)}` : ''}`
}
