import { type Address, formatAddress, hostCidr } from '../core/address.ts'
import type { FibEntry, Link, Netns } from '../kernel/kernel.ts'
import { deliveredAddresses, dropping, leadsTo } from './delivery.ts'
import { describeFibEntry, removeRouteCommand } from './describe_fib_entry.ts'
import { mayBeLeftOver } from './foreign.ts'
import { addRoute, finding, hostPlace } from './repair.ts'
import { describeOwn, isExact, isOwn, isPending } from './route_lookup.ts'
import type { PodSpec } from './spec.ts'

const MAIN_TABLE = 254

/**
 * Where the node sends what is for the pod, if that is not `link`, with what is in the way. Of a link in a VRF nothing is
 * said: the kernel looks elsewhere than where it was asked. `isMissing`: where routes of ours are, a wider one takes their
 * place and is no finding.
 */
export function compareDelivery(
  host: Netns,
  spec: PodSpec,
  link: Link | undefined,
  isMissing = false,
): string[] {
  if (!link || (spec.bridge && link.master !== undefined)) return []
  const addresses = deliveredAddresses(spec)
  const entries = addresses.length > 0 ? host.lookupRoutes(addresses) : []
  return addresses.flatMap((address, i) => {
    const entry = entries[i]
    if (!entry || leadsTo(entry, link) || (isMissing && !isRival(host, address, entry))) return []
    return [astray(host, spec, link, address, entry)]
  })
}

function isRival(host: Netns, address: Address, entry: FibEntry): boolean {
  const found = entry.type === 'unicast' ? entry : dropping(host, address, entry)
  return found !== undefined && isExact(found)
}

function astray(host: Netns, spec: PodSpec, link: Link, address: Address, entry: FibEntry): string {
  const what = `what the node sends to ${formatAddress(address)} does not leave by ${link.name}`
  // A route can't help, and the node may need its address.
  if (isOwn(entry) || isPending(host, address, entry))
    return finding(`${what}: ${describeOwn(host, address, entry)}`)
  const culprit = entry.type === 'unicast' ? entry : dropping(host, address, entry)
  const place = hostPlace(host)
  const ours = addRoute(place, link.name, { dst: hostCidr(address) })
  if (!culprit && entry.type === 'none')
    return finding(`${what}: no route leads there`, ...(spec.mode === 'l2' ? [ours] : []))
  if (!culprit) return finding(`${what}: a policy rule drops it (ip rule show)`)
  const isPassable = spec.mode === 'l2' && !isExact(culprit) && (culprit.table ?? MAIN_TABLE) === MAIN_TABLE
  const why = `route ${describeFibEntry(host, culprit)} comes first`
  if (isPassable) return finding(`${what}: ${why}`, ours)
  return finding(
    `${what}: ${why}`,
    ...(mayBeLeftOver(host, culprit) ? [removeRouteCommand(host, culprit)] : []),
  )
}
