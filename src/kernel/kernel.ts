import type { Address, Cidr, Family } from '../core/address.ts'
import type { Mac } from '../core/mac.ts'
import type { FirewallChain } from './firewall/chain.ts'
import type { Nftables } from './nftables.ts'
import type { Recollection } from './recollection.ts'
import type { Traffic } from './traffic.ts'

/**
 * The kernel port: two synchronous interfaces, a kernel and a network namespace, with value types for links, addresses,
 * routes and neighbours. Changes are values, applied in one batch. Every refusal is a Fault with the kernel's errno, its
 * extended acknowledgement if there is one, and the change that was refused.
 */
export interface Kernel {
  /** Returns the namespace that this process was started in: the same object each time. */
  host(): Netns
  /**
   * Opens a network namespace by path (a bind mount or /proc/PID/ns/net). Throws a Fault: ENOENT when missing,
   * `Code.invalidNetns` when it is not a network namespace. The caller closes it.
   */
  openNetns(path: string): Netns
  /** The packet filter of the host. */
  readonly nftables: Nftables
  readonly traffic: Traffic
  /** Waits for a number of milliseconds. */
  pause(ms: number): void
  /** All packet filters of the host, of every program: those of nftables, and those of the older iptables. */
  firewall(): FirewallChain[]
  /** Changes whenever the machine boots: /proc/sys/kernel/random/boot_id. */
  bootId(): string
}

export interface Netns {
  /** Device and inode: two handles are the same namespace exactly when both are equal. */
  readonly identity: { readonly device: number; readonly inode: number }
  /** Remembers what `ask` asks. */
  remember<T>(ask: () => T): Recollection<T>
  /**
   * Sends the changes in as few batches as possible. The kernel tries every one, even after a refusal. Throws the first
   * refusal, with the change in words in its message.
   */
  apply(changes: readonly Change[]): void
  /** Applies the changes, then reads one link, in one round trip if possible. */
  applyAndRead(changes: readonly Change[], link: LinkRef): Link
  /** Returns one link, or undefined if there is none of that name or index. No dump. */
  link(ref: LinkRef): Link | undefined
  /** Returns all links. Retries an interrupted dump a bounded number of times. */
  links(): Link[]
  addresses(linkIndex: number): LinkAddress[]
  /** Returns the addresses of all links. */
  allAddresses(): PlacedAddress[]
  /** Routes that leave through this link, of the main and other tables, without the local table. */
  routes(linkIndex: number): Route[]
  /** Returns the routes of this origin (RTPROT_*), of all links, types and tables, one for each next hop. */
  routesOfProtocol(protocol: number): Route[]
  /** Permanent and learned neighbours of this link. */
  neighbours(linkIndex: number): Neighbour[]
  /** Returns the forwarding entries that a VXLAN link has itself, permanent and learned. */
  fdbEntries(linkIndex: number): FdbEntry[]
  /** Returns the indexes of the links with a route, a network prefix or an address from a router advertisement. Family 6. */
  advertisedLinks(): number[]
  /** Returns the queueing disciplines that are set on this link: those that send, and the place of its filters. */
  qdiscs(linkIndex: number): Qdisc[]
  /** Returns the filters of this link that have the form of ours, in their order. */
  packetFilters(linkIndex: number): PacketFilter[]
  /** Returns the VLANs of a bridge port, or of a bridge itself. None for any other link, and where the kernel has no VLANs. */
  portVlans(linkIndex: number): PortVlan[]
  /**
   * Returns the link by which traffic to `address` would leave. Undefined without a route, and for an address of this
   * namespace; IPv6 knows its own address a moment after it was added.
   */
  routeTo(address: Address): number | undefined
  /**
   * Returns the unicast routes that the kernel chooses from for each of these addresses, one for each next hop, as they
   * are in their table; and the policy rules in their order. One round trip. Leaves out a rule that only some packets of an
   * address match, by a mark or a port.
   */
  routing(addresses: readonly Address[]): {
    readonly routes: readonly Route[][]
    readonly rules: PolicyRule[]
  }
  /** The unicast default routes of one table that have the lowest priority number. */
  defaultRoutes(family: Family, table: number): Route[]
  /**
   * Applies the changes, then returns the entry by which the kernel would send a packet to each of these addresses, policy
   * rules included; in one round trip if possible. Throws refusals of changes as `apply` does.
   */
  lookupRoutes(addresses: readonly Address[], changes?: readonly Change[]): FibEntry[]
  /** All routes of a family, of all tables but the local one, and of all types. */
  fibEntries(family: Family): FibEntry[]
  /** A value below /proc/sys/net of this namespace, trimmed; `key` like `ipv4/ip_forward`. Undefined if missing. */
  readSysctl(key: string): string | undefined
  /** Throws a Fault with the errno and the key. */
  writeSysctl(key: string, value: string): void
  /** Throws as `writeSysctl` would without the permission, as on a read-only /proc/sys. Changes nothing. */
  probeSysctl(key: string): void
  /** Tells whether a link leaves checksums of TCP and UDP to the device that sends; undefined if it is missing, or has none to leave. */
  checksumOffload(link: string): boolean | undefined
  setChecksumOffload(link: string, isOn: boolean): void
  close(): void
}

