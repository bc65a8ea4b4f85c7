import { formatAddress, formatCidr } from '../core/address.ts'
import { describeFdbEntry, describeRoute } from '../kernel/describe.ts'
import { type Link, type Route, Scope, Table } from '../kernel/kernel.ts'
import { createOn, type OnLinkObject } from './create.ts'
import type { Desired, DesiredLink, Place, PlannedRoute } from './desired.ts'
import { difference } from './difference.ts'
import { changeStep, type Difference, type StateChange } from './explain.ts'
import { indexIn, isAsCreated, nameIn, newState, type Observed, type PlaceState } from './observe.ts'

/*
 * The difference for a program that owns objects of a node and must also remove those that are no longer desired. An object
 * counts as owned by its link or its origin, never by its value, so that objects of other programs are not even listed.
 */

/** What belongs to one program: the links of these names with all that lies on them, and all routes of this origin. */
export type Ownership = {
  readonly place: Place
  readonly links: readonly string[]
  /** RTPROT_*. */
  readonly protocol: number
}

/** What there is of it. */
export type Owned = {
  readonly observed: Observed
  /** By key; several where one was duplicated. */
  readonly objects: ReadonlyMap<string, readonly OwnedObject[]>
  /** Links that no longer have a purpose. What lies on them goes with them. */
  readonly staleLinks: readonly Link[]
}

/** An object as text: `key` says which it is, `value` what it says. */
type Keyed = {
  readonly key: string
  readonly value: string
  /** Such as `neighbour 10.244.2.0`. */
  readonly words: string
  /** The index of the link that it lies on. A route lies on none: it keeps its identity when it leaves by another link. */
  readonly on?: number
}
type OwnedObject = Keyed & { readonly removal: StateChange }

/** What a route of IPv6 gets that names no priority. */
const IPV6_PRIORITY = 1024

/** Lists what a program owns: a few dumps, however many objects there are. Links of other programs are asked for by name. */
export function observeOwned({ place, links, protocol }: Ownership, desired: readonly Desired[]): Owned {
  const { netns } = place
  const state = newState()
  const wanted = new Map(desired.flatMap((one) => (one.kind === 'link' ? [[one.link, one] as const] : [])))
  for (const name of [...links, ...linksOf(desired)]) {
    if (!state.links.has(name)) state.links.set(name, netns.link({ name }))
  }
  const lost = new Set<number>()
  const staleLinks: Link[] = []
  for (const name of links) {
    const link = state.links.get(name)
    if (link && !isWanted(link, wanted.get(name), state)) {
      lost.add(link.index)
      state.links.set(name, undefined)
      if (wanted.has(name)) state.others.add(name)
      else staleLinks.push(link)
    }
  }
  const kept = links.flatMap((name) => state.links.get(name) ?? [])
  const routes = netns.routesOfProtocol(protocol).filter(({ linkIndex }) => !lost.has(linkIndex))
  const found = [...routes.map(ownedRoute), ...kept.flatMap(({ index }) => objectsOn(netns, index))]
  const observed = { places: new Map([[place, state]]), nft: new Map() }
  return { observed, objects: Map.groupBy(found, ({ key }) => key), staleLinks }
}

/**
 * Returns what is missing or wrong, in the order of the desired objects, and what is stale. The removals come after the additions, so that
 * nothing right is away meanwhile.
 */
export function differenceOwned(
  desired: readonly Desired[],
  { place }: Ownership,
  { observed, objects, staleLinks }: Owned,
): { readonly additions: Difference[]; readonly removals: Difference[] } {
  const state = observed.places.get(place) ?? newState()
  const step = (change: StateChange) => changeStep(place, change, (index) => nameIn(state, index))
  const say = ({ words, on }: Keyed, judgement: string): string =>
    `${words}${on === undefined ? '' : ` on ${nameIn(state, on)}`} is ${judgement} ${place.words}`
  const stale = new Map(objects)
  const additions = desired.flatMap((object): Difference[] => {
    if (object.kind === 'link') return difference(desired, observed, [object])
    if (!isKeyed(object)) return []
    const wanted = ownedOf(object, indexIn(state, object.link))
    const { key, value } = wanted
    const present = objects.get(key) ?? []
    const match = present.find((one) => one.value === value) ?? present[0]
    stale.set(
      key,
      present.filter((one) => one !== match),
    )
    if (match?.value === value) return []
    const changes = createOn(object, indexIn(state, object.link)).map(replacing)
    return [{ what: say(wanted, match ? 'wrong' : 'missing'), steps: changes.map(step) }]
  })
  const removals = [...stale.values()].flat().map((one) => ({
    what: say(one, 'stale'),
    steps: [step(one.removal)],
  }))
  const links = staleLinks.map(({ name }) => ({
    what: `link ${name} is stale ${place.words}`,
    steps: [step({ op: 'removeLink', link: { name } })],
  }))
  return { additions, removals: [...removals, ...links] }
}

