import { type Address, sameAddress } from '../../../src/core/address.ts'
import type { Mac } from '../../../src/core/mac.ts'
import {
  type Link,
  type LinkAddress,
  type LinkRef,
  AddressFlag as PortFlag,
  type Route,
  type VxlanOptions,
} from '../../../src/kernel/kernel.ts'
import { refusal } from './steps.ts'

/** The fake's own memory of a namespace. Plain data; the rules are in the files beside this one. */
export type Namespace = {
  readonly clock: Clock
  readonly inode: number
  readonly links: Map<number, FakeLink>
  /** The kernel does not use an index twice. */
  nextIndex: number
  routes: FakeRoute[]
  /** Per-interface sysctls of the pseudo-interfaces. */
  readonly conf: { readonly all: Conf; readonly default: Conf }
  /** A namespace lives as long as it has a name or an open handle, as in the kernel. */
  path: string | undefined
  handles: number
}

/** The fake's own time, and how long duplicate detection takes on a link that runs: milliseconds. */
export type Clock = { nowMs: number; readonly duplicateDetectionMs: number }

/** `settlesAtMs`: when duplicate detection, once begun, will have its answer. */
export type FakeAddress = LinkAddress & { readonly settlesAtMs?: number }

export type FakeLink = {
  readonly namespace: Namespace
  readonly index: number
  name: string
  readonly kind: '' | 'veth' | 'bridge' | 'ifb' | 'vlan' | 'vxlan'
  mac: Mac
  mtu: number
  txQueueLength: number
  group: number
  up: boolean
  promiscuous: boolean
  hasChecksumOffload: boolean
  alias: string
  master: FakeLink | undefined
  /** The other end of a veth, in whatever namespace it is. */
  peer: FakeLink | undefined
  vlan: { readonly parent: FakeLink; readonly id: number } | undefined
  vxlan:
    | { readonly options: VxlanOptions; fdb: { readonly mac: Mac; readonly destination: Address }[] }
    | undefined
  bridge: BridgeState | undefined
  port: PortState | undefined
  addresses: FakeAddress[]
  neighbours: { readonly address: Address; readonly mac: Mac }[]
  readonly conf: Conf
}

/** Sysctls of one interface: leaf such as `ipv4/forwarding` to value. */
export type Conf = Map<string, string>

export type BridgeState = { vlanFiltering: boolean; mtuGiven: boolean; readonly vlans: VlanTable }
export type PortState = { hairpin: boolean; isolated: boolean; readonly vlans: VlanTable }
export type VlanTable = Map<number, { readonly pvid: boolean; readonly untagged: boolean }>

/** A route with everything filled in; `kernel` marks the route of an address's prefix. */
export type FakeRoute = Route & {
  readonly scope: number
  readonly table: number
  readonly priority: number
  readonly kernel: boolean
}

export const MAIN_TABLE = 254
export const Scope = { universe: 0, link: 253, host: 254 } as const
/** IFA_F_*. Source: linux/if_addr.h. */
export const AddressFlag = {
  ...PortFlag,
  nodad: 0x02,
  permanent: 0x80,
}
/** IPv6 works on no link with a smaller MTU (RFC 8200): bytes. */
export const MIN_IPV6_MTU = 1280

export function findLink(namespace: Namespace, ref: LinkRef): FakeLink | undefined {
  if ('index' in ref) return namespace.links.get(ref.index)
  return [...namespace.links.values()].find(({ name }) => name === ref.name)
}

/** Throws ENODEV when there is none. */
export function requireLink(namespace: Namespace, ref: LinkRef): FakeLink {
  const link = findLink(namespace, ref)
  if (!link) throw refusal('ENODEV')
  return link
}

export function portsOf(bridge: FakeLink): FakeLink[] {
  return [...bridge.namespace.links.values()].filter(({ master }) => master === bridge)
}

export function vlansOn(parent: FakeLink): FakeLink[] {
  return [...parent.namespace.links.values()].filter(({ vlan }) => vlan?.parent === parent)
}

/** Whether packets can pass: up, and with a carrier, which comes from the other end, a port or the parent. */
export function isRunning(link: FakeLink): boolean {
  if (!link.up) return false
  if (link.kind === 'veth') return link.peer?.up === true
  if (link.kind === 'bridge') return portsOf(link).some(isRunning)
  return link.vlan ? isRunning(link.vlan.parent) : true
}

export function holdsAddress(namespace: Namespace, address: Address): boolean {
  return [...namespace.links.values()].some(({ addresses }) =>
    addresses.some(({ cidr }) => sameAddress(cidr.address, address)),
  )
}

/** The link as the port shows it. */
export function showLink(link: FakeLink): Link {
  return {
    index: link.index,
    name: link.name,
    kind: link.kind,
    mac: link.mac,
    mtu: link.mtu,
    txQueueLength: link.txQueueLength,
    group: link.group,
    up: link.up,
    running: isRunning(link),
    promiscuous: link.promiscuous,
    ...(link.master && { master: link.master.index }),
    ...(link.peer && { peer: link.peer.index }),
    ...(link.vlan && { vlan: { id: link.vlan.id, parent: link.vlan.parent.index } }),
    ...(link.vxlan && { vxlan: link.vxlan.options }),
    ...(link.alias && { alias: link.alias }),
    ...(link.mtu >= MIN_IPV6_MTU && { acceptRa: Number(link.conf.get('ipv6/accept_ra')) }),
    ...(isOn(link, 'ipv6/forwarding') && { ipv6Forwarding: true }),
    ...(isOn(link, 'ipv6/disable_ipv6') && { ipv6Disabled: true }),
    ...(link.bridge && { vlanFiltering: link.bridge.vlanFiltering }),
    ...(link.port && { port: { hairpin: link.port.hairpin, isolated: link.port.isolated } }),
  }
}

/** A setting of family 6, which a link of a small MTU does not have. */
function isOn({ mtu, conf }: FakeLink, leaf: string): boolean {
  return mtu >= MIN_IPV6_MTU && conf.get(leaf) === '1'
}