/** A link by its name or by its index; in another namespace (`ip netns list-id`) by its index there. */
export type LinkRef = { readonly name: string } | { readonly index: number; readonly netnsId?: number }

export type Link = {
  readonly index: number
  readonly name: string
  /** `veth`, `bridge`, `vlan`, … or '' for a plain device such as lo. */
  readonly kind: string
  readonly mac: Mac
  /** Bytes. */
  readonly mtu: number
  /** Packets; 0 is a link without a queue. */
  readonly txQueueLength: number
  /** By which rules know a link among others; 0 is that of all links. */
  readonly group: number
  /** The MTU of IPv6 if it differs: a router advertised it, or net.ipv6.conf.LINK.mtu was set. */
  readonly ipv6Mtu?: number
  /** Administratively up (IFF_UP). */
  readonly up: boolean
  /**
   * IF_OPER_UP, or unknown on a plain device, such as lo, that never says. The kernel takes notice of a carrier in its own
   * time, up to a second, and drops what is sent until then.
   */
  readonly running: boolean
  /** Index of the bridge that this is a port of. */
  readonly master?: number
  readonly vxlan?: VxlanOptions
  /** For a veth: the index of the other end, in the other end's namespace. */
  readonly peer?: number
  /** For a VLAN link: its number, and the index of the link that it is on; none when that is in another namespace. */
  readonly vlan?: { readonly id: number; readonly parent?: number }
  readonly alias?: string
  /** IFF_PROMISC was set. A bridge port and a packet capture make a link promiscuous without it. */
  readonly promiscuous: boolean
  /** net.ipv6.conf.LINK.accept_ra: 0 believes no router advertisement. Absent on a link without IPv6. */
  readonly acceptRa?: number
  /** True: net.ipv6.conf.LINK.forwarding is on. The kernel believes router advertisements then only if `acceptRa` is 2. */
  readonly ipv6Forwarding?: boolean
  /** True: net.ipv6.conf.LINK.disable_ipv6 is on, and the link can have no address of family 6. */
  readonly ipv6Disabled?: boolean
  /** For a bridge: the families of which it asks the packet filters of IP, whatever net.bridge.* says. */
  readonly filteredFamilies?: readonly Family[]
  /** For a bridge: it filters VLANs. */
  readonly vlanFiltering?: boolean
  /** Bridge port attributes, when it is a port of a bridge. */
  readonly port?: PortOptions
}

export type PortOptions = { readonly hairpin?: boolean; readonly isolated?: boolean }

export type LinkAddress = {
  readonly cidr: Cidr
  readonly scope: number
  /** Bits of `AddressFlag`, and others. */
  readonly flags: number
}

/** An address with the index of its link. */
export type PlacedAddress = LinkAddress & { readonly linkIndex: number }

/** What of a VXLAN link cannot be changed once it exists. Source: RFC 7348. */
export type VxlanOptions = {
  /** VXLAN network identifier, 24 bits. */
  readonly vni: number
  /** UDP destination port. */
  readonly port: number
  /** Source of the outer packets; its family is that of the underlay. Left out: the kernel chooses, and the underlay is IPv4. */
  readonly local?: Address
  /** The link learns from which node a MAC sends, and so believes whoever can send to its port. */
  readonly learning: boolean
  /** What else differs from a link that is made with these options alone, but for `tuning`. Told of a link, and never asked for. */
  readonly extras?: string
  /** The same of what can be changed later: TTL, TOS, DF and flow label of outer packets, and the ageing of learned entries. */
  readonly tuning?: string
}

