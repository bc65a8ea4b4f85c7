import { type Cidr, cidrKey, contains, FAMILIES, formatCidr, networkOf } from '../core/address.ts'
import { describeFibEntry, removeRouteCommand } from '../kernel/describe_fib_entry.ts'
import { type FibEntry, Table } from '../kernel/kernel.ts'
import type { DesiredRoute } from '../state/desired.ts'
import { metricOf } from '../state/route.ts'
import type { OverlayPlan, PeerProblem } from './plan.ts'
import { ROUTE_PROTOCOL } from './route.ts'

/*
 * Routes of other programs that take packets to pods of other nodes, though ours are there: into a part of a range, with a lower metric, or
 * before ours in the kernel's list (IPv4: `ip route prepend`). They are not touched; people are told. Only the main table is looked at.
 */

type PlannedRange = { readonly node: string; readonly route: DesiredRoute }

/** Finds the planned route into whose destination another one leads. */
type RangeIndex = { find(dst: Cidr): PlannedRange | undefined }

/** Returns the index of a plan: ranges have few lengths, however many there are. */
function indexRanges({ peers }: OverlayPlan): RangeIndex {
  const ranges = new Map<string, PlannedRange>()
  const lengths = new Map(FAMILIES.map((family) => [family, new Set<number>()]))
  for (const [node, { routes }] of peers) {
    for (const route of routes) {
      const { dst } = route.route
      ranges.set(cidrKey(dst), { node, route })
      lengths.get(dst.address.family)?.add(dst.prefix)
    }
  }
  return {
    find({ address, prefix }) {
      for (const length of lengths.get(address.family) ?? []) {
        const found = length <= prefix && ranges.get(cidrKey(networkOf({ address, prefix: length })))
        if (found) return found
      }
      return undefined
    },
  }
}

/** Tells whether a route leads into a range of another node. The index is made when somebody asks after a step. */
export function watchRanges(plan: OverlayPlan): {
  isInto(dst: Cidr): boolean
  proceed(plan: OverlayPlan): void
} {
  let inForce = plan
  let index: RangeIndex | undefined
  return {
    isInto(dst) {
      if (isOfOwnPod(inForce, dst)) return false
      index ??= indexRanges(inForce)
      return index.find(dst) !== undefined
    },
    proceed(next) {
      inForce = next
      index = undefined
    },
  }
}

/** Of routes to pods of this node there are many, and they come and go. */
function isOfOwnPod({ node }: OverlayPlan, dst: Cidr): boolean {
  return node.podCidrs.some((own) => contains(own, dst.address))
}

/** Asks the kernel for all routes, and returns what the plan does not reach because of them. */
export function diversionsOf(plan: OverlayPlan): PeerProblem[] {
  const { node, peers } = plan
  if (peers.size === 0) return []
  const { netns } = node.place
  const index = indexRanges(plan)
  return FAMILIES.flatMap((family) => {
    /** Ours that the kernel has named before. */
    const passed = new Set<string>()
    return netns.fibEntries(family).flatMap((entry): PeerProblem[] => {
      const { dst, table = Table.main, protocol } = entry
      if (!dst || table !== Table.main) return []
      if (protocol === ROUTE_PROTOCOL) passed.add(cidrKey(dst))
      if (protocol === ROUTE_PROTOCOL || isOfOwnPod(plan, dst)) return []
      const range = index.find(dst)
      if (!range || !isTaking(entry, range.route, passed.has(cidrKey(dst)))) return []
      return [
        {
          node: range.node,
          range: formatCidr(range.route.route.dst),
          problem: `the route ${describeFibEntry(netns, entry)} of another program takes their packets`,
          hint: removeRouteCommand(netns, entry),
        },
      ]
    })
  })
}

/** Of two with one destination the lower metric counts, and of one metric that which the kernel has first. */
function isTaking(
  { dst, priority = 0 }: FibEntry,
  { route: ours }: DesiredRoute,
  isBehind: boolean,
): boolean {
  if (dst && dst.prefix > ours.dst.prefix) return true
  const metric = metricOf(ours)
  return priority === metric ? !isBehind : priority < metric
}
