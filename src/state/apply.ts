import type { Change, Kernel } from '../kernel/kernel.ts'
import type { Place } from './desired.ts'
import type { Action, Difference, StateChange } from './explain.ts'
import { indexIn, type Observed } from './observe.ts'

/**
 * Ends the differences, in their order and in as few batches as possible: a batch ends where another namespace, a setting
 * or nftables comes next, and behind a new link, whose index is needed from then on. Throws the first refusal.
 */
export function apply(
  kernel: Pick<Kernel, 'nftables'>,
  differences: readonly Difference[],
  observed: Observed,
): void {
  const created = new Map<Place, Map<number, number>>()
  let batch: { readonly place: Place; readonly changes: Change[] } | undefined
  const flush = (): void => {
    const { place, changes } = batch ?? {}
    batch = undefined
    if (place && changes) place.netns.apply(changes)
  }
  const run = (action: Action): void => {
    if ('nft' in action) {
      flush()
      kernel.nftables.apply(action.nft)
      return
    }
    if ('run' in action) {
      flush()
      action.run()
      return
    }
    const { place } = action
    if (batch?.place !== place || !('change' in action)) flush()
    if ('sysctls' in action) {
      for (const [key, value] of action.sysctls) place.netns.writeSysctl(key, value)
      return
    }
    if ('offload' in action) {
      const { link, isOn } = action.offload
      place.netns.setChecksumOffload(link, isOn)
      return
    }
    const indexes = created.get(place) ?? new Map<number, number>()
    const change = withIndexes(action.change, (index) => indexes.get(index) ?? index)
    batch ??= { place, changes: [] }
    if (!isCreation(change)) {
      batch.changes.push(change)
      return
    }
    const { name } = change
    const { index } = place.netns.applyAndRead([...batch.changes, change], { name })
    batch = undefined
    const state = observed.places.get(place)
    if (state) created.set(place, indexes.set(indexIn(state, name), index))
  }
  for (const { steps } of differences) for (const { action } of steps) if (action) run(action)
  flush()
}

function isCreation(change: Change): change is Extract<Change, { name: string; op: `create${string}` }> {
  return ['createBridge', 'createIfb', 'createVlan', 'createVxlan'].includes(change.op)
}

/** Returns the change with the indexes of links that an earlier change has created. */
function withIndexes(change: StateChange, indexOf: (index: number) => number): StateChange {
  switch (change.op) {
    case 'createVlan':
      return { ...change, parent: indexOf(change.parent) }
    case 'setLink':
      return {
        ...change,
        link: 'index' in change.link ? { index: indexOf(change.link.index) } : change.link,
        ...(change.master !== undefined && { master: indexOf(change.master) }),
      }
    case 'addRoute':
    case 'removeRoute':
      return { ...change, route: { ...change.route, linkIndex: indexOf(change.route.linkIndex) } }
    case 'setNeighbour':
      return { ...change, neighbour: { ...change.neighbour, linkIndex: indexOf(change.neighbour.linkIndex) } }
    case 'setFdbEntry':
      return { ...change, entry: { ...change.entry, linkIndex: indexOf(change.entry.linkIndex) } }
    case 'addPacketFilter': {
      const { redirect, ...filter } = change.filter
      const to = redirect === undefined ? {} : { redirect: indexOf(redirect) }
      return { ...change, linkIndex: indexOf(change.linkIndex), filter: { ...filter, ...to } }
    }
    case 'setQdisc':
    case 'addAddress':
    case 'addPortVlan':
    case 'removePortVlan':
      return { ...change, linkIndex: indexOf(change.linkIndex) }
    default:
      return change
  }
}