/** An entry of a VXLAN link: frames to this MAC go to the node of this address. */
export type FdbEntry = {
  readonly mac: Mac
  readonly destination: Address
  readonly linkIndex: number
  /** A UDP port, a VXLAN network identifier or a link of their own, in place of those of the VXLAN link. */
  readonly detour?: string
}

/** IFA_F_*, as far as anybody asks. Source: linux/if_addr.h. */
export const AddressFlag = {
  /** Family 6: duplicate detection goes on. */
  tentative: 0x40,
  /** Family 6: another machine has the address. It stays, tentative for ever and of no use. */
  dadFailed: 0x08,
} as const

/** RT_TABLE_*, as far as anybody asks. Source: linux/rtnetlink.h. */
export const Table = { main: 254, local: 255 } as const

/** RT_SCOPE_*, as far as anybody asks. Source: linux/rtnetlink.h. */
export const Scope = { link: 253, nowhere: 255 } as const

export type Route = {
  readonly dst: Cidr
  readonly gateway?: Address
  readonly linkIndex: number
  /** Preferred source address. */
  readonly source?: Address
  /** RT_SCOPE_*: 0 universe, 253 link, 254 host. Default: 253 without a gateway, else 0. Family 6 has 0 only. */
  readonly scope?: number
  /** Default 254, the main table. */
  readonly table?: number
  readonly priority?: number
  /** Bytes. */
  readonly mtu?: number
  readonly advmss?: number
  /** RTPROT_*: its origin. Default: 3 (boot) when it is added, any when it is removed. Told by `routesOfProtocol` only. */
  readonly protocol?: number
  /** The gateway counts as reachable on the link whatever the other routes say. Told by `routesOfProtocol` only. */
  readonly onlink?: boolean
  /** The entry has so many next hops, of which this is one. Told by `routesOfProtocol` only, and only if there are several. */
  readonly hopCount?: number
  /** RTN_*: what it does with a packet. Default: 1, unicast. This and what follows are told by `routesOfProtocol` only. */
  readonly type?: number
  /** It is for packets of this type of service alone (family 4), or from there alone (family 6). */
  readonly tos?: number
  readonly from?: Cidr
  /** The next hop object (`ip nexthop`) that gateway and link are of. Link 0: a route without any. */
  readonly nextHopId?: number
}

/** Packets with this source that come in by this interface are routed by this table, or dropped. Absent: whatever they have. */
export type PolicyRule = {
  readonly family: Family
  /** The lower, the earlier. */
  readonly priority: number
  readonly table: number
  readonly drops?: 'blackhole' | 'unreachable' | 'prohibit'
  readonly source?: Cidr
  readonly inputLink?: string
}

/**
 * What the kernel does with a packet: `local` takes it in, `none` has no route for it, `blackhole`, `unreachable` and
 * `prohibit` drop it by a route or a rule; `throw` ends the search of its table.
 */
export type FibEntryType =
  | 'unicast'
  | 'local'
  | 'broadcast'
  | 'blackhole'
  | 'unreachable'
  | 'prohibit'
  | 'throw'
  | 'none'
  | 'other'

/** The entry of a routing table by which a packet is sent. */
export type FibEntry = {
  readonly type: FibEntryType
  /** The destination of the route; undefined where the kernel does not say: of a dropped packet, and before Linux 4.13. */
  readonly dst?: Cidr
  readonly table?: number
  /** RTPROT_*: the origin of the route. */
  readonly protocol?: number
  readonly priority?: number
  /** Several for a route by several next hops. */
  readonly hops: readonly { readonly linkIndex: number; readonly gateway?: Address }[]
  /** The next hop object (`ip nexthop`) that the hops are of. */
  readonly nextHopId?: number
  /** The route in the kernel's own form, to make it again. */
  readonly entry?: Uint8Array
}

export type Neighbour = { readonly address: Address; readonly mac: Mac; readonly linkIndex: number }

/**
 * What is set on a link for its packets. `tbf` holds what the link sends to `rate` bytes a second; so many bytes may go at once
 * after a pause (`burst`), and wait (`limit`). `clsact` is the place of filters.
 */
export type Qdisc =
  | { readonly kind: 'tbf'; readonly rate: number; readonly burst: number; readonly limit: number }
  | { readonly kind: 'clsact' }

/** A decision about packets that a link receives (`ingress`) or sends (`egress`). The first that matches counts. */
export type PacketFilter = {
  readonly direction: 'ingress' | 'egress'
  /** From 1; none is used twice on a link: the kernel lists the filters of u32 that share one for both directions. */
  readonly order: number
  /** Left out: any packet. */
  readonly match?: { readonly end: 'source' | 'destination'; readonly cidr: Cidr }
  /** The index of the link that sends the packet in place of this one. Left out: the packet passes. */
  readonly redirect?: number
}

