import { isAliasOfNetwork } from '../attachment/alias.ts'
import { type Address, bitsOf, contains, formatAddress, hostCidr } from '../core/address.ts'
import { Code, Fault, ignoreErrnos } from '../core/errors.ts'
import type { AttachmentId } from '../core/names.ts'
import type { UndoStack } from '../core/undo.ts'
import { type Change, type FibEntry, type Link, type Netns, type Route, Table } from '../kernel/kernel.ts'
import { foreignFault, inUseFault, isPodBridge } from './foreign.ts'
import type { NodeState } from './node_state.ts'
import { isExact, isOwn, ownAddressFault } from './route_lookup.ts'
import type { PodIp, PodSpec } from './spec.ts'

/*
 * By which link the node sends packets for a pod. Our route may stand behind an older one: of an earlier plugin, of another
 * bridge with the same subnet, or of a table that a policy rule prefers.
 */

/** More routes than anybody has to one address; the bound of a loop. */
const MAX_RIVALS = 16

/** Through which link packets to a pod must leave. */
export type Delivery = {
  readonly link: Link
  /** In mode l2: a host route over the link helps where the route of its subnet does not count. */
  readonly byHostRoute: boolean
}

/** Returns the addresses to which the node itself must deliver: it has a route to the pod, or is the gateway on the bridge. */
export function deliveredAddresses({ mode, bridge, ips }: PodSpec): Address[] {
  return mode === 'l3' || bridge?.isGateway ? ips.map(({ cidr }) => cidr.address) : []
}

/** Returns whether packets leave by this link, and by no gateway behind it. */
export function leadsTo(
  { type, hops }: FibEntry | undefined = { type: 'none', hops: [] },
  { index }: Link,
): boolean {
  return (
    type === 'unicast' &&
    hops.length > 0 &&
    hops.every(({ linkIndex, gateway }) => linkIndex === index && !gateway)
  )
}

/**
 * Ensures that the node sends packets for the pod by this link. `entries` are the FIB entries of `deliveredAddresses`, asked
 * for after our own routes were made. Removes a route that is of no use to anybody; `undo` restores it. Throws a Fault that
 * names the route which takes the packets instead.
 */
export function ensureDelivery(
  host: Netns,
  spec: PodSpec,
  delivery: Delivery,
  entries: readonly FibEntry[],
  others: NodeState,
  undo: UndoStack,
): void {
  // For a link in a VRF the kernel uses another table than the one that was asked.
  if (delivery.link.master !== undefined && delivery.byHostRoute) return
  for (const [i, address] of deliveredAddresses(spec).entries()) {
    const ip = spec.ips.find(({ cidr }) => cidr.address === address)
    const entry = entries[i]
    if (!ip || !entry || leadsTo(entry, delivery.link)) continue
    makePreferred(host, spec.id, ip, delivery, entry, others, undo)
  }
}

/** Makes ours the preferred route: removes or precedes the routes that are preferred to it, one after another. */
function makePreferred(
  host: Netns,
  id: AttachmentId,
  ip: PodIp,
  delivery: Delivery,
  first: FibEntry,
  others: NodeState,
  undo: UndoStack,
): void {
  const { address } = ip.cidr
  let entry: FibEntry | undefined = first
  let hasHostRoute = !delivery.byHostRoute
  for (let rival = 1; rival <= MAX_RIVALS; rival++) {
    if (!entry || leadsTo(entry, delivery.link)) return
    if (isOwn(entry)) throw ownAddressFault(host, address, entry)
    const holder = others.holderOf(address)
    if (holder) throw inUseFault(address, holder)
    if (isStaleRoute(host, id, entry, others)) removeRoute(host, entry, undo)
    else if (!hasHostRoute && yieldsToHostRoute(host, ip, entry, others)) {
      addHostRoute(host, ip, delivery.link, others, undo)
      hasHostRoute = true
    } else if (isUnused(ip, entry, delivery) && !isThrown(host, address, entry)) return
    else if (hasLinks(host, entry)) break
    entry = host.lookupRoutes([address])[0]
  }
  throw inTheWay(host, address, entry ?? first)
}

/**
 * Returns whether the route is of no use: its one link is down or has no carrier, or it is our bridge or a pod's link of this
 * network, where no pod has the address any more.
 */
function isStaleRoute(host: Netns, { network }: AttachmentId, entry: FibEntry, others: NodeState): boolean {
  const [hop, second] = entry.hops
  if (entry.type !== 'unicast' || !isExact(entry) || entry.table !== Table.main) return false
  if (!hop || second || hop.gateway || entry.nextHopId !== undefined) return false
  const link = host.link({ index: hop.linkIndex })
  if (!link?.up || !link.running || isAliasOfNetwork(link.alias, network)) return true
  return link.kind === 'bridge' && others.isOwnLink(link)
}

