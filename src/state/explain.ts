import { formatAddress, formatCidr } from '../core/address.ts'
import { quote, type Sysctl, sysctlCommand } from '../core/shell.ts'
import {
  ALL_LINK_SETTINGS,
  describeRoute,
  describeVlans,
  LINK_SETTINGS,
  type LinkSetting,
} from '../kernel/describe.ts'
import { type Change, type FdbEntry, type LinkRef, type Route, Scope, Table } from '../kernel/kernel.ts'
import { describeNftCommand, describeTable } from '../kernel/nftables/describe.ts'
import type { NftCommand, NftTable } from '../kernel/nftables/objects.ts'
import type { DesiredChecksumOffload, Place } from './desired.ts'
import { trafficCommand } from './traffic_command.ts'

/** Something that is not as it should be, in words, with the steps that end it, in order; none where no step can. */
export type Difference = { readonly what: string; readonly steps: readonly Step[] }

/** The command for a person, and what the engine does in its place; absent where only the person may decide. */
export type Step = { readonly command: string; readonly action?: Action }

export type Action =
  | { readonly place: Place; readonly change: StateChange }
  | { readonly place: Place; readonly sysctls: readonly Sysctl[] }
  | { readonly place: Place; readonly offload: Omit<DesiredChecksumOffload, 'kind' | 'place'> }
  | { readonly nft: readonly NftCommand[] }
  /** Changes what is not the kernel's, such as a file. */
  | { readonly run: () => void }

type SetLink = Extract<Change, { op: 'setLink' }>

/** The changes that make desired objects of those that are there. */
export type StateChange =
  | Exclude<Change, SetLink | { op: 'createVeth' | 'restoreRoute' }>
  | Pick<
      SetLink,
      | LinkSetting
      | 'op'
      | 'link'
      | 'name'
      | 'up'
      | 'alias'
      | 'master'
      | 'untuned'
      | 'port'
      | 'vlanFiltering'
      | 'ipv6LinkLocal'
    >

/** Returns the name of a link by its index; of one that a step creates, by the index that stands for it. */
export type NameOf = (index: number) => string

/** Returns a difference with its commands in one line that stops at the first that fails. */
export function explain({ what, steps }: Difference, lastResort: string): string {
  const commands = steps.map(({ command }) => command)
  return `${what} [${commands.length > 0 ? `run: ${commands.join(' && ')}` : lastResort}]`
}

/** Returns the step that makes a change. */
export function changeStep(place: Place, change: StateChange, nameOf: NameOf): Step {
  return {
    // A run of the agent may have thousands of steps, of which nobody reads the commands.
    get command() {
      const commands = commandsOf(change, nameOf).map((command) => place.prefix + command)
      return commands.join(' && ')
    },
    action: { place, change },
  }
}

/** Returns the step that makes these settings. */
export function sysctlStep(place: Place, ...sysctls: readonly Sysctl[]): Step {
  return { command: `${place.prefix}${sysctlCommand(...sysctls)}`, action: { place, sysctls } }
}

/** Returns the step that gives a link this checksum offload. */
export function offloadStep({ place, link, isOn }: DesiredChecksumOffload): Step {
  const command = `ethtool -K ${quote(link)} tx-checksum-ip-generic ${isOn ? 'on' : 'off'}`
  return { command: place.prefix + command, action: { place, offload: { link, isOn } } }
}

/** Returns the step that makes these changes to nftables, in one transaction. */
export function nftStep(nft: readonly NftCommand[]): Step {
  return { command: nftCommand(nft, '; '), action: { nft } }
}

/** Returns the difference of a table that somebody has switched off. */
export function dormancy(table: NftTable): Difference {
  const what = `table ${describeTable(table)} is dormant: none of its rules has an effect`
  return { what, steps: [nftStep([{ op: 'wakeTable', table }])] }
}

/** Returns the command of one transaction; nft takes a new line as it takes a semicolon. */
export function nftCommand(nft: readonly NftCommand[], between: '; ' | '\n'): string {
  return `nft ${quote(nft.map(describeNftCommand).join(between))}`
}

