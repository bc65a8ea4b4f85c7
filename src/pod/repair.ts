import { type Cidr, formatAddress, formatCidr } from '../core/address.ts'
import { quote, type Sysctl, sysctlCommand } from '../core/shell.ts'
import type { Netns, PortVlan, Route } from '../kernel/kernel.ts'
import type { NftCommand } from '../kernel/nftables/commands.ts'
import { describeNftCommand } from '../kernel/nftables/describe.ts'
import type { EndPlan, PlannedRoute } from './plan.ts'

/*
 * What CHECK finds, and the commands that mend it: to be typed by root on the node, in the order of the findings.
 */

/** Where a link is, and how to run a command there. */
export type Place = { readonly netns: Netns; readonly words: string; readonly prefix: string }

export function hostPlace(netns: Netns): Place {
  return { netns, words: 'on the host', prefix: '' }
}

/** `path` as in CNI_NETNS. */
export function podPlace(netns: Netns, path: string): Place {
  return { netns, words: 'in the pod', prefix: `nsenter --net=${quote(path)} ` }
}

/** One finding with the commands that mend it; with none, only a new pod does. */
export function finding(what: string, ...commands: string[]): string {
  return `${what} [${commands.length > 0 ? `run: ${commands.join(' && ')}` : 'delete the pod'}]`
}

export function setLink({ prefix }: Place, name: string, ...options: (string | number)[]): string {
  return `${prefix}ip link set dev ${quote(name)} ${options.join(' ')}`
}

/** Each `key` as in the port. */
export function setSysctl({ prefix }: Place, ...settings: readonly Sysctl[]): string {
  return `${prefix}${sysctlCommand(...settings)}`
}

export function addAddress({ prefix }: Place, name: string, cidr: Cidr, noDad: boolean): string {
  const { family } = cidr.address
  const broadcast = family === 4 && cidr.prefix < 31 ? ' broadcast +' : ''
  const flag = family === 6 && noDad ? ' nodad' : ''
  return `${prefix}ip addr add ${formatCidr(cidr)}${broadcast} dev ${quote(name)}${flag}`
}

export function setNeighbour(
  { prefix }: Place,
  name: string,
  { address, mac }: EndPlan['neighbours'][number],
): string {
  return `${prefix}ip neigh replace ${formatAddress(address)} lladdr ${mac} dev ${quote(name)} nud permanent`
}

/** Appends, as ADD does: routes by several gateways stand side by side. */
export function addRoute({ prefix }: Place, name: string, route: PlannedRoute): string {
  const { mtu, advmss, source } = route
  const more = [
    source && `src ${formatAddress(source)}`,
    mtu && `mtu ${mtu}`,
    advmss && `advmss ${advmss}`,
  ].filter(Boolean)
  return [`${prefix}ip route append ${routeText(name, route)}`, ...more].join(' ')
}

export function removeRoute({ prefix }: Place, name: string, route: Route): string {
  return `${prefix}ip route del ${routeText(name, route)}`
}

export function addPortVlan(name: string, vlan: PortVlan, self = false): string {
  const { pvid, untagged } = vlan
  const flags = `${pvid ? ' pvid' : ''}${untagged ? ' untagged' : ''}${self ? ' self' : ''}`
  return `bridge vlan add dev ${quote(name)} vid ${vlanIds(vlan)}${flags}`
}

export function removePortVlan(name: string, vlan: PortVlan): string {
  return `bridge vlan del dev ${quote(name)} vid ${vlanIds(vlan)}`
}

/** One number, or the first and the last. */
export function vlanIds({ from, to }: PortVlan): string {
  return from === to ? `${from}` : `${from}-${to}`
}

/** All in one transaction, as ADD sends them. */
export function nft(commands: readonly NftCommand[]): string {
  return `nft ${quote(commands.map(describeNftCommand).join('; '))}`
}

/** A scope is said in family 4 only, and only where it is not what follows from having a gateway or not. */
function routeText(name: string, { dst, gateway, table, priority, scope }: PlannedRoute): string {
  const usual = gateway ? 0 : SCOPE_LINK
  const parts = [
    formatCidr(dst),
    gateway && `via ${formatAddress(gateway)}`,
    `dev ${quote(name)}`,
    table && table !== MAIN_TABLE && `table ${table}`,
    priority && `metric ${priority}`,
    dst.address.family === 4 && scope !== undefined && scope !== usual && `scope ${scope}`,
  ]
  return parts.filter(Boolean).join(' ')
}

const SCOPE_LINK = 253
const MAIN_TABLE = 254
