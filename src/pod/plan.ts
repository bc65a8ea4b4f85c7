import {
  type Address,
  type Cidr,
  contains,
  defaultRouteOf,
  type Family,
  formatAddress,
  formatCidr,
  hostCidr,
  isDefaultRoute,
  networkOf,
  sameAddress,
  sameCidr,
} from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import { comparableJson } from '../core/json.ts'
import type { Mac } from '../core/mac.ts'
import { isLinkLocal6, isSingle } from '../core/special_address.ts'
import { distinct } from '../core/text.ts'
import { type Route, Scope, Table } from '../kernel/kernel.ts'
import type { PlannedRoute } from '../state/desired.ts'
import { assertGateways, notANextHop } from './next_hop.ts'
import type { PodIp, PodRoute, PodSpec } from './spec.ts'

/** One end of a pod's link as it should be. Link indexes are left out: they are known only once the link exists. */
export type EndPlan = {
  readonly addresses: readonly Cidr[]
  readonly neighbours: readonly { readonly address: Address; readonly mac: Mac }[]
  readonly routes: readonly PlannedRoute[]
}

export type PodPlan = {
  readonly pod: EndPlan
  readonly host: EndPlan
  /** What the bridge must carry, in mode l2. */
  readonly bridgeAddresses: readonly Cidr[]
  /** The subnets that the node reaches by the bridge, beyond those of its addresses. */
  readonly bridgeRoutes: readonly PlannedRoute[]
}

// Where IPAM names no gateway, a routed pod still needs a next hop: any address will do, since both ends know it by
// a permanent neighbour entry.
// 169.254.1.1 and fe80::1.
const FALLBACK_GATEWAY: Record<Family, Address> = {
  4: { family: 4, value: 0xa9fe0101n },
  6: { family: 6, value: (0xfe80n << 112n) + 1n },
}

/**
 * What the two ends of a pod's link and its bridge should look like. Pure. Throws a Fault for a route that can't lead
 * anywhere, and for an MTU that the pod's addresses can't live with.
 */
export function planPod(spec: PodSpec): PodPlan {
  assertMtu(spec)
  return spec.mode === 'l3' ? planRouted(spec) : planBridged(spec)
}

/** Source: RFC 8200, section 5; the kernel has no IPv6 on a link of less. */
const MIN_MTU_6 = 1280

function assertMtu({ mtu, ips }: PodSpec): void {
  const cidr = ips.find(({ cidr: { address } }) => address.family === 6)?.cidr
  if (!mtu || mtu >= MIN_MTU_6 || !cidr) return
  throw new Fault(`key "mtu": ${mtu} is less than the ${MIN_MTU_6} bytes that ${formatCidr(cidr)} needs`, {
    code: Code.invalidConfig,
    hint: `Set "mtu" to ${MIN_MTU_6} or more, or give the pod no IPv6 address.`,
  })
}

/** Returns the routes that the pod was promised: those that IPAM named, and the default ones of `isDefaultGateway`. */
export function wantedRoutes(spec: PodSpec): readonly PodRoute[] {
  return spec.bridge?.isDefaultGateway ? [...spec.routes, ...missingDefaults(spec)] : spec.routes
}

/** Returns the gateway that a routed pod uses for one of its addresses. */
export function routedGateway(ip: PodIp): Address {
  return ip.gateway ?? FALLBACK_GATEWAY[ip.cidr.address.family]
}

/**
 * Mode l3: every address is a host route, the gateway an on-link host route, and both ends know each other's MAC.
 * Several addresses may share a gateway; it is planned once.
 */
function planRouted(spec: PodSpec): PodPlan {
  const { ips, hostMac, podMac } = spec
  const gateways = distinct(ips.map(routedGateway).map(hostCidr), formatCidr).map(({ address }) => address)
  const routes = spec.routes.map((route) => podRoute(route, ips, routedGateway))
  for (const route of routes) assertReachable(route, gateways)
  return {
    pod: {
      addresses: ips.map(({ cidr }) => hostCidr(cidr.address)),
      neighbours: gateways.map((address) => ({ address, mac: hostMac })),
      routes: distinctRoutes([
        ...gateways.map((gateway) => linkRoute(gateway)),
        ...ips.flatMap((ip) => subnetRoute(ip, spec.routes)),
        ...routes,
      ]),
    },
    host: {
      addresses: gateways.map(hostCidr),
      neighbours: ips.map(({ cidr }) => ({ address: cidr.address, mac: podMac })),
      routes: ips.map((ip) => ({ ...linkRoute(ip.cidr.address), ...sourceOf(routedGateway(ip)) })),
    },
    bridgeAddresses: [],
    bridgeRoutes: [],
  }
}

