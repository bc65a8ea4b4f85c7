import { formatCidr } from '../core/address.ts'
import type { Mac } from '../core/mac.ts'
import { quote } from '../core/shell.ts'
import type { Link, Netns, PortVlan } from '../kernel/kernel.ts'
import { compareAddresses, compareIpv6 } from './compare_end.ts'
import { missingGatewayRoutes } from './gateway.ts'
import type { PodPlan } from './plan.ts'
import {
  addPortVlan,
  addRoute,
  finding,
  hostPlace,
  type Place,
  removePortVlan,
  setLink,
  setSysctl,
  vlanIds,
} from './repair.ts'
import { acceptRaKey, isBelieving } from './router_advertisements.ts'
import type { BridgeSpec, PodSpec } from './spec.ts'
import { ALL_VLANS, gatewayVlanName, isMember, isVlanOf } from './vlan.ts'

/** What the bridge of a pod must carry. */
type BridgePlan = Pick<PodPlan, 'bridgeAddresses' | 'bridgeRoutes'>

const DEFAULT_VLAN = 1
/** What stands for the index of a link that a command before is going to make. */
const NO_INDEX = 0

/** What of the bridge, of the pod's port and of the gateway is missing or wrong, in the order of mending. */
export function compareBridge(
  host: Netns,
  { bridge: spec, hostIfName }: PodSpec,
  plan: BridgePlan,
  port: Link,
): string[] {
  if (!spec) return []
  const place = hostPlace(host)
  const bridge = host.link({ name: spec.name })
  return [
    ...(bridge ? compareState(place, spec, bridge) : [missingBridge(place, spec)]),
    ...comparePort(host, spec, hostIfName, port, bridge?.index),
    ...compareGateway(place, spec, plan, bridge),
  ]
}

/** The link that carries the gateway: the bridge, or the VLAN link on top of it. */
export function gatewayLink(host: Netns, { name, isGateway, gatewayVlan }: BridgeSpec): Link | undefined {
  const onVlan = isGateway && gatewayVlan !== undefined
  return host.link({ name: onVlan ? gatewayVlanName(name, gatewayVlan) : name })
}

function missingBridge(place: Place, { name, mac, vlanFiltering }: BridgeSpec): string {
  const filtering = vlanFiltering ? ' vlan_filtering 1' : ''
  return finding(
    `bridge ${name} is missing`,
    `ip link add name ${quote(name)} address ${mac} type bridge${filtering}`,
    refuseCommand(place, name),
    setLink(place, name, 'up'),
  )
}

/** Neither its MAC nor promiscuity: bridges change the one by themselves, and people the other. */
function compareState(place: Place, { name, mac, vlanFiltering }: BridgeSpec, bridge: Link): string[] {
  const filters = bridge.vlanFiltering === true
  return [
    ...compareAdvertisements(place, bridge, mac),
    ...(bridge.up ? [] : [finding(`bridge ${name} is down`, setLink(place, name, 'up'))]),
    ...(vlanFiltering && !filters
      ? [
          finding(
            `bridge ${name} does not filter VLANs`,
            setLink(place, name, 'type bridge vlan_filtering 1'),
          ),
        ]
      : []),
  ]
}

/** A pod could send them. */
function compareAdvertisements(place: Place, link: Link, ownMac?: Mac): string[] {
  if (!isBelieving(place.netns, link, ownMac)) return []
  return [finding(`${link.name} on the host believes router advertisements`, refuseCommand(place, link.name))]
}

function refuseCommand(place: Place, name: string): string {
  return setSysctl(place, [acceptRaKey(name), '0'])
}

function comparePort(
  host: Netns,
  spec: BridgeSpec,
  name: string,
  port: Link,
  bridgeIndex: number | undefined,
): string[] {
  const place = hostPlace(host)
  if (bridgeIndex === undefined || port.master !== bridgeIndex) {
    const join = setLink(place, name, 'master', quote(spec.name))
    return [finding(`${name} is not a port of bridge ${spec.name}`, join, ...portCommands(name, spec))]
  }
  return [
    ...(spec.port.hairpin && !port.port?.hairpin
      ? [finding(`hairpin mode is off on ${name}`, setPort(name, 'hairpin'))]
      : []),
    ...(spec.port.isolated && !port.port?.isolated
      ? [finding(`port isolation is off on ${name}`, setPort(name, 'isolated'))]
      : []),
    ...(spec.vlanFiltering ? comparePortVlans(host, spec, port) : []),
  ]
}

