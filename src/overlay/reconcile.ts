import { type Fault, toFault } from '../core/errors.ts'
import type { Kernel, Netns } from '../kernel/kernel.ts'
import { apply } from '../state/apply.ts'
import type { Desired, Place } from '../state/desired.ts'
import type { Difference } from '../state/explain.ts'
import { differenceOwned, type Ownership, observeOwned } from '../state/owned.ts'
import type { UnderlayLink } from './cluster.ts'
import { OVERLAY_LINKS } from './registry.ts'
import { ROUTE_PROTOCOL } from './route.ts'

export type Reconciled = {
  /** What was missing, wrong or stale, in words. */
  readonly changes: readonly string[]
  /** What the kernel refused, each with the object that it concerns. The others are in place. */
  readonly failures: readonly Fault[]
}

/** Compares the node with the plan and ends the differences. */
export function reconcileOverlay(
  kernel: Pick<Kernel, 'nftables'>,
  place: Place,
  desired: readonly Desired[],
): Reconciled {
  const ownership = { place, links: OVERLAY_LINKS, protocol: ROUTE_PROTOCOL }
  const { found, failure } = attempt(kernel, ownership, desired)
  const changes = found.map(({ what }) => what)
  return { changes, failures: failure ? mendEach(kernel, ownership, desired) : [] }
}

/** Returns the links by which other nodes may be reached: all with an address, but the overlay's own. */
export function readUnderlay(netns: Netns): UnderlayLink[] {
  const addresses = Map.groupBy(netns.allAddresses(), ({ linkIndex }) => linkIndex)
  return netns.links().flatMap(({ index, name, mtu }) => {
    const found = addresses.get(index)
    if (!found || OVERLAY_LINKS.includes(name)) return []
    return { name, mtu, addresses: found.map(({ cidr }) => cidr) }
  })
}

/** Applies all differences in as few batches as possible. */
function attempt(
  kernel: Pick<Kernel, 'nftables'>,
  ownership: Ownership,
  desired: readonly Desired[],
): { readonly found: readonly Difference[]; readonly failure?: unknown } {
  const owned = observeOwned(ownership, desired)
  const found = differenceOwned(desired, ownership, owned)
  try {
    apply(kernel, found, owned.observed)
    return { found }
  } catch (failure) {
    return { found, failure }
  }
}

/** Looks again after a refusal, and applies what is left one by one: a refusal concerns one object and stops no other. */
function mendEach(
  kernel: Pick<Kernel, 'nftables'>,
  ownership: Ownership,
  desired: readonly Desired[],
): Fault[] {
  const owned = observeOwned(ownership, desired)
  return differenceOwned(desired, ownership, owned).flatMap((one) => {
    try {
      apply(kernel, [one], owned.observed)
      return []
    } catch (error) {
      return [toFault(error)]
    }
  })
}
