import {
  type Address,
  type Cidr,
  contains,
  type Family,
  hostCidr,
  networkOf,
  sameAddress,
  sameCidr,
} from '../../../src/core/address.ts'
import type { FibEntry, Route } from '../../../src/kernel/kernel.ts'
import {
  AddressFlag,
  type FakeLink,
  type FakeRoute,
  holdsAddress,
  MAIN_TABLE,
  type Namespace,
  requireLink,
  Scope,
} from './state.ts'
import { refusal } from './steps.ts'

/** What the kernel gives a route of family 6 that names no priority, and the route of a prefix. */
const IPV6_PRIORITY = 1024
const PREFIX_PRIORITY = { 4: 0, 6: 256 }
const IPV6_LINK_LOCAL = { address: { family: 6 as const, value: 0xfe80n << 112n }, prefix: 10 }

/**
 * Adds a route. Refusals: ENODEV, EINVAL (host bits in family 4, a preferred source that is
 * not ours), ENETDOWN, ENETUNREACH or, in family 6, EHOSTUNREACH (a gateway that is not on this link), EEXIST.
 */
export function addRoute(namespace: Namespace, route: Route, replace: boolean): void {
  const link = requireLink(namespace, { index: route.linkIndex })
  const { family } = route.dst.address
  if (family === 4 && !sameCidr(networkOf(route.dst), route.dst))
    throw refusal('EINVAL', 'host bits in a route')
  const wanted = completeRoute(route)
  if (wanted.source) checkSource(namespace, wanted.source)
  if (wanted.gateway) checkGateway(namespace, wanted, wanted.gateway)
  if (!link.up) throw refusal('ENETDOWN')
  const rivals = namespace.routes.filter((one) => sameSlot(one, wanted))
  if (replace && rivals[0]) {
    const displaced = rivals[0]
    namespace.routes = namespace.routes.map((one) => (one === displaced ? wanted : one))
    return
  }
  if (rivals.some((one) => isDuplicate(one, wanted))) throw refusal('EEXIST')
  namespace.routes.push(wanted)
}

/** Removes the first route that has all that `route` names. ESRCH when there is none. */
export function removeRoute(namespace: Namespace, route: Route): void {
  const { gateway, priority, source } = route
  const { table, scope } = completeRoute(route)
  const found = namespace.routes.find(
    (one) =>
      sameCidr(one.dst, networkOf(route.dst)) &&
      one.linkIndex === route.linkIndex &&
      one.table === table &&
      (!gateway || sameOptional(one.gateway, gateway)) &&
      (!priority || one.priority === priority) &&
      (!source || sameOptional(one.source, source)) &&
      (!route.protocol || protocolOf(one) === route.protocol) &&
      one.scope === scope,
  )
  if (!found) throw refusal('ESRCH')
  namespace.routes = namespace.routes.filter((one) => one !== found)
}

/** The route of an address's prefix, once, while the link is up. */
export function addPrefixRoute(link: FakeLink, cidr: Cidr): void {
  const { family } = cidr.address
  const route: FakeRoute = {
    dst: networkOf(cidr),
    linkIndex: link.index,
    ...(family === 4 && { source: cidr.address }),
    scope: family === 4 ? Scope.link : Scope.universe,
    table: MAIN_TABLE,
    priority: PREFIX_PRIORITY[family],
    kernel: true,
  }
  const there = link.namespace.routes.some((one) => sameSlot(one, route) && isDuplicate(one, route))
  if (!there) link.namespace.routes.push(route)
}

export function dropRoutes(namespace: Namespace, drop: (route: FakeRoute) => boolean): void {
  namespace.routes = namespace.routes.filter((route) => !drop(route))
}

/** All routes of a link, or those of one family. */
export function dropRoutesOf(link: FakeLink, family?: Family): void {
  dropRoutes(
    link.namespace,
    ({ linkIndex, dst }) => linkIndex === link.index && (!family || dst.address.family === family),
  )
}

/** What becomes of routes whose preferred source is gone: family 4 drops them, family 6 lets them choose anew. */
export function forgetSource(namespace: Namespace, address: Address): void {
  if (holdsAddress(namespace, address)) return
  const affected = ({ source }: FakeRoute) => source !== undefined && sameAddress(source, address)
  if (address.family === 4) dropRoutes(namespace, affected)
  else
    namespace.routes = namespace.routes.map((route) => {
      if (!affected(route)) return route
      const { source: _, ...rest } = route
      return rest
    })
}