/** All that a port gets after it has joined: the kernel has put it into the default VLAN of the bridge, whatever that is. */
function portCommands(name: string, { port, dropDefaultVlan, vlans }: BridgeSpec): string[] {
  return [
    ...(port.hairpin ? [setPort(name, 'hairpin')] : []),
    ...(port.isolated ? [setPort(name, 'isolated')] : []),
    ...(dropDefaultVlan ? [removePortVlan(name, ALL_VLANS)] : []),
    ...vlans.map((vlan) => addPortVlan(name, vlan)),
  ]
}

function setPort(name: string, option: 'hairpin' | 'isolated'): string {
  return `bridge link set dev ${quote(name)} ${option} on`
}

/** VLANs that somebody has added are not ours to judge, but for the one that ADD took away. */
function comparePortVlans(
  host: Netns,
  { vlans, dropDefaultVlan }: BridgeSpec,
  { index, name }: Link,
): string[] {
  const present = membership(host.portVlans(index))
  const wanted = membership(vlans)
  const missing = vlans.filter((vlan) =>
    [...membership([vlan])].some(([id]) => wanted.get(id) !== present.get(id)),
  )
  const leaks = dropDefaultVlan && !wanted.has(DEFAULT_VLAN) && present.has(DEFAULT_VLAN)
  return [
    ...missing.map((vlan) =>
      finding(`VLAN ${vlanIds(vlan)} is missing or wrong on ${name}`, addPortVlan(name, vlan)),
    ),
    ...(leaks
      ? [
          finding(
            `${name} is in VLAN ${DEFAULT_VLAN} as well`,
            removePortVlan(name, { from: DEFAULT_VLAN, to: DEFAULT_VLAN }),
          ),
        ]
      : []),
  ]
}

/** For each VLAN what kind of member it makes; a later entry counts. */
function membership(vlans: readonly PortVlan[]): Map<number, string> {
  const members = new Map<number, string>()
  for (const { from, to, pvid, untagged } of vlans) {
    for (let id = from; id <= to; id++) members.set(id, `${pvid ? 'pvid ' : ''}${untagged ? 'untagged' : ''}`)
  }
  return members
}

function compareGateway(
  place: Place,
  spec: BridgeSpec,
  { bridgeAddresses: gateways, bridgeRoutes }: BridgePlan,
  bridge: Link | undefined,
): string[] {
  if (gateways.length === 0) return []
  const found = gatewayLink(place.netns, spec)
  const vlan = spec.gatewayVlan
  const name = vlan === undefined ? spec.name : gatewayVlanName(spec.name, vlan)
  const isWrong = vlan !== undefined && found?.kind === 'vlan' && !isVlanOf(bridge, vlan, found)
  const carrier = found && !isWrong ? found : ({ name, index: NO_INDEX } as Link)
  return [
    ...(isWrong ? [wrongVlan(spec.name, vlan)] : []),
    ...(vlan === undefined
      ? []
      : compareGatewayVlan(place, spec.name, vlan, bridge, isWrong ? undefined : found)),
    ...compareIpv6(place, gateways, carrier),
    ...compareAddresses(place, gateways, carrier, true),
    ...missingGatewayRoutes(place.netns, carrier, bridgeRoutes).map((route) =>
      finding(
        `route ${formatCidr(route.dst)} is missing on ${name} on the host`,
        addRoute(place, name, route),
      ),
    ),
  ]
}

/** What is missing then is found as well. */
function wrongVlan(bridgeName: string, vlan: number): string {
  const name = gatewayVlanName(bridgeName, vlan)
  return finding(`link ${name} is not VLAN ${vlan} of bridge ${bridgeName}`, `ip link del dev ${quote(name)}`)
}

function compareGatewayVlan(
  place: Place,
  bridgeName: string,
  vlan: number,
  bridge: Link | undefined,
  link: Link | undefined,
): string[] {
  const name = gatewayVlanName(bridgeName, vlan)
  const member = { from: vlan, to: vlan }
  const join = addPortVlan(bridgeName, member, true)
  if (!link) {
    const make = `ip link add link ${quote(bridgeName)} name ${quote(name)} type vlan id ${vlan}`
    const start = [refuseCommand(place, name), setLink(place, name, 'up')]
    return [finding(`link ${name} is missing`, join, make, ...start)]
  }
  return [
    // The reference plugin has a port of its own for it.
    ...(link.kind === 'vlan' && bridge && !isMember(place.netns, bridge, vlan)
      ? [finding(`bridge ${bridgeName} is not in VLAN ${vlan} itself`, join)]
      : []),
    ...compareAdvertisements(place, link),
    ...(link.up ? [] : [finding(`${name} on the host is down`, setLink(place, name, 'up'))]),
  ]
}
