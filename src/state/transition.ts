import { describeNftCommand } from '../kernel/nftables/describe.ts'
import { addElements, removeElements } from '../kernel/nftables/objects.ts'
import type { Desired, DesiredNftElement, Place } from './desired.ts'
import { type Difference, nftStep } from './explain.ts'
import { isKeyed, type KeyedObject, type OwnedObject, ownedOf, replacing } from './identity.ts'
import { changed, type Differences } from './owned.ts'

/** The objects of one source as they were and as they are to be. Links, chains and settings are not among them. */
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
  const known = (objects: readonly Desired[]) => new Map(objects.flatMap((one) => identified(one, indexOf)))
  const [before, after] = [
    known(transitions.flatMap((one) => one.before)),
    known(transitions.flatMap((one) => one.after)),
  ]
  const additions: Difference[] = []
  for (const [key, { object, owned }] of after) {
    const old = before.get(key)
    if (old && old.owned?.value === owned?.value) continue
    if (!owned) additions.push(elementAdded(object as DesiredNftElement))
    else {
      const changes = replacing(object as KeyedObject, indexOf((object as KeyedObject).link))
      additions.push(changed(owned, old ? 'wrong' : 'missing', place, changes, nameOf))
    }
  }
  // Routes go first: what packets on their way need comes before them in a desired state.
  const removals = [...before].reverse().flatMap(([key, { object, owned }]): Difference[] => {
    if (after.has(key)) return []
    if (!owned) return [elementRemoved(object as DesiredNftElement)]
    return [changed(owned, 'stale', place, [owned.removal], nameOf)]
  })
  return { additions, removals }
}

type Identified = { readonly object: Desired; readonly owned?: OwnedObject }

function identified(object: Desired, indexOf: (name: string) => number): [string, Identified][] {
  if (object.kind === 'nftElement') {
    return [[describeNftCommand(addElements(object.set, object.element)), { object }]]
  }
  if (!isKeyed(object)) return []
  const owned = ownedOf(object, indexOf(object.link))
  return [[owned.key, { object, owned }]]
}

function elementAdded({ set, element, otherwise }: DesiredNftElement): Difference {
  return { what: `${otherwise} is missing`, steps: [nftStep([addElements(set, element)])] }
}

function elementRemoved({ set, element, otherwise }: DesiredNftElement): Difference {
  return { what: `${otherwise} is stale`, steps: [nftStep([removeElements(set, element)])] }
}
