import {
  type Address,
  type Cidr,
  defaultRouteOf,
  type Family,
  formatCidr,
  hostCidr,
  isDefaultRoute,
  networkOf,
} from '../core/address.ts'
import type { Mac } from '../core/mac.ts'
import type { Route } from '../kernel/kernel.ts'
import type { PodIp, PodRoute, PodSpec } from './spec.ts'

/** One end of a pod's link as it should be. Link indexes are left out: they are known only once the link exists. */
export type EndPlan = {
  readonly addresses: readonly Cidr[]
  readonly neighbours: readonly { readonly address: Address; readonly mac: Mac }[]
  readonly routes: readonly PlannedRoute[]
}

export type PlannedRoute = Omit<Route, 'linkIndex'>

export type PodPlan = {
  readonly pod: EndPlan
  readonly host: EndPlan
  /** What the bridge must carry, in mode l2. */
  readonly bridgeAddresses: readonly Cidr[]
}

const SCOPE_LINK = 253
// Where IPAM names no gateway, a routed pod still needs a next hop: any address will do, since both ends know it by
// a permanent neighbour entry.
// 169.254.1.1 and fe80::1.
const FALLBACK_GATEWAY: Record<Family, Address> = {
  4: { family: 4, value: 0xa9fe0101n },
  6: { family: 6, value: (0xfe80n << 112n) + 1n },
}

/** What the two ends of a pod's link and its bridge should look like. Pure. */
export function planPod(spec: PodSpec): PodPlan {
  return spec.mode === 'l3' ? planRouted(spec) : planBridged(spec)
}

/** The gateway that a routed pod uses for one of its addresses. */
export function routedGateway(ip: PodIp): Address {
  return ip.gateway ?? FALLBACK_GATEWAY[ip.cidr.address.family]
}

/**
 * Mode l3: every address is a host route, the gateway an on-link host route, and both ends know each other's MAC.
 * Several addresses may share a gateway; it is planned once.
 */
function planRouted(spec: PodSpec): PodPlan {
  const { ips, hostMac, podMac } = spec
  const gateways = distinct(ips.map(routedGateway).map(hostCidr)).map(({ address }) => address)
  return {
    pod: {
      addresses: ips.map(({ cidr }) => hostCidr(cidr.address)),
      neighbours: gateways.map((address) => ({ address, mac: hostMac })),
      routes: [
        ...gateways.map((gateway) => linkRoute(gateway)),
        ...ips.flatMap((ip) => subnetRoute(ip, spec.routes)),
        ...podRoutes(spec.routes, ips, routedGateway),
      ],
    },
    host: {
      addresses: gateways.map(hostCidr),
      neighbours: ips.map(({ cidr }) => ({ address: cidr.address, mac: podMac })),
      routes: ips.map((ip) => ({ ...linkRoute(ip.cidr.address), ...sourceOf(routedGateway(ip)) })),
    },
    bridgeAddresses: [],
  }
}

/** Mode l2: the pod sits in its subnet; the bridge carries the gateways. */
function planBridged(spec: PodSpec): PodPlan {
  const { bridge, ips } = spec
  const defaults = bridge?.isDefaultGateway ? missingDefaults(spec) : []
  return {
    pod: {
      addresses: ips.map(({ cidr }) => cidr),
      neighbours: [],
      routes: podRoutes([...spec.routes, ...defaults], ips, ({ gateway }) => gateway),
    },
    host: { addresses: [], neighbours: [], routes: [] },
    bridgeAddresses: bridge?.isGateway ? gatewayCidrs(ips) : [],
  }
}

function linkRoute(address: Address): PlannedRoute {
  return { dst: hostCidr(address), scope: address.family === 4 ? SCOPE_LINK : 0 }
}

/** An IPv6 link-local address can't be the preferred source of a global destination. */
function sourceOf(gateway: Address): { source?: Address } {
  return gateway === FALLBACK_GATEWAY[6] ? {} : { source: gateway }
}

/** A routed pod reaches its own subnet through the gateway; a default route does that already. */
function subnetRoute(ip: PodIp, routes: readonly PodRoute[]): PlannedRoute[] {
  const { address, prefix } = ip.cidr
  const covered = routes.some(
    ({ dst, gw, table }) => isDefaultRoute(dst) && dst.address.family === address.family && !gw && !table,
  )
  if (covered || hostCidr(address).prefix === prefix) return []
  return [{ dst: networkOf(ip.cidr), gateway: routedGateway(ip) }]
}

/** Each route gets the gateway of its family if it names none; what is said twice is done once (plugins#615). */
function podRoutes(
  routes: readonly PodRoute[],
  ips: readonly PodIp[],
  gatewayOf: (ip: PodIp) => Address | undefined,
): PlannedRoute[] {
  const planned = routes.map(({ gw, dst, ...rest }) => {
    const ip = ips.find((one) => one.cidr.address.family === dst.address.family && gatewayOf(one))
    const gateway = rest.scope === SCOPE_LINK ? gw : (gw ?? (ip && gatewayOf(ip)))
    return { ...rest, dst: networkOf(dst), ...(gateway && { gateway }) }
  })
  const seen = new Set<string>()
  return planned.filter((route) => {
    const key = JSON.stringify(route, (_, value) => (typeof value === 'bigint' ? String(value) : value))
    return !seen.has(key) && seen.add(key)
  })
}

/** Default routes that isDefaultGateway asks for: none where the routes have a default of that family. */
function missingDefaults({ ips, routes }: PodSpec): PodRoute[] {
  const withGateway = ips.filter((ip) => ip.gateway)
  const firstOfFamily = withGateway.filter(
    (ip, i) => i === withGateway.findIndex((one) => one.cidr.address.family === ip.cidr.address.family),
  )
  return firstOfFamily
    .filter(
      ({ cidr }) =>
        !routes.some(({ dst }) => isDefaultRoute(dst) && dst.address.family === cidr.address.family),
    )
    .map(({ cidr, gateway }) => ({
      dst: defaultRouteOf(cidr.address.family),
      ...(gateway && { gw: gateway }),
    }))
}

function gatewayCidrs(ips: readonly PodIp[]): Cidr[] {
  return distinct(
    ips.flatMap(({ cidr, gateway }) => (gateway ? [{ address: gateway, prefix: cidr.prefix }] : [])),
  )
}

function distinct(cidrs: readonly Cidr[]): Cidr[] {
  return [...new Map(cidrs.map((cidr) => [formatCidr(cidr), cidr])).values()]
}