/** One end of a veth pair. */
export type VethEnd = { readonly name: string; readonly mac: Mac }

/** A VLAN or a range of VLANs on a bridge port. */
export type PortVlan = {
  readonly from: number
  /** Inclusive; equal to `from` for one VLAN. */
  readonly to: number
  readonly pvid?: boolean
  readonly untagged?: boolean
}

/** A change to one namespace. `create` fails with EEXIST, `remove` of what is missing with ENODEV or the like. */
export type Change =
  | {
      readonly op: 'createVeth'
      readonly host: VethEnd
      readonly peer: VethEnd
      readonly peerNetns: Netns
      readonly mtu?: number
    }
  | {
      readonly op: 'createBridge'
      readonly name: string
      readonly mac: Mac
      readonly mtu?: number
      readonly vlanFiltering?: boolean
    }
  | { readonly op: 'createVlan'; readonly name: string; readonly parent: number; readonly vlan: number }
  | {
      readonly op: 'createVxlan'
      readonly name: string
      readonly mac: Mac
      readonly mtu: number
      readonly vxlan: VxlanOptions
    }
  /** A link that puts what is redirected to it through its queueing discipline, and then back on its way. */
  | { readonly op: 'createIfb'; readonly name: string }
  | { readonly op: 'setQdisc' | 'removeQdisc'; readonly linkIndex: number; readonly qdisc: Qdisc }
  | {
      readonly op: 'addPacketFilter' | 'removePacketFilter'
      readonly linkIndex: number
      readonly filter: PacketFilter
    }
  | {
      readonly op: 'setLink'
      readonly link: LinkRef
      /** Another name, for a link that is given by its index. */
      readonly name?: string
      readonly up?: boolean
      readonly mtu?: number
      readonly txQueueLength?: number
      readonly group?: number
      readonly mac?: Mac
      /** Index of the bridge to join; 0 leaves it. */
      readonly master?: number
      /** The `tuning` of a VXLAN link becomes that of a new one. */
      readonly untuned?: true
      readonly port?: PortOptions
      readonly alias?: string
      readonly promiscuous?: boolean
      readonly vlanFiltering?: boolean
      /** net.ipv4.conf.LINK.*: sent with the link, no /proc needed. */
      readonly ipv4?: {
        readonly sendRedirects?: boolean
        /** Strict: a source must be reached by this link. The larger of it and that of `all` counts. */
        readonly rpFilter?: boolean
        readonly arpNotify?: boolean
        readonly routeLocalnet?: boolean
        readonly forwarding?: boolean
      }
      /** False: the kernel makes no link-local address of its own (IN6_ADDR_GEN_MODE_NONE). */
      readonly ipv6LinkLocal?: boolean
    }
  | { readonly op: 'removeLink'; readonly link: LinkRef }
  | {
      readonly op: 'addAddress'
      readonly linkIndex: number
      readonly cidr: Cidr
      /** Family 6: skip duplicate address detection. */
      readonly noDad?: boolean
      /** Do not make the route of the prefix. */
      readonly noPrefixRoute?: boolean
    }
  | { readonly op: 'removeAddress'; readonly linkIndex: number; readonly cidr: Cidr }
  | { readonly op: 'addRoute'; readonly route: Route; readonly replace?: boolean }
  | { readonly op: 'removeRoute'; readonly route: Route }
  /** Makes a route again, see `FibEntry`. */
  | { readonly op: 'restoreRoute'; readonly entry: Uint8Array }
  /** A permanent neighbour, made or replaced. */
  | { readonly op: 'setNeighbour'; readonly neighbour: Neighbour }
  | { readonly op: 'removeNeighbour'; readonly neighbour: Omit<Neighbour, 'mac'> }
  /** A permanent forwarding entry, made or replaced. */
  | { readonly op: 'setFdbEntry'; readonly entry: FdbEntry }
  | { readonly op: 'removeFdbEntry'; readonly entry: FdbEntry }
  | {
      readonly op: 'addPortVlan'
      readonly linkIndex: number
      readonly vlan: PortVlan
      readonly self?: boolean
    }
  | {
      readonly op: 'removePortVlan'
      readonly linkIndex: number
      readonly vlan: PortVlan
      readonly self?: boolean
    }
