import { type Address, formatAddress, hostCidr } from '../core/address.ts'
import { describeFibEntry, removeRouteCommand } from '../kernel/describe_fib_entry.ts'
import { type FibEntry, type Link, type Netns, Table } from '../kernel/kernel.ts'
import type { Place } from '../state/desired.ts'
import { changeStep, type Difference, type Step } from '../state/explain.ts'
import { deliveredAddresses, dropping, leadsTo } from './delivery.ts'
import { mayBeLeftOver } from './foreign.ts'
import { describeOwn, isExact, isOwn, isPending } from './route_lookup.ts'
import type { PodSpec } from './spec.ts'

/**
 * Returns where the node sends what is for the pod, if that is not `link`, with what is in the way. Nothing is said of a
 * link in a VRF: the kernel looks elsewhere than where it was asked. With `isMissing`, objects of ours are missing: then a
 * wider route takes the place of ours, and only a route for the very address is named.
 */
export function diagnoseDelivery(
  place: Place,
  spec: PodSpec,
  link: Link | undefined,
  isMissing: boolean,
): Difference[] {
  if (!link || (spec.bridge && link.master !== undefined)) return []
  const addresses = deliveredAddresses(spec)
  const entries = addresses.length > 0 ? place.netns.lookupRoutes(addresses) : []
  return addresses.flatMap((address, i) => {
    const entry = entries[i]
    if (!entry || leadsTo(entry, link) || (isMissing && !isRival(place.netns, address, entry))) return []
    const what = `what the node sends to ${formatAddress(address)} does not leave by ${link.name}`
    const { why, steps } = findCause(place, spec, link, address, entry)
    return [{ what: `${what}: ${why}`, steps }]
  })
}

function isRival(host: Netns, address: Address, entry: FibEntry): boolean {
  const found = entry.type === 'unicast' ? entry : dropping(host, address, entry)
  return found !== undefined && isExact(found)
}

type Cause = { readonly why: string; readonly steps: readonly Step[] }

function findCause(place: Place, spec: PodSpec, link: Link, address: Address, entry: FibEntry): Cause {
  const host = place.netns
  // A route can't help, and the node may need its address.
  if (isOwn(entry) || isPending(host, address, entry))
    return { why: describeOwn(host, address, entry), steps: [] }
  const culprit = entry.type === 'unicast' ? entry : dropping(host, address, entry)
  const route = { dst: hostCidr(address), linkIndex: link.index }
  const ours = changeStep(place, { op: 'addRoute', route }, () => link.name)
  if (!culprit && entry.type === 'none')
    return { why: 'no route leads there', steps: spec.mode === 'l2' ? [ours] : [] }
  if (!culprit) return { why: 'a policy rule drops it (ip rule show)', steps: [] }
  const isPassable = spec.mode === 'l2' && !isExact(culprit) && (culprit.table ?? Table.main) === Table.main
  const why = `route ${describeFibEntry(host, culprit)} comes first`
  if (isPassable) return { why, steps: [ours] }
  return { why, steps: mayBeLeftOver(host, culprit) ? [{ command: removeRouteCommand(host, culprit) }] : [] }
}
