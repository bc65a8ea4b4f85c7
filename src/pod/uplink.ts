import { type Address, contains, defaultRouteOf, type Family } from '../core/address.ts'
import { type Link, type Netns, type PolicyRule, type Route, Table } from '../kernel/kernel.ts'
import { familiesOf, type PodSpec } from './spec.ts'
import { gatewayVlanName } from './vlan.ts'

/**
 * Addresses all over the Internet, whose routes show the uplinks. The first, of a root name server, is looked up in each ADD;
 * nothing is sent to it. A node may have a route of its own to it, or reject it. Then the others are looked up as well: some
 * tunnels take the Internet in two halves.
 */
const ELSEWHERE: Record<Family, readonly [first: Address, ...others: Address[]]> = {
  // 198.41.0.4; 192.0.2.1 (RFC 5737), 128.9.0.1, 1.0.0.1.
  4: [v4(0xc6290004n), v4(0xc0000201n), v4(0x80090001n), v4(0x01000001n)],
  // 2001:503:ba3e::2:30; 2400::1, 2600::1, 2a00::1.
  6: [
    v6((0x20010503ba3en << 80n) + 0x20030n),
    v6((0x24n << 120n) + 1n),
    v6((0x26n << 120n) + 1n),
    v6((0x2an << 120n) + 1n),
  ],
}

/** A route counts as a default route up to this length: 0.0.0.0/0, its halves, and 2000::/3, all that IPv6 has assigned. */
const LONGEST_WIDE_PREFIX = 3

/** Whose way out it is: policy rules may send each pod another way. */
export type Sender = Pick<PodSpec, 'ips' | 'hostIfName' | 'bridge'>

/** A route by which packets leave the node, and its link. */
export type Uplink = { readonly route: Route; readonly link: Link }

/** An address that the node reaches by an uplink. */
export function elsewhere(family: Family): Address {
  return ELSEWHERE[family][0]
}

/**
 * Returns the least MTU, in bytes, of the pod's uplinks: of their links and of their routes. Undefined on a node without an
 * uplink.
 */
export function uplinkMtu(host: Netns, pod: Sender): number | undefined {
  const mtus = uplinksOf(host, pod).map(mtuOf)
  return mtus.length > 0 ? Math.min(...mtus) : undefined
}

/**
 * Returns the node's uplinks for the families of the pod; where there is none, and for a pod without addresses, those of any
 * family. There may be several of each: a route by several next hops, or one for each half of the Internet.
 */
export function uplinksOf(host: Netns, pod: Sender): Uplink[] {
  const own = familiesOf(pod.ips)
  const others = ([4, 6] as const).filter((family) => !own.includes(family))
  const routes = routesOut(host, pod, own)
  return withLinks(host, routes.length > 0 ? routes : routesOut(host, pod, others))
}

function mtuOf({ route: { dst, mtu }, link }: Uplink): number {
  const byLink = dst.address.family === 6 ? (link.ipv6Mtu ?? link.mtu) : link.mtu
  return Math.min(byLink, link.mtu, mtu ?? link.mtu)
}

function withLinks(host: Netns, routes: readonly Route[]): Uplink[] {
  const links = new Map<number, Link | undefined>()
  for (const { linkIndex: index } of routes) if (!links.has(index)) links.set(index, host.link({ index }))
  return routes.flatMap((route) => {
    const link = links.get(route.linkIndex)
    return link && link.name !== 'lo' ? [{ route, link }] : []
  })
}

function routesOut(host: Netns, pod: Sender, families: readonly Family[]): Route[] {
  if (families.length === 0) return []
  const { routes, rules } = host.routing(families.map((family) => ELSEWHERE[family][0]))
  return families.flatMap((family, i) => {
    const found = routes[i] ?? []
    const chosen = routesByPolicy(host, pod, family, rules, found[0]?.table)
    return chosen ?? (isWide(found, 0) ? found : searchedRoutes(host, family, found))
  })
}

/**
 * The kernel was asked for a packet of the node's own. A rule for the source of the pod's packets, or for the link that
 * they come in by, counts if it stands before the one that gave the answer, which was found in `table`.
 */
function routesByPolicy(
  host: Netns,
  pod: Sender,
  family: Family,
  rules: readonly PolicyRule[],
  table: number | undefined,
): Route[] | undefined {
  for (const rule of rules) {
    if (rule.family !== family || rule.drops) continue
    const isForAll = rule.source === undefined && rule.inputLink === undefined
    if (isForAll && rule.table === table) return undefined
    if (isForAll || !meets(rule, pod)) continue
    const routes = host.defaultRoutes(family, rule.table)
    if (routes.length > 0) return routes
  }
  return undefined
}

/** Returns whether a rule concerns what the pod sends. */
export function meets({ source, inputLink }: PolicyRule, { ips, hostIfName, bridge }: Sender): boolean {
  const gatewayLink = bridge?.gatewayVlan ? gatewayVlanName(bridge.name, bridge.gatewayVlan) : bridge?.name
  if (inputLink !== undefined && inputLink !== (gatewayLink ?? hostIfName)) return false
  return source === undefined || ips.some(({ cidr }) => contains(source, cidr.address))
}

/** Finds the uplinks where the first answer was no default route: no route, or one for that address alone. */
function searchedRoutes(host: Netns, family: Family, first: readonly Route[]): Route[] {
  const [, ...others] = ELSEWHERE[family]
  const found = [first, ...host.routing(others).routes].filter((routes) =>
    isWide(routes, LONGEST_WIDE_PREFIX),
  )
  if (found.length > 0) return found.flat()
  const routes = host.defaultRoutes(family, Table.main)
  return routes.length > 0 || first.length > 0 ? routes : routeByNumber(host, family)
}

/** With net.ipv4.nexthop_compat_mode off a route shows the number of its next hop, and a packet where that leads. */
function routeByNumber(host: Netns, family: Family): Route[] {
  const linkIndex = host.routeTo(ELSEWHERE[family][0])
  return linkIndex === undefined ? [] : [{ dst: defaultRouteOf(family), linkIndex }]
}

function isWide([route]: readonly Route[], longest: number): boolean {
  return route !== undefined && route.dst.prefix <= longest
}

function v4(value: bigint): Address {
  return { family: 4, value }
}

function v6(value: bigint): Address {
  return { family: 6, value }
}