/** The link of the best route. */
export function routeTo(namespace: Namespace, address: Address): number | undefined {
  return bestRoutes(namespace, address)[0]?.linkIndex
}

/** The best route of the main table, if any: longest prefix, then lowest priority number, then oldest. */
export function bestRoutes(namespace: Namespace, address: Address): FakeRoute[] {
  if (holdsAddress(namespace, address)) return []
  const matching = namespace.routes.filter(({ dst, table }) => table === MAIN_TABLE && contains(dst, address))
  return matching.sort((a, b) => b.dst.prefix - a.dst.prefix || a.priority - b.priority).slice(0, 1)
}

export function wayTo(namespace: Namespace, address: Address): FibEntry {
  const holder = [...namespace.links.values()].find(({ addresses }) =>
    addresses.some(({ cidr }) => sameAddress(cidr.address, address)),
  )
  if (holder) return { type: 'local', dst: hostCidr(address), hops: [{ linkIndex: holder.index }] }
  const [best] = bestRoutes(namespace, address)
  return best ? wayOf(best) : { type: 'none', hops: [] }
}

export function wayOf(route: FakeRoute): FibEntry {
  const { dst, table, priority, linkIndex, gateway } = route
  const hop = { linkIndex, ...(gateway && { gateway }) }
  return { type: 'unicast', dst, table, protocol: protocolOf(route), priority, hops: [hop] }
}

/** RTPROT_KERNEL, or RTPROT_BOOT where nothing was said. */
export function protocolOf({ kernel, protocol = 3 }: FakeRoute): number {
  return kernel ? 2 : protocol
}

export function showRoute({ protocol: _, onlink: _onlink, ...route }: FakeRoute): Route {
  return shownRoute(route)
}

export function showOwnedRoute(route: FakeRoute): Route {
  return { ...shownRoute(route), protocol: protocolOf(route) }
}

function shownRoute({ kernel: _, priority, ...route }: FakeRoute): Route {
  return { ...route, ...(priority && { priority }) }
}

function completeRoute(route: Route): FakeRoute {
  const { family } = route.dst.address
  const scope = route.scope ?? (route.gateway ? Scope.universe : Scope.link)
  return {
    ...route,
    dst: networkOf(route.dst),
    scope: family === 4 ? scope : Scope.universe,
    table: route.table ?? MAIN_TABLE,
    priority: route.priority || (family === 4 ? 0 : IPV6_PRIORITY),
    kernel: false,
  }
}

/** A preferred source must be an address of this namespace, and not one that duplicate detection still holds. */
function checkSource(namespace: Namespace, source: Address): void {
  const usable = [...namespace.links.values()].some(({ addresses }) =>
    addresses.some(
      ({ cidr, flags }) => sameAddress(cidr.address, source) && (flags & AddressFlag.tentative) === 0,
    ),
  )
  if (!usable) throw refusal('EINVAL', 'invalid preferred source address')
}

/**
 * A gateway must be reached by a route of the same link that has no gateway itself. Family 4 passes over routes that
 * have one, and asks for a nearer scope than the route's own; family 6 takes the longest prefix as it is, and
 * link-local gateways need nothing.
 */
function checkGateway(namespace: Namespace, route: FakeRoute, gateway: Address): void {
  if (route.onlink) return
  const candidates = namespace.routes.filter(
    ({ dst, linkIndex, table }) =>
      linkIndex === route.linkIndex && [MAIN_TABLE, route.table].includes(table) && contains(dst, gateway),
  )
  if (gateway.family === 4) {
    const nearer = Math.max(route.scope + 1, Scope.link)
    if (!candidates.some(({ scope }) => scope >= nearer)) throw refusal('ENETUNREACH', 'invalid gateway')
    return
  }
  if (holdsAddress(namespace, gateway)) throw refusal('EINVAL', 'gateway can not be a local address')
  if (contains(IPV6_LINK_LOCAL, gateway)) return
  const [best] = candidates.sort((a, b) => b.dst.prefix - a.dst.prefix)
  if (!best || best.gateway) throw refusal('EHOSTUNREACH')
}

/** Routes of one slot are alternatives: same destination, table and priority. */
function sameSlot(a: FakeRoute, b: FakeRoute): boolean {
  return sameCidr(a.dst, b.dst) && a.table === b.table && a.priority === b.priority
}

function isDuplicate(a: FakeRoute, b: FakeRoute): boolean {
  return a.linkIndex === b.linkIndex && sameOptional(a.gateway, b.gateway)
}

function sameOptional(a: Address | undefined, b: Address | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && sameAddress(a, b))
}
