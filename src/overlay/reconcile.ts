import { collectFaults, type Fault } from '../core/errors.ts'
import type { Kernel, Netns } from '../kernel/kernel.ts'
import { apply } from '../state/apply.ts'
import type { Difference } from '../state/explain.ts'
import type { Observed } from '../state/observe.ts'
import { differenceOwned, observeOwned } from '../state/owned.ts'
import type { UnderlayLink } from './cluster.ts'
import type { OverlayPlan } from './plan.ts'
import { OVERLAY_LINKS } from './registry.ts'
import { ROUTE_PROTOCOL } from './route.ts'

export type Reconciled = {
  /** What was missing, wrong or stale, in words. */
  readonly changes: readonly string[]
  /** What the kernel refused, each with the object that it concerns. The others are in place. */
  readonly failures: readonly Fault[]
}

/** What a run may do. `addOnly`: the cluster is not known for certain yet, so whatever is there may be right. */
export type Mode = 'addOnly' | 'whole'

/** Compares the node with the plan and ends the differences. */
export function reconcileOverlay(
  kernel: Pick<Kernel, 'nftables'>,
  plan: OverlayPlan,
  mode: Mode = 'whole',
): Reconciled {
  const { found, observed } = compare(plan, mode)
  const changes = found.map(({ what }) => what)
  try {
    apply(kernel, found, observed)
    return { changes, failures: [] }
  } catch {
    return { changes, failures: mendEach(kernel, plan, mode) }
  }
}

/** Returns the links by which other nodes may be reached: all with an address, but the overlay's own. */
export function readUnderlay(netns: Netns): UnderlayLink[] {
  const addresses = Map.groupBy(netns.allAddresses(), ({ linkIndex }) => linkIndex)
  return netns.links().flatMap(({ index, name, mtu }) => {
    const found = addresses.get(index)
    if (!found || OVERLAY_LINKS.includes(name)) return []
    return { index, name, mtu, addresses: found.map(({ cidr }) => cidr) }
  })
}

/** Looks again after a refusal, and applies what is left one by one: a refusal concerns one object and stops no other. */
function mendEach(kernel: Pick<Kernel, 'nftables'>, plan: OverlayPlan, mode: Mode): Fault[] {
  const { found, observed } = compare(plan, mode)
  return collectFaults(found.map((one) => () => apply(kernel, [one], observed)))
}

function compare(
  { place, desired }: OverlayPlan,
  mode: Mode,
): { readonly found: readonly Difference[]; readonly observed: Observed } {
  const ownership = { place, links: OVERLAY_LINKS, protocol: ROUTE_PROTOCOL }
  const owned = observeOwned(ownership, desired)
  const { additions, removals } = differenceOwned(desired, ownership, owned)
  const found = mode === 'addOnly' ? additions : [...additions, ...removals]
  return { found, observed: owned.observed }
}
