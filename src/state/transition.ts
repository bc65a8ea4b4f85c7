import type { Desired, Place } from './desired.ts'
import type { Difference } from './explain.ts'
import { isKeyed, type KeyedObject, type OwnedObject, ownedOf, replacing } from './identity.ts'
import { changed, type Differences } from './owned.ts'

/** The objects of one source as they were and as they are to be: addresses, neighbours, forwarding entries and routes. */
export type Transition = { readonly before: readonly Desired[]; readonly after: readonly Desired[] }

/**
 * Returns what leads from one desired state to the next where the first is in force: the cost is that of what differs, not of all there is.
 * Nothing is asked, so whether it is in force must be looked at elsewhere, now and then. `linkOf` returns the index of a link by its name.
 */
export function differenceBetween(
  place: Place,
  transitions: readonly Transition[],
  linkOf: (name: string) => number,
): Differences {
  const names = new Map<number, string>()
  const indexOf = (name: string): number => {
    const index = linkOf(name)
    names.set(index, name)
    return index
  }
  const nameOf = (index: number) => names.get(index) ?? String(index)
  const known = (objects: readonly Desired[]) =>
    new Map(objects.filter(isKeyed).map((object) => identified(object, indexOf(object.link))))
  const before = known(transitions.flatMap((one) => one.before))
  const after = known(transitions.flatMap((one) => one.after))
  const additions: Difference[] = []
  for (const [key, { object, linkIndex, owned }] of after) {
    const old = before.get(key)
    if (old?.owned.value === owned.value) continue
    additions.push(changed(owned, old ? 'wrong' : 'missing', place, replacing(object, linkIndex), nameOf))
  }
  // Routes go first: what packets on their way need comes before them in a desired state.
  const removals = [...before]
    .reverse()
    .filter(([key]) => !after.has(key))
    .map(([, { owned }]) => changed(owned, 'stale', place, [owned.removal], nameOf))
  return { additions, removals }
}

type Identified = { readonly object: KeyedObject; readonly linkIndex: number; readonly owned: OwnedObject }

function identified(object: KeyedObject, linkIndex: number): [string, Identified] {
  const owned = ownedOf(object, linkIndex)
  return [owned.key, { object, linkIndex, owned }]
}
