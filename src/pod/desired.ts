import { aliasOf } from '../attachment/alias.ts'
import type { Cidr } from '../core/address.ts'
import { quote } from '../core/shell.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { addressesOn, type Desired, type DesiredSysctl, type Place, routesOn } from '../state/desired.ts'
import type { PodFeature } from './features/feature.ts'
import type { EndPlan, PodPlan } from './plan.ts'
import { advertisementObjects } from './router_advertisements.ts'
import { type BridgedSpec, type BridgeSpec, familiesOf, type PodSpec } from './spec.ts'
import { gatewayVlanName } from './vlan.ts'

/*
 * THE DESIRED STATE OF A POD, said once: ADD creates these objects, and CHECK looks for those that are missing. They are only
 * what Bowline creates and the pod needs: no MAC that udev may rewrite (except in mode l3, where frames to the old one would
 * be lost), no promiscuous mode, nothing that a later plugin may add.
 */

/** `path` as in CNI_NETNS, for commands. */
export function podPlace(netns: Netns, path = ''): Place {
  return { netns, words: 'in the pod', prefix: `nsenter --net=${quote(path)} ` }
}

/** One end of the pod's link: where it is, its name, and the MTU in bytes that both ends can take. */
export type End = { readonly place: Place; readonly link: string; readonly mtu?: number }

/** Returns what the host's end needs: for a routed pod all that leads to it, for a bridged pod its place on the bridge. */
export function hostEndObjects(
  spec: PodSpec,
  plan: EndPlan,
  { mtu, ...on }: End,
  features: readonly PodFeature[],
): readonly Desired[] {
  const link = { kind: 'link', ...on, up: true, alias: aliasOf(spec.id), ...(mtu && { mtu }) } as const
  if (spec.bridge) return [{ ...link, ...portOf(spec.bridge) }, ...portObjects(spec, on, features)]
  // A new link need not forward where the node does: net.ipv4.conf.default.forwarding may be 0.
  const ipv4 = { sendRedirects: false, ...(familiesOf(spec.ips).includes(4) && { forwarding: true }) }
  const plain: Desired[] = [
    { ...link, mac: spec.hostMac, ipv4 },
    ...ipv6Objects(on, plan.addresses),
    ...addressesOn(on, plan.addresses),
    ...reachability(plan, on, false),
  ]
  return features.reduce<readonly Desired[]>(
    (objects, feature) => feature.hostEnd?.(spec, objects) ?? objects,
    plain,
  )
}

/** Returns what a link that another plugin made needs as a port of the bridge. */
export function chainedPortObjects(spec: BridgedSpec, on: End, features: readonly PodFeature[]): Desired[] {
  return [{ kind: 'link', ...on, up: true, ...portOf(spec.bridge) }, ...portObjects(spec, on, features)]
}

/**
 * Returns what the pod's end needs. The address comes before the link is up, so that the kernel announces it (arp_notify)
 * when it is. A later plugin may give the pod a smaller MTU, and move its routes to another table, as the reference plugin
 * sbr does.
 */
export function podEndObjects(
  spec: PodSpec,
  plan: EndPlan,
  { mtu, ...on }: End,
  features: readonly PodFeature[],
): readonly Desired[] {
  const plain: Desired[] = [
    ...ipv6Objects({ ...on, link: 'lo' }, plan.addresses),
    ...ipv6Objects(on, plan.addresses),
    ...addressesOn(on, plan.addresses),
    {
      kind: 'link',
      ...on,
      mac: spec.podMac,
      ...(mtu && { maxMtu: mtu }),
      ...(spec.podUp && { up: true, ipv4: { arpNotify: true } }),
    },
    ...reachability(plan, on, true),
  ]
  return features.reduce<readonly Desired[]>(
    (objects, feature) => feature.podEnd?.(spec, objects) ?? objects,
    plain,
  )
}

/**
 * Returns the bridge as it must be, whoever made it, and what carries the gateway: the bridge, or a VLAN link on top of it,
 * with the bridge itself a member of the VLAN. The reference plugin has a veth in place of that, with a port of its own.
 * `links` are those that are there.
 */
export function networkObjects(
  bridge: BridgeSpec,
  { bridgeAddresses, bridgeRoutes }: PodPlan,
  place: Place,
  links: NetworkLinks,
): Desired[] {
  const { name, mac, vlanFiltering } = bridge
  const carrier = { place, link: gatewayLinkName(bridge) }
  const id = carrier.link === name ? undefined : bridge.gatewayVlan
  const member = { kind: 'portVlans', place, link: name, self: true } as const
  return [
    // Before the bridge is up: a pod could send advertisements.
    ...advertisementObjects(place, name, links.bridge, mac),
    {
      kind: 'link',
      place,
      link: name,
      create: { type: 'bridge', mac, vlanFiltering },
      up: true,
      vlanFiltering,
    },
    ...(id === undefined
      ? []
      : ([
          ...(links.carrier?.kind === 'veth' ? [] : [{ ...member, vlans: [{ from: id, to: id }] }]),
          { kind: 'link', ...carrier, create: { type: 'vlan', parent: name, id }, up: true },
          ...advertisementObjects(place, carrier.link, links.carrier),
        ] satisfies Desired[])),
    ...ipv6Objects(carrier, bridgeAddresses),
    ...addressesOn(carrier, bridgeAddresses),
    ...routesOn(carrier, bridgeRoutes, true),
  ]
}

/** The bridge and the link that carries the gateway, if they exist. */
export type NetworkLinks = { readonly bridge: Link | undefined; readonly carrier: Link | undefined }

/** Returns the name of the link that carries the gateway: the bridge, or a VLAN link on top of it. */
export function gatewayLinkName({
  name,
  isGateway,
  gatewayVlan,
}: Pick<BridgeSpec, 'name' | 'isGateway' | 'gatewayVlan'>): string {
  return isGateway && gatewayVlan !== undefined ? gatewayVlanName(name, gatewayVlan) : name
}

/** IPv6 can be switched off on a link, and takes all of its addresses along. */
function ipv6Objects({ place, link }: End, addresses: readonly Cidr[]): DesiredSysctl[] {
  if (!addresses.some(({ address }) => address.family === 6)) return []
  const otherwise = `IPv6 is switched off on ${link} ${place.words}`
  return [{ kind: 'sysctl', place, link, leaf: 'disable_ipv6', value: '0', otherwise }]
}

function reachability({ neighbours, routes }: EndPlan, on: End, anyTable: boolean): Desired[] {
  return [
    ...neighbours.map((one): Desired => ({ kind: 'neighbour', ...on, ...one })),
    ...routesOn(on, routes, anyTable),
  ]
}

function portOf({ name, port }: BridgeSpec) {
  return { master: name, port }
}

function portObjects(spec: PodSpec, on: End, features: readonly PodFeature[]): Desired[] {
  return features.flatMap((feature) => feature.port?.(spec, on) ?? [])
}