/** Mode l2: the pod sits in its subnet; the bridge carries the gateways. */
function planBridged(spec: PodSpec): PodPlan {
  const { bridge, ips } = spec
  if (bridge?.isGateway) assertGateways(ips)
  const routes = wantedRoutes(spec).map((route) => podRoute(route, ips, ({ gateway }) => gateway))
  const onLink = onLinkRoutes(ips, routes)
  for (const route of routes) assertOnLink(route, ips, [...onLink, ...routes])
  return {
    pod: {
      addresses: ips.map(({ cidr }) => cidr),
      neighbours: [],
      // What a next hop is reached by comes before what leads by it.
      routes: distinctRoutes([
        ...onLink,
        ...routes.filter(({ gateway }) => !gateway),
        ...routes.filter(({ gateway }) => gateway),
      ]),
    },
    host: { addresses: [], neighbours: [], routes: [] },
    bridgeAddresses: bridge?.isGateway ? gatewayCidrs(ips) : [],
    bridgeRoutes: bridge?.isGateway ? subnetRoutes(ips) : [],
  }
}

/** A gateway outside the subnet is on the link all the same; of IPv6 link-local ones the kernel knows. */
function onLinkRoutes(ips: readonly PodIp[], routes: readonly PlannedRoute[]): PlannedRoute[] {
  const isUsed = (gateway: Address) =>
    routes.some((route) => route.gateway && sameAddress(route.gateway, gateway))
  const gateways = ips.flatMap(({ gateway }) => gateway ?? [])
  return gateways.filter((gateway) => !isNear(gateway, ips, routes) && isUsed(gateway)).map(linkRoute)
}

/** Returns whether the address is on the pod's link, by an address of the pod or by a route without a next hop. */
function isNear(gateway: Address, ips: readonly PodIp[], routes: readonly PlannedRoute[]): boolean {
  return (
    isLinkLocal6(gateway) ||
    ips.some(({ cidr }) => contains(cidr, gateway)) ||
    routes.some((route) => !route.gateway && contains(route.dst, gateway))
  )
}

/** Throws a Fault for a gateway that is not on the pod's link: a bridged pod reaches only its subnets directly. */
function assertOnLink(
  { dst, gateway }: PlannedRoute,
  ips: readonly PodIp[],
  routes: readonly PlannedRoute[],
): void {
  if (!gateway || isNear(gateway, ips, routes)) return
  throw routeFault(dst, gateway, "can't be reached: it is in no subnet of the pod")
}

function linkRoute(address: Address): PlannedRoute {
  return { dst: hostCidr(address), scope: address.family === 4 ? Scope.link : 0 }
}

/** An IPv6 link-local address can't be the preferred source of a global destination. */
function sourceOf(gateway: Address): { source?: Address } {
  return isLinkLocal6(gateway) ? {} : { source: gateway }
}

/** A routed pod reaches its own subnet through the gateway; a default route, or one of its own, does that already. */
function subnetRoute(ip: PodIp, routes: readonly PodRoute[]): PlannedRoute[] {
  const subnet = networkOf(ip.cidr)
  const covered = routes.some(
    ({ dst, gw, table }) =>
      isMain(table) &&
      ((isDefaultOf(dst, ip.cidr.address.family) && !gw) || sameCidr(networkOf(dst), subnet)),
  )
  if (covered || hostCidr(subnet.address).prefix === subnet.prefix) return []
  return [{ dst: subnet, gateway: routedGateway(ip) }]
}

