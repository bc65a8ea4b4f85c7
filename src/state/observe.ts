import { type Cidr, sameAddress } from '../core/address.ts'
import type {
  FdbEntry,
  Kernel,
  Link,
  LinkAddress,
  Neighbour,
  PacketFilter,
  PortVlan,
  Qdisc,
  Route,
} from '../kernel/kernel.ts'
import type { NftElement } from '../kernel/nftables/objects.ts'
import type { Nftables } from '../kernel/nftables.ts'
import type { Desired, DesiredNftElement, DesiredSysctl, LinkType, NftObject, Place } from './desired.ts'

/** What there is of the desired objects. */
export type Observed = {
  readonly places: ReadonlyMap<Place, PlaceState>
  /** Whether a chain, or an element, is as desired. Of an element: `other` leads elsewhere. */
  readonly nft: ReadonlyMap<Desired, NftState>
  /** Of each dormant table the first chain. */
  readonly dormant?: ReadonlySet<Desired>
  /** Of each set of prefixes what it has. */
  readonly prefixes?: ReadonlyMap<Desired, readonly NftElement<Cidr>[]>
}

export type NftState = 'present' | 'missing' | 'other'

/** By the name of the link; only what a desired object asked about. */
export type PlaceState = {
  readonly links: Map<string, Link | undefined>
  /** Links of a desired name that are something else: they have to go, and count as missing. */
  readonly others: Set<string>
  readonly addresses: Map<string, readonly LinkAddress[]>
  readonly routes: Map<string, readonly Route[]>
  readonly neighbours: Map<string, readonly Neighbour[]>
  readonly fdbEntries: Map<string, readonly FdbEntry[]>
  readonly portVlans: Map<string, readonly PortVlan[]>
  readonly qdiscs: Map<string, readonly Qdisc[]>
  readonly packetFilters: Map<string, readonly PacketFilter[]>
  readonly checksumOffloads: Map<string, boolean | undefined>
  /** By the key. */
  readonly sysctls: Map<string, string | undefined>
}

/** Asks the kernel about these objects, each question once. Links that are known already are not asked for. */
export function observe(
  { nftables }: Pick<Kernel, 'nftables'>,
  desired: readonly Desired[],
  known: ReadonlyMap<Place, readonly Link[]> = new Map(),
): Observed {
  const places = new Map<Place, PlaceState>()
  const nft = new Map<Desired, NftState>()
  const dormant = new Set<Desired>()
  const tables = new Set<string>()
  const prefixes = new Map<Desired, readonly NftElement<Cidr>[]>()
  for (const object of desired) {
    if (object.kind === 'nftChain') {
      nft.set(object, nftables.hasChain(object.chain) ? 'present' : 'missing')
      const { family, name } = object.chain.table
      if (!tables.has(family + name) && nftables.isDormant(object.chain.table)) dormant.add(object)
      tables.add(family + name)
    } else if (object.kind === 'nftElement') nft.set(object, elementState(nftables, object))
    else if (object.kind === 'prefixSet') prefixes.set(object, nftables.elements(object.set))
    else {
      const state = places.get(object.place) ?? newState(known.get(object.place))
      places.set(object.place, state)
      look(object, state)
    }
  }
  return { places, nft, dormant, prefixes }
}

/** Returns the key of a setting, and that of the default which a new link begins with. */
export function sysctlKeys({ leaf, link }: DesiredSysctl): readonly [own: string, fresh: string] {
  return [`ipv6/conf/${link}/${leaf}`, `ipv6/conf/default/${leaf}`]
}

/** Returns the index of a link; of one that is missing, a number below 0 that stands for it. */
export function indexIn({ links }: PlaceState, name: string): number {
  return links.get(name)?.index ?? -1 - [...links.keys()].indexOf(name)
}

/** Returns the name of the link that `indexIn` returned this index for. */
export function nameIn({ links }: PlaceState, index: number): string {
  const found = [...links].find(([, link]) => link?.index === index)
  return found?.[0] ?? [...links.keys()][-1 - index] ?? String(index)
}

