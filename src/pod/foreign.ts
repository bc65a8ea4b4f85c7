import {
  type Address,
  bitsOf,
  type Cidr,
  contains,
  formatAddress,
  isDefaultRoute,
  networkOf,
  sameAddress,
} from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import { describeFibEntry, removeRouteCommand } from '../kernel/describe_fib_entry.ts'
import type { FibEntry, Link, Netns } from '../kernel/kernel.ts'
import type { NodeState } from './node_state.ts'
import { routedGateway } from './plan.ts'
import { isExact, isPending, lookupRoutes, type RouteLookup } from './route_lookup.ts'
import { livesBy, routersAmong, uplinkLinks, uplinkProbes } from './routers.ts'
import type { PodIp, PodSpec } from './spec.ts'

/*
 * An ADD must not take addresses that the node reaches in another way: its router must not become a local address, nor its
 * own network a subnet of pods. A wider route is harmless, since that of the pods is more specific: a default route, a
 * router's aggregate, the blackhole that a routing daemon keeps for the range of the node (Calico, kube-router), an overlay's
 * tunnel to the other nodes (flannel).
 */

/** RTPROT_*: routes that come with an address of the node: kernel, router advertisement, DHCP. */
const CONNECTED: readonly (number | undefined)[] = [2, 9, 16]
const TUNNELS = ['vxlan', 'geneve', 'tun', 'wireguard', 'gre', 'ipip', 'sit', 'ip6tnl', 'vti', 'xfrm']

/**
 * Throws a Fault if a routed pod (mode l3) would take addresses that the node reaches in another way. `lookup` holds the FIB
 * entries from before the ADD, those of the uplinks too. A gateway that is an address of the node already proves nothing: it
 * may be the address of an uplink.
 */
export function refuseForeignRouted(
  host: Netns,
  { ips }: Pick<PodSpec, 'ips'>,
  lookup: RouteLookup,
  others: NodeState,
): void {
  for (const ip of ips) {
    const gateway = routedGateway(ip)
    const subnet = networkOf(ip.cidr)
    const judged = { host, subnet, gateway, others, carriers: [], uplinks: uplinkLinks(lookup, gateway) }
    refuseForeign(judged, gateway, lookup(gateway), 'make the gateway an address of this node')
    refuseForeignPod(judged, ip.cidr.address, lookup(ip.cidr.address), 'route it to a pod')
  }
}

/**
 * Throws a Fault if a pod of another network has an address of a pod on a bridge: both may be on one bridge, where no route
 * tells them apart.
 */
export function refuseUsedAddresses({ ips }: PodSpec, others: NodeState): void {
  for (const { cidr } of ips) {
    const holder = others.leaseHolderOf(cidr.address)
    if (holder) throw inUseFault(cidr.address, holder)
  }
}

/** Throws the Fault of `refuseForeignRouted` for a gateway on `link`, in mode l2. */
export function refuseForeignGateway(
  host: Netns,
  link: Pick<Link, 'index' | 'name'>,
  { address, prefix }: Cidr,
  ips: readonly PodIp[],
  others: NodeState,
): void {
  const cidrs = ips.filter(({ gateway }) => gateway && sameAddress(gateway, address)).map(({ cidr }) => cidr)
  const asked = [address, ...cidrs.map((cidr) => cidr.address)]
  const lookup = lookupRoutes(host, [...asked, ...uplinkProbes(asked)])
  const entry = lookup(address)
  const would = 'make the gateway an address of this node'
  // On a bridge that the node itself lives by, the router is a neighbour like any other.
  if (entry && routersAmong(host, [address], lookup).length > 0)
    throw foreignFault(host, address, entry, would)
  const uplinks = uplinkLinks(lookup, address)
  const subnet = networkOf({ address, prefix })
  const judged = { host, subnet, gateway: address, others, carriers: [link.index], uplinks }
  refuseForeign(judged, address, entry, would)
  for (const cidr of cidrs) {
    const ofPod = { ...judged, subnet: networkOf(cidr) }
    refuseForeignPod(ofPod, cidr.address, lookup(cidr.address), `lead its subnet to ${link.name}`)
  }
}

/** How often the links of a route may go while they are looked at; the bound of a loop. */
const MAX_ASKED = 10

type Judged = {
  readonly host: Netns
  readonly subnet: Cidr
  readonly gateway: Address
  readonly others: NodeState
  /** Links that will carry the gateway: networks connected to them are subnets of pods. */
  readonly carriers: readonly number[]
  /** Links of the node's uplinks, which are never a pod bridge. */
  readonly uplinks: readonly number[]
}