/** Each route gets the gateway of its family if it names none and needs one. Throws a Fault for one that can't be. */
function podRoute(
  { gw, dst, scope, ...rest }: PodRoute,
  ips: readonly PodIp[],
  gatewayOf: (ip: PodIp) => Address | undefined,
): PlannedRoute {
  const { family } = dst.address
  const why = gw && notANextHop(gw, family, ips)
  if (why) throw routeFault(dst, gw, why)
  const ip = ips.find((one) => one.cidr.address.family === family && gatewayOf(one))
  const gateway = (scope ?? 0) < Scope.link ? (gw ?? (ip && gatewayOf(ip))) : gw
  return {
    dst: networkOf(dst),
    ...(gateway && { gateway }),
    // IPv6 knows no scopes.
    ...(scope !== undefined && family === 4 && { scope }),
    ...chosen(rest),
  }
}

/** Returns the numbers of a route that are not 0: 0 means not given, as in the kernel and the configuration's Go form. */
function chosen({ mtu, advmss, priority, table }: Omit<PodRoute, 'dst' | 'gw' | 'scope'>): Partial<Route> {
  return {
    ...(mtu && { mtu }),
    ...(advmss && { advmss }),
    ...(priority && { priority }),
    ...(table && { table }),
  }
}

/** Throws a Fault for a gateway that is not the node: a routed pod has no other neighbour. */
function assertReachable({ dst, gateway }: PlannedRoute, gateways: readonly Address[]): void {
  if (!gateway || gateways.some((one) => sameAddress(one, gateway))) return
  const known = gateways.map(formatAddress).join(', ')
  throw routeFault(dst, gateway, `can't be reached: in mode "l3" the next hop is the node, which is ${known}`)
}

function routeFault(dst: Cidr, gateway: Address, why: string): Fault {
  return new Fault(`key "ipam.routes": the gateway ${formatAddress(gateway)} of ${formatCidr(dst)} ${why}`, {
    code: Code.invalidConfig,
    hint: 'Leave "gw" out of that route: it then leads by the gateway of the pod.',
  })
}

/** Returns each route once: IPAM may name one twice (plugins#615). */
function distinctRoutes(routes: readonly PlannedRoute[]): PlannedRoute[] {
  return routes.filter((route, i) => {
    const before = routes.slice(0, i).filter(({ dst }) => sameCidr(dst, route.dst))
    return !before.some((one) => comparableJson(one) === comparableJson(route))
  })
}

/** Returns the default routes that isDefaultGateway asks for: none where the routes have a default of that family. */
function missingDefaults({ ips, routes }: PodSpec): PodRoute[] {
  const withGateway = ips.filter((ip) => ip.gateway)
  const firstOfFamily = withGateway.filter(
    (ip, i) => i === withGateway.findIndex((one) => one.cidr.address.family === ip.cidr.address.family),
  )
  return firstOfFamily
    .filter(({ cidr }) => !routes.some(({ dst }) => isDefaultOf(dst, cidr.address.family)))
    .map(({ cidr, gateway }) => ({
      dst: defaultRouteOf(cidr.address.family),
      ...(gateway && { gw: gateway }),
    }))
}

function isDefaultOf(dst: Cidr, family: Family): boolean {
  return isDefaultRoute(dst) && dst.address.family === family
}

function isMain(table: number | undefined): boolean {
  return !table || table === Table.main
}

/** With a gateway outside the subnet no address of the bridge leads there. A single address is no subnet to route. */
function subnetRoutes(ips: readonly PodIp[]): PlannedRoute[] {
  const strayed = ips.filter(({ cidr, gateway }) => gateway && !contains(cidr, gateway))
  const subnets = strayed.map(({ cidr }) => networkOf(cidr)).filter((one) => !isSingle(one))
  return distinct(subnets, formatCidr).map((dst) => ({ dst }))
}

/** Returns the bridge's addresses. A gateway outside the subnet gets no prefix: the node may reach its network otherwise. */
function gatewayCidrs(ips: readonly PodIp[]): Cidr[] {
  return distinct(
    ips.flatMap(({ cidr, gateway }) => (gateway ? [gatewayCidr(cidr, gateway)] : [])),
    formatCidr,
  )
}

function gatewayCidr(cidr: Cidr, gateway: Address): Cidr {
  const isNear = contains(cidr, gateway) || isLinkLocal6(gateway)
  return isNear ? { address: gateway, prefix: cidr.prefix } : hostCidr(gateway)
}