export function newState(links: readonly Link[] = []): PlaceState {
  return {
    links: new Map(links.map((link) => [link.name, link])),
    others: new Set(),
    addresses: new Map(),
    routes: new Map(),
    neighbours: new Map(),
    fdbEntries: new Map(),
    portVlans: new Map(),
    qdiscs: new Map(),
    packetFilters: new Map(),
    checksumOffloads: new Map(),
    sysctls: new Map(),
  }
}

function look(object: Exclude<Desired, NftObject>, state: PlaceState): void {
  const { place, link: name } = object
  const { netns } = place
  const named = (one: string): Link | undefined => once(state.links, one, () => netns.link({ name: one }))
  if (object.kind === 'sysctl') {
    const [own, fresh] = sysctlKeys(object)
    const link = state.links.get(name)
    const isMissing = state.links.has(name) && !link
    const read = () => (isMissing ? undefined : netns.readSysctl(own)) ?? netns.readSysctl(fresh)
    once(state.sysctls, own, () => (link && shownBy(link, object.leaf)) ?? read())
    return
  }
  const link = named(name)
  if (object.kind === 'link') {
    if (object.master !== undefined) named(object.master)
    if (link && object.create && !isAsCreated(link, object.create, named)) {
      state.others.add(name)
      state.links.set(name, undefined)
    }
    return
  }
  if (object.kind === 'checksumOffload') {
    if (link) once(state.checksumOffloads, name, () => netns.checksumOffload(name))
    return
  }
  if (object.kind === 'packetFilter' && object.filter.redirect !== undefined) named(object.filter.redirect)
  if (!link) return
  const question = QUESTIONS[object.kind]
  once<string, unknown>(state[question], name, () => netns[question](link.index))
}

/** What is asked of a link for each kind of object on it: methods of a namespace, and what keeps their answers. */
const QUESTIONS = {
  fdbEntry: 'fdbEntries',
  address: 'addresses',
  neighbour: 'neighbours',
  packetFilter: 'packetFilters',
  portVlans: 'portVlans',
  qdisc: 'qdiscs',
  route: 'routes',
} as const

/** Returns the value of a setting that the kernel shows with the link. */
function shownBy({ acceptRa, ipv6Disabled }: Link, leaf: string): string | undefined {
  if (acceptRa === undefined) return undefined
  return leaf === 'disable_ipv6'
    ? String(Number(ipv6Disabled ?? false))
    : leaf === 'accept_ra'
      ? String(acceptRa)
      : undefined
}

/** Reports whether a link is what it would have been created as. What can be changed later does not count, nor does a bridge's kind. */
export function isAsCreated(
  link: Link,
  create: LinkType,
  linkOf: (name: string) => Link | undefined,
): boolean {
  if (create.type === 'ifb') return link.kind === 'ifb'
  if (create.type === 'vlan') return isVlanOf(linkOf(create.parent), create.id, link)
  if (create.type !== 'vxlan') return true
  const { vni, port, learning, local } = create.options
  const { vxlan } = link
  const hasLocal = local === vxlan?.local || (local && vxlan?.local && sameAddress(local, vxlan.local))
  const isSame = vxlan?.vni === vni && vxlan.port === port && vxlan.learning === learning && !vxlan.extras
  return isSame && hasLocal === true
}

/** A veth may do the same: the reference plugin has one in place of a VLAN link. */
function isVlanOf(parent: Link | undefined, id: number, { kind, vlan }: Link): boolean {
  return kind === 'veth' || (vlan?.id === id && parent !== undefined && vlan.parent === parent.index)
}

function once<K, V>(known: Map<K, V>, key: K, ask: () => V): V {
  if (!known.has(key)) known.set(key, ask())
  return known.get(key) as V
}

function elementState(nftables: Nftables, { set, element }: DesiredNftElement): NftState {
  if (nftables.hasElement(set, element)) return 'present'
  // Of an interval set the kernel shows the element that holds the key, whatever its own interval is.
  return !set.key.last && nftables.hasElement(set, { key: element.key }) ? 'other' : 'missing'
}