/** A link that has gone took the route along. */
function hasLinks(host: Netns, { hops }: FibEntry): boolean {
  return hops.every(({ linkIndex }) => host.link({ index: linkIndex }) !== undefined)
}

function removeRoute(host: Netns, { dst, hops, table, priority, entry }: FibEntry, undo: UndoStack): void {
  const [hop] = hops
  if (!dst || !hop) return
  const route: Route = {
    dst,
    linkIndex: hop.linkIndex,
    ...(table !== undefined && { table }),
    ...(priority !== undefined && { priority }),
  }
  const restore: Change = entry ? { op: 'restoreRoute', entry } : { op: 'addRoute', route }
  undo.push(() => ignoreErrnos(['ENODEV', 'ENETDOWN', 'EEXIST'], () => host.apply([restore])))
  ignoreErrnos(['ESRCH'], () => host.apply([{ op: 'removeRoute', route }]))
}

/**
 * Returns whether a host route may come before this one: a route of the same subnet over another bridge of pods, or one that
 * drops packets without a more specific route. A route that is wider than the subnet is used only where the subnet has no
 * route, or while the kernel does not use it.
 */
function yieldsToHostRoute(
  host: Netns,
  { cidr, gateway }: PodIp,
  entry: FibEntry,
  others: NodeState,
): boolean {
  if (entry.type !== 'unicast') return true
  if (isExact(entry) || entry.table !== Table.main) return false
  if ((entry.dst?.prefix ?? 0) < cidr.prefix) return true
  const links = entry.hops.map(({ linkIndex }) => host.link({ index: linkIndex }))
  return (
    links.length > 0 &&
    links.every((link) => link && (others.isOwnLink(link) || isPodBridge(host, link, gateway)))
  )
}

function addHostRoute(
  host: Netns,
  { cidr: { address }, gateway }: PodIp,
  link: Link,
  others: NodeState,
  undo: UndoStack,
): void {
  const source = address.family === 4 && gateway ? { source: gateway } : {}
  const route: Route = { dst: hostCidr(address), linkIndex: link.index, ...source }
  others.noteHostRoute(link.name, address)
  undo.push(() => removeHostRoute(host, link.name, address))
  ignoreErrnos(['EEXIST'], () => host.apply([{ op: 'addRoute', route }]))
}

/** Removes the route that `ensureDelivery` has made over this link. No error when route or link is gone. */
export function removeHostRoute(host: Netns, linkName: string, address: Address): void {
  const link = host.link({ name: linkName })
  if (!link) return
  const route: Route = { dst: hostCidr(address), linkIndex: link.index }
  ignoreErrnos(['ESRCH', 'ENODEV'], () => host.apply([{ op: 'removeRoute', route }]))
}

/**
 * Returns whether our route is there, but not used yet: with net.ipv4.conf.all.ignore_routes_with_linkdown the kernel ignores
 * a link whose other end is not up.
 */
function isUnused({ cidr }: PodIp, { type, dst }: FibEntry, { byHostRoute }: Delivery): boolean {
  const own = byHostRoute ? cidr.prefix : bitsOf(cidr.address.family)
  return type === 'none' || (type === 'unicast' && (dst?.prefix ?? own) < own)
}

/** Returns whether a `throw` route for this very address comes before ours: it ends the search of the table without a result. */
function isThrown(host: Netns, address: Address, entry: FibEntry): boolean {
  const thrower = entry.type === 'none' ? dropping(host, address, entry) : undefined
  return thrower !== undefined && isExact(thrower)
}

function inTheWay(host: Netns, address: Address, entry: FibEntry): Fault {
  const found = entry.type === 'unicast' ? entry : dropping(host, address, entry)
  if (found) return foreignFault(host, address, found, 'send what is for it to a pod')
  return new Fault(`${formatAddress(address)}: a policy rule of the node drops what is sent there`, {
    code: Code.invalidConfig,
    hint: `Find it (ip rule show), and remove it, or choose another subnet.`,
  })
}

/**
 * Returns the route that drops packets to the address, which the kernel does not tell: the narrowest one of that type. Where
 * the kernel finds no route, it may be a `throw` route, which ends the search of the main table, where our routes are.
 */
export function dropping(host: Netns, address: Address, { type }: FibEntry): FibEntry | undefined {
  if (type === 'unicast') return undefined
  return host
    .fibEntries(address.family)
    .filter((one) => (type === 'none' ? one.type === 'throw' && one.table === Table.main : one.type === type))
    .filter(({ dst }) => dst && contains(dst, address))
    .sort((a, b) => (b.dst?.prefix ?? 0) - (a.dst?.prefix ?? 0))[0]
}