function linksOf(desired: readonly Desired[]): string[] {
  return [...new Set(desired.flatMap((one) => ('link' in one ? [one.link] : [])))]
}

function isWanted(link: Link, wanted: DesiredLink | undefined, { links }: PlaceState): boolean {
  return Boolean(wanted && (!wanted.create || isAsCreated(link, wanted.create, (name) => links.get(name))))
}

type KeyedObject = Exclude<OnLinkObject, { kind: 'portVlans' }>

function isKeyed(object: Desired): object is KeyedObject {
  return ['address', 'neighbour', 'fdbEntry', 'route'].includes(object.kind)
}

/** A route takes the place of the one to the same destination in one step: packets have a way at every moment. */
function replacing(change: StateChange): StateChange {
  return change.op === 'addRoute' ? { ...change, replace: true } : change
}

function objectsOn(netns: Place['netns'], linkIndex: number): OwnedObject[] {
  // Addresses of link scope are the kernel's own.
  const addresses = netns.addresses(linkIndex).filter(({ scope }) => scope !== Scope.link)
  return [
    ...netns.fdbEntries(linkIndex).map((entry) => ({
      ...keyed('fdbEntry', entry, linkIndex),
      removal: { op: 'removeFdbEntry', entry } as const,
    })),
    ...netns.neighbours(linkIndex).map((neighbour) => ({
      ...keyed('neighbour', neighbour, linkIndex),
      removal: { op: 'removeNeighbour', neighbour } as const,
    })),
    ...addresses.map(({ cidr }) => ({
      ...keyed('address', { cidr }, linkIndex),
      removal: { op: 'removeAddress', linkIndex, cidr } as const,
    })),
  ]
}

function ownedRoute(route: Route): OwnedObject {
  return { ...keyed('route', route, route.linkIndex), removal: { op: 'removeRoute', route } }
}

function ownedOf(object: KeyedObject, linkIndex: number): Keyed {
  switch (object.kind) {
    case 'route':
      return keyed('route', object.route, linkIndex)
    case 'address':
      return keyed('address', object, linkIndex)
    case 'neighbour':
      return keyed('neighbour', object, linkIndex)
    case 'fdbEntry':
      return keyed('fdbEntry', object, linkIndex)
  }
}

type Parts = {
  readonly route: PlannedRoute
  readonly address: Pick<Extract<KeyedObject, { kind: 'address' }>, 'cidr'>
  readonly neighbour: Pick<Extract<KeyedObject, { kind: 'neighbour' }>, 'address' | 'mac'>
  readonly fdbEntry: Pick<Extract<KeyedObject, { kind: 'fdbEntry' }>, 'mac' | 'destination'>
}

/** Each kind of object in words, which say which it is among its like, and with its value. */
const TEXTS: { readonly [K in keyof Parts]: (parts: Parts[K], link: number) => readonly [string, string] } = {
  route: (route, link) => [
    `route ${formatCidr(route.dst)}${placeInTables(route)}`,
    `${describeRoute(route)} ${link} ${route.mtu ?? ''} ${route.source ? formatAddress(route.source) : ''}`,
  ],
  address: ({ cidr }) => [`address ${formatCidr(cidr)}`, ''],
  neighbour: ({ address, mac }) => [`neighbour ${formatAddress(address)}`, mac],
  fdbEntry: (entry) => [`forwarding entry ${entry.mac}`, describeFdbEntry(entry)],
}

function keyed<K extends keyof Parts>(kind: K, parts: Parts[K], link: number): Keyed {
  const [words, value] = TEXTS[kind](parts, link)
  return kind === 'route' ? { key: words, value, words } : { key: `${words} ${link}`, value, words, on: link }
}

/** Says the table and the priority where they are not the usual ones. */
function placeInTables({ dst, table = Table.main, priority }: PlannedRoute): string {
  const usual = dst.address.family === 6 ? IPV6_PRIORITY : 0
  const metric = priority ?? usual
  return `${table === Table.main ? '' : ` table ${table}`}${metric === usual ? '' : ` metric ${metric}`}`
}