/** Leaves a host route to the pod's address to `ensureDelivery`: it may be left over from another pod. */
function refuseForeignPod(
  judged: Judged,
  address: Address,
  entry: FibEntry | undefined,
  would: string,
): void {
  if (entry && !isExact(entry)) refuseForeign(judged, address, entry, would)
}

function refuseForeign(
  judged: Judged,
  address: Address,
  entry: FibEntry | undefined,
  would: string,
  asked = 1,
): void {
  if (!entry || !mayBeForeign(address, entry, judged.subnet)) return
  const { host, others, carriers, uplinks, gateway } = judged
  if (isPending(host, address, entry)) return
  const holder = others.holderOf(address)
  if (holder) throw inUseFault(address, holder)
  const links = entry.hops.map(({ linkIndex }) => host.link({ index: linkIndex }))
  // A link that has gone took the route along: that of a pod which is deleted meanwhile.
  if (links.includes(undefined) && asked < MAX_ASKED) {
    refuseForeign(judged, address, host.lookupRoutes([address])[0], would, asked + 1)
    return
  }
  const isOurs = links.every((link) => {
    if (!link || carriers.includes(link.index)) return link !== undefined
    return !uplinks.includes(link.index) && (others.isOwnLink(link) || isPodBridge(host, link, gateway))
  })
  if (isOurs && links.length > 0) return
  if (isWider(entry, address, judged.subnet) && links.every((link) => link && TUNNELS.includes(link.kind)))
    return
  throw foreignFault(host, address, entry, would)
}

/**
 * Returns whether the node itself is the gateway on this bridge, or VLAN link on a bridge. It may be another plugin's, such as
 * one that we replace.
 */
export function isPodBridge(host: Netns, link: Link, gateway: Address | undefined): boolean {
  const below = link.vlan?.parent === undefined ? link : host.link({ index: link.vlan.parent })
  if (below?.kind !== 'bridge' || !gateway) return false
  return host.addresses(link.index).some(({ cidr }) => sameAddress(cidr.address, gateway))
}

/** Returns whether the route is for the subnet or a part of it, for a network of the node, or has the address as next hop. */
function mayBeForeign(address: Address, entry: FibEntry, subnet: Cidr): boolean {
  if (entry.type === 'broadcast') return true
  if (entry.type !== 'unicast') return false
  if (entry.hops.some(({ gateway }) => gateway && sameAddress(gateway, address))) return true
  if (isLinkLocal(address) && !isExact(entry)) return false
  const isConnected = CONNECTED.includes(entry.protocol) && entry.hops.every(({ gateway }) => !gateway)
  return isConnected || !isWider(entry, address, subnet)
}

/** Returns whether the route is wider than the subnet; for an address outside the subnet, whether it is no host route. */
function isWider({ dst }: FibEntry, address: Address, subnet: Cidr): boolean {
  return (dst?.prefix ?? 0) < (contains(subnet, address) ? subnet.prefix : bitsOf(address.family))
}

/** Returns whether the address is link-local: 169.254.0.0/16 and fe80::/10 are on each link a network of its own. */
function isLinkLocal({ family, value }: Address): boolean {
  return family === 4 ? value >> 16n === 0xa9fen : value >> 118n === 0x3fan
}

/** Returns the Fault for an address that a pod of another network has. */
export function inUseFault(address: Address, holder: string): Fault {
  return new Fault(`${formatAddress(address)} is in use on this node: ${holder} has it`, {
    code: Code.addressInUse,
    hint: 'Give each network addresses of its own (rangeStart and rangeEnd), or delete that pod first.',
  })
}

/** Returns the Fault for an address that the node reaches in another way; `would` says what an ADD would do to it. */
export function foreignFault(host: Netns, address: Address, entry: FibEntry, would: string): Fault {
  const route = describeFibEntry(host, entry)
  const leftOver = mayBeLeftOver(host, entry)
    ? `; if that route is left over, run: ${removeRouteCommand(host, entry)}`
    : '.'
  return new Fault(
    `key "ipam.ranges": ${formatAddress(address)}: an ADD would ${would}, and the node reaches it by route ${route}`,
    {
      code: Code.invalidConfig,
      hint: `Choose a subnet and a gateway that nobody has${leftOver}`,
    },
  )
}

/** Returns whether a person may remove the route: it is no uplink, and no connected network of an uplink or of a link that is up. */
export function mayBeLeftOver(host: Netns, { dst, hops, protocol }: FibEntry): boolean {
  if (!dst || isDefaultRoute(dst)) return false
  const onLink = hops.filter(({ gateway }) => !gateway)
  const isUp = onLink.some(({ linkIndex }) => host.link({ index: linkIndex })?.up)
  if (CONNECTED.includes(protocol) && isUp) return false
  return !onLink.some(({ linkIndex }) => livesBy(host, linkIndex))
}
