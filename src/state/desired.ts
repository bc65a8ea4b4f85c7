import type { Address, Cidr } from '../core/address.ts'
import type { Mac } from '../core/mac.ts'
import type { LinkSetting } from '../kernel/describe.ts'
import type {
  Change,
  Netns,
  PacketFilter,
  PortOptions,
  PortVlan,
  Qdisc,
  Route,
  VxlanOptions,
} from '../kernel/kernel.ts'
import type { NftChain, NftCommand, NftElement, NftSet } from '../kernel/nftables/objects.ts'

/*
 * Kernel objects that must exist, as values. A list of them is in the order of creation: what is needed comes before
 * what needs it. Several sources may contribute to one list, and a list may span several namespaces.
 */
export type Desired =
  | DesiredLink
  | DesiredSysctl
  | DesiredChecksumOffload
  | DesiredPortVlans
  | DesiredAddress
  | DesiredNeighbour
  | DesiredFdbEntry
  | DesiredRoute
  | DesiredQdisc
  | DesiredPacketFilter
  | NftObject

/** What lies in nftables of the host, and on no link. */
export type NftObject = DesiredNftChain | DesiredNftElement | DesiredPrefixSet

/** A network namespace, and how a person reaches it. */
export type Place = {
  readonly netns: Netns
  /** Such as `on the host`. */
  readonly words: string
  /** What stands before a command that is to run there: empty, or `nsenter --net=PATH `. */
  readonly prefix: string
}

/** Returns the namespace of the node itself. */
export function hostPlace(netns: Netns): Place {
  return { netns, words: 'on the host', prefix: '' }
}

/** Links are named: their indexes are known only once they exist. */
export type OnLink = { readonly place: Place; readonly link: string }

type SetLink = Extract<Change, { op: 'setLink' }>

/** A link. What is left out may be anything. */
export type DesiredLink = OnLink &
  Pick<SetLink, LinkSetting | 'up' | 'alias' | 'ipv4'> & {
    readonly kind: 'link'
    /** How it is created. Without it, nothing can be done about one that is missing. */
    readonly create?: LinkType
    /** The MTU, in bytes: the link may have less. */
    readonly maxMtu?: number
    /** The bridge that it is a port of. */
    readonly master?: string
    /** False: it must be a port of nothing. */
    readonly isPort?: false
    /** Options that must be on; those that are false may be anything. */
    readonly port?: PortOptions
    readonly vlanFiltering?: boolean
  }

/**
 * A VLAN link must have this parent and number; a link of another kind in its place is as good. A VXLAN link must have these options,
 * and gets no link-local address.
 */
export type LinkType =
  | { readonly type: 'bridge'; readonly mac: Mac; readonly vlanFiltering: boolean }
  | { readonly type: 'ifb'; readonly alias: string }
  | { readonly type: 'vlan'; readonly parent: string; readonly id: number }
  | { readonly type: 'vxlan'; readonly mac: Mac; readonly mtu: number; readonly options: VxlanOptions }

/** A setting of a link, below `net/ipv6/conf/LINK/`. */
export type DesiredSysctl = OnLink & {
  readonly kind: 'sysctl'
  readonly leaf: string
  readonly value: string
  /** What another value means, such as `IPv6 is switched off on eth0 in the pod`. */
  readonly otherwise: string
}

/** Whether a link leaves checksums of TCP and UDP to the device that sends its packets. A new link does. */
export type DesiredChecksumOffload = OnLink & { readonly kind: 'checksumOffload'; readonly isOn: boolean }

/** The VLANs of a bridge port, which may be in others as well. */
export type DesiredPortVlans = OnLink & {
  readonly kind: 'portVlans'
  /** A later entry for the same VLAN counts. */
  readonly vlans: readonly PortVlan[]
  /** The VLANs are those of a bridge itself: whether it is a member is all that counts. */
  readonly self?: boolean
  /** The port must not be in the default VLAN of the bridge, unless `vlans` has it. */
  readonly dropDefault?: boolean
}

export type DesiredAddress = OnLink & {
  readonly kind: 'address'
  readonly cidr: Cidr
  /** Family 6: skip duplicate address detection. */
  readonly noDad: boolean
}

/** A permanent neighbour. */
export type DesiredNeighbour = OnLink & {
  readonly kind: 'neighbour'
  readonly address: Address
  readonly mac: Mac
}

/** A permanent forwarding entry of a VXLAN link: the node by which a MAC is reached. */
export type DesiredFdbEntry = OnLink & {
  readonly kind: 'fdbEntry'
  readonly mac: Mac
  readonly destination: Address
}

/** A queueing discipline. Filters are on a `clsact`, which comes before them. */
export type DesiredQdisc = OnLink & { readonly kind: 'qdisc'; readonly qdisc: Qdisc }

/** A filter, which may name the link that it redirects to. */
export type DesiredPacketFilter = OnLink & {
  readonly kind: 'packetFilter'
  readonly filter: Omit<PacketFilter, 'redirect'> & { readonly redirect?: string }
}

/** What a route leaves open may be anything, but for the table. */
export type DesiredRoute = OnLink & {
  readonly kind: 'route'
  readonly route: PlannedRoute
  /** A route that names no table may be in any. */
  readonly anyTable: boolean
}

/** A route of a link whose index is not known yet. */
export type PlannedRoute = Omit<Route, 'linkIndex'>

/** A chain of the host at its hook and with its rules in their order; rules of others may stand between them. */
export type DesiredNftChain = {
  readonly kind: 'nftChain'
  readonly chain: NftChain
  /** What is said when it is missing or wrong. */
  readonly otherwise: string
  /** The table and the maps that it needs. */
  readonly base?: readonly NftCommand[]
}

/** An element of a set or map, with its data. */
export type DesiredNftElement = {
  readonly kind: 'nftElement'
  readonly set: NftSet<unknown, unknown>
  readonly element: NftElement<unknown, unknown>
  /** What is said before `is missing` or `leads elsewhere`. */
  readonly otherwise: string
  /** The removal of what stands in the way when it is missing: of elements of an interval map that overlap with it. */
  readonly obstacles?: readonly NftCommand[]
}

/** A set of the host with these prefixes, of which no two overlap: see `widest`. Its comments say whose each is. */
export type DesiredPrefixSet = {
  readonly kind: 'prefixSet'
  readonly set: NftSet<Cidr>
  readonly elements: readonly NftElement<Cidr>[]
  /** What is said before `lacks 10.1.0.0/24`. */
  readonly words: string
}

/** Returns the objects that each of these routes is. */
export function routesOn(on: OnLink, routes: readonly PlannedRoute[], anyTable: boolean): DesiredRoute[] {
  return routes.map((route) => ({ kind: 'route', ...on, route, anyTable }))
}

/** Returns the objects that each of these addresses is. */
export function addressesOn(on: OnLink, cidrs: readonly Cidr[], noDad = true): DesiredAddress[] {
  return cidrs.map((cidr) => ({ kind: 'address', ...on, cidr, noDad }))
}
