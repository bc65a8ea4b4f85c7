import { type Link, type Netns, Scope } from '../kernel/kernel.ts'
import type { Desired, DesiredLink, Place } from './desired.ts'
import { difference } from './difference.ts'
import { changeStep, type Difference, type StateChange } from './explain.ts'
import {
  isKeyed,
  type OwnedObject,
  ownedAddress,
  ownedFdbEntry,
  ownedNeighbour,
  ownedOf,
  ownedRoute,
  replacing,
  wordsOf,
} from './identity.ts'
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
  /** Desired links under names that somebody else has given them: they keep a new one from being made. */
  readonly renamedLinks: readonly Link[]
}

/** What ends the differences. The removals come after the additions, so that nothing right is away meanwhile. */
export type Differences = { readonly additions: Difference[]; readonly removals: Difference[] }

/** Lists what a program owns: a few dumps, however many objects there are. Links of other programs are asked for by name. */
export function observeOwned({ place, links, protocol }: Ownership, desired: readonly Desired[]): Owned {
  const { netns } = place
  const state = newState()
  const wanted = new Map(desired.flatMap((one) => (one.kind === 'link' ? [[one.link, one] as const] : [])))
  for (const name of new Set([...links, ...linksOf(desired)])) state.links.set(name, netns.link({ name }))
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
  for (const one of desired) {
    if (one.kind === 'checksumOffload' && state.links.get(one.link))
      state.checksumOffloads.set(one.link, netns.checksumOffload(one.link))
  }
  const kept = links.flatMap((name) => state.links.get(name) ?? [])
  const routes = netns.routesOfProtocol(protocol).filter(({ linkIndex }) => !lost.has(linkIndex))
  const found = [...routes.map(ownedRoute), ...kept.flatMap(({ index }) => objectsOn(netns, index))]
  const observed = { places: new Map([[place, state]]), nft: new Map() }
  const renamedLinks = renamedOf([...wanted.values()], state, netns)
  return { observed, objects: Map.groupBy(found, ({ key }) => key), staleLinks, renamedLinks }
}

/**
 * Returns what is missing or wrong, in the order of the desired objects, and what is stale. `isSpared`: stays as it is, although something
 * else is desired in its place.
 */
export function differenceOwned(
  desired: readonly Desired[],
  { place }: Ownership,
  { observed, objects, staleLinks, renamedLinks }: Owned,
  isSpared: (present: OwnedObject) => boolean = () => false,
): Differences {
  const state = observed.places.get(place) ?? newState()
  const nameOf = (index: number) => nameIn(state, index)
  const stale = new Map(objects)
  const removeLink = (name: string) => [changeStep(place, { op: 'removeLink', link: { name } }, nameOf)]
  const renamed = renamedLinks.map(({ name }) => ({
    what: `link ${name} is one of ours by another name ${place.words}`,
    steps: removeLink(name),
  }))
  const additions = desired.flatMap((object): Difference[] => {
    if (object.kind === 'link' || object.kind === 'checksumOffload')
      return difference(desired, observed, [object])
    if (!isKeyed(object)) return []
    const linkIndex = indexIn(state, object.link)
    const wanted = ownedOf(object, linkIndex)
    const present = objects.get(wanted.key) ?? []
    const match = present.find(({ value }) => value === wanted.value) ?? present[0]
    if (present.length <= 1 || hopCountOf(match) > 1) stale.delete(wanted.key)
    else {
      stale.set(
        wanted.key,
        present.filter((one) => one !== match),
      )
    }
    if (match && (match.value === wanted.value || isSpared(match))) return []
    const judgement = match ? 'wrong' : 'missing'
    return [changed(wanted, judgement, place, replacing(object, linkIndex), nameOf)]
  })
  const removals = [...stale.values()]
    .flat()
    .map((one) => changed(one, 'stale', place, [one.removal], nameOf))
  const links = staleLinks.map(({ name }) => ({
    what: `link ${name} is stale ${place.words}`,
    steps: removeLink(name),
  }))
  return { additions: [...renamed, ...additions], removals: [...removals, ...links] }
}

/** Returns the difference that says what is the matter with an object, and ends it by these changes. */
export function changed(
  object: OwnedObject,
  judgement: 'missing' | 'wrong' | 'stale',
  place: Place,
  changes: readonly StateChange[],
  nameOf: (index: number) => string,
): Difference {
  return {
    get what() {
      return `${wordsOf(object, nameOf)} is ${judgement} ${place.words}`
    },
    steps: changes.map((change) => changeStep(place, change, nameOf)),
  }
}

/** All next hops of an IPv6 route go with its replacement, whoever has added them. */
function hopCountOf(object: OwnedObject | undefined): number {
  return object?.removal.op === 'removeRoute' ? (object.removal.route.hopCount ?? 1) : 1
}

function linksOf(desired: readonly Desired[]): Set<string> {
  const links = new Set<string>()
  for (const one of desired) if ('link' in one) links.add(one.link)
  return links
}

/** A link is told by its MAC, which is derived, and by what it is. Looks for those only that are missing. */
function renamedOf(wanted: readonly DesiredLink[], state: PlaceState, netns: Netns): Link[] {
  const missing = wanted.filter(({ link, create }) => create?.type === 'vxlan' && !state.links.get(link))
  if (missing.length === 0) return []
  return netns
    .links()
    .filter((link) =>
      missing.some(
        ({ create, link: name }) =>
          link.name !== name &&
          link.kind === 'vxlan' &&
          create?.type === 'vxlan' &&
          link.mac === create.mac &&
          isAsCreated(link, create, () => undefined),
      ),
    )
}

function isWanted(link: Link, wanted: DesiredLink | undefined, { links }: PlaceState): boolean {
  return Boolean(wanted && (!wanted.create || isAsCreated(link, wanted.create, (name) => links.get(name))))
}

function objectsOn(netns: Netns, linkIndex: number): OwnedObject[] {
  // Addresses of link scope are the kernel's own.
  const addresses = netns.addresses(linkIndex).filter(({ scope }) => scope !== Scope.link)
  return [
    ...netns.fdbEntries(linkIndex).map(ownedFdbEntry),
    ...netns.neighbours(linkIndex).map(ownedNeighbour),
    ...addresses.map(({ cidr }) => ownedAddress(cidr, linkIndex)),
  ]
}