/** Returns what a person types to make a change: root, into a POSIX shell. */
export function commandsOf(change: StateChange, nameOf: NameOf): string[] {
  const dev = (index: number): string => `dev ${quote(nameOf(index))}`
  switch (change.op) {
    case 'createBridge': {
      const filtering = change.vlanFiltering ? ' vlan_filtering 1' : ''
      return [`ip link add name ${quote(change.name)} address ${change.mac} type bridge${filtering}`]
    }
    case 'createVlan': {
      const parent = quote(nameOf(change.parent))
      return [`ip link add link ${parent} name ${quote(change.name)} type vlan id ${change.vlan}`]
    }
    case 'createVxlan':
      return [createVxlanCommand(change)]
    case 'createIfb':
      return [`ip link add name ${quote(change.name)} type ifb`]
    case 'setQdisc':
    case 'removeQdisc':
    case 'addPacketFilter':
    case 'removePacketFilter':
      return [trafficCommand(change, nameOf)]
    case 'setLink':
      return setLinkCommands(change, nameOf)
    case 'removeLink':
      return [`ip link del dev ${quote(refName(change.link, nameOf))}`]
    case 'addAddress': {
      const { cidr, noDad, linkIndex } = change
      const isV6 = cidr.address.family === 6
      const broadcast = !isV6 && cidr.prefix < 31 ? ' broadcast +' : ''
      return [`ip addr add ${formatCidr(cidr)}${broadcast} ${dev(linkIndex)}${isV6 && noDad ? ' nodad' : ''}`]
    }
    case 'removeAddress':
      return [`ip addr del ${formatCidr(change.cidr)} ${dev(change.linkIndex)}`]
    case 'addRoute':
      // Appends, as the port does: routes by several gateways stand side by side.
      return [
        `ip route ${change.replace ? 'replace' : 'append'} ${routeWords(change.route, nameOf)}${numberWords(change.route)}`,
      ]
    case 'removeRoute':
      return [`ip route del ${routeWords(change.route, nameOf)}`]
    case 'setNeighbour': {
      const { address, mac, linkIndex } = change.neighbour
      return [`ip neigh replace ${formatAddress(address)} lladdr ${mac} ${dev(linkIndex)} nud permanent`]
    }
    case 'removeNeighbour':
      return [`ip neigh del ${formatAddress(change.neighbour.address)} ${dev(change.neighbour.linkIndex)}`]
    case 'setFdbEntry':
      return [`bridge fdb replace ${fdbWords(change.entry, nameOf)} permanent`]
    case 'removeFdbEntry':
      return [`bridge fdb del ${fdbWords(change.entry, nameOf)}`]
    case 'addPortVlan': {
      const { pvid, untagged } = change.vlan
      const flags = `${pvid ? ' pvid' : ''}${untagged ? ' untagged' : ''}${change.self ? ' self' : ''}`
      return [`bridge vlan add ${dev(change.linkIndex)} vid ${describeVlans(change.vlan)}${flags}`]
    }
    case 'removePortVlan':
      return [`bridge vlan del ${dev(change.linkIndex)} vid ${describeVlans(change.vlan)}`]
  }
}

function createVxlanCommand({ name, mac, mtu, vxlan }: Extract<Change, { op: 'createVxlan' }>): string {
  const { vni, port, local, learning } = vxlan
  const source = local ? ` local ${formatAddress(local)}` : ''
  const link = `ip link add name ${quote(name)} address ${mac} mtu ${mtu}`
  return `${link} type vxlan id ${vni} dstport ${port}${source}${learning ? '' : ' nolearning'}`
}

function fdbWords({ mac, destination, linkIndex }: FdbEntry, nameOf: NameOf): string {
  return `${mac} dev ${quote(nameOf(linkIndex))} dst ${formatAddress(destination)} self`
}

function setLinkCommands(change: Extract<StateChange, { op: 'setLink' }>, nameOf: NameOf): string[] {
  const { link, name, master, up, alias, vlanFiltering, ipv6LinkLocal, port = {} } = change
  const dev = `dev ${quote(refName(link, nameOf))}`
  const options = [
    ...ALL_LINK_SETTINGS.map(
      (key) => change[key] !== undefined && `${LINK_SETTINGS[key].option} ${change[key]}`,
    ),
    master !== undefined && (master === 0 ? 'nomaster' : `master ${quote(nameOf(master))}`),
    ipv6LinkLocal !== undefined && `addrgenmode ${ipv6LinkLocal ? 'eui64' : 'none'}`,
    up !== undefined && (up ? 'up' : 'down'),
    alias !== undefined && `alias ${quote(alias)}`,
    name !== undefined && `name ${quote(name)}`,
    change.untuned && 'type vxlan ttl 0 tos 0 df unset flowlabel 0 ageing 300',
    vlanFiltering !== undefined && `type bridge vlan_filtering ${Number(vlanFiltering)}`,
  ].filter(Boolean)
  return [
    ...(options.length > 0 ? [`ip link set ${dev} ${options.join(' ')}`] : []),
    ...Object.entries(port).map(([option, on]) => `bridge link set ${dev} ${option} ${on ? 'on' : 'off'}`),
  ]
}

function refName(ref: LinkRef, nameOf: NameOf): string {
  return 'name' in ref ? ref.name : nameOf(ref.index)
}

/** A scope is said in family 4 only, and only where it does not follow from having a gateway or not. */
function routeWords(route: Route, nameOf: NameOf): string {
  const { dst, gateway, table, priority, scope, protocol, onlink, linkIndex } = route
  const dev = linkIndex !== 0 && `dev ${quote(nameOf(linkIndex))}`
  const parts = [
    describeRoute(route),
    route.nextHopId !== undefined ? `nhid ${route.nextHopId}` : dev,
    table && table !== Table.main && `table ${table}`,
    priority && `metric ${priority}`,
    protocol && `proto ${protocol}`,
    onlink && 'onlink',
    dst.address.family === 4 &&
      scope !== undefined &&
      scope !== (gateway ? 0 : Scope.link) &&
      `scope ${scope}`,
  ]
  return parts.filter(Boolean).join(' ')
}

function numberWords({ source, mtu, advmss }: Route): string {
  const parts = [source && `src ${formatAddress(source)}`, mtu && `mtu ${mtu}`, advmss && `advmss ${advmss}`]
  return parts.map((part) => (part ? ` ${part}` : '')).join('')
}
