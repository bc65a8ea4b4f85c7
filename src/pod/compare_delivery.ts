import { type Address, formatAddress, hostCidr } from '../core/address.ts'
import type { Link, Netns, Way } from '../kernel/kernel.ts'
import { deliveredAddresses, dropping, leadsTo } from './delivery.ts'
import { describeWay, removeWay } from './foreign.ts'
import { addRoute, finding, hostPlace } from './repair.ts'
import type { PodSpec } from './spec.ts'
import { describeOwn, isExact, isOwn, isPending } from './ways.ts'

const MAIN_TABLE = 254

/**
 * Where the node sends what is for the pod, if that is not `link`, with what is in the way. Of a link in a VRF nothing is
 * said: the kernel looks elsewhere than where it was asked.
 */
export function compareDelivery(host: Netns, spec: PodSpec, link: Link | undefined): string[] {
  if (!link || (spec.bridge && link.master !== undefined)) return []
  const addresses = deliveredAddresses(spec)
  const ways = addresses.length > 0 ? host.ways(addresses) : []
  return addresses.flatMap((address, i) => {
    const way = ways[i]
    return !way || leadsTo(way, link) ? [] : [astray(host, spec, link, address, way)]
  })
}

function astray(host: Netns, spec: PodSpec, link: Link, address: Address, way: Way): string {
  const what = `what the node sends to ${formatAddress(address)} does not leave by ${link.name}`
  // A route can't help, and the node may need its address.
  if (isOwn(way) || isPending(host, address, way))
    return finding(`${what}: ${describeOwn(host, address, way)}`)
  const culprit = way.type === 'unicast' || way.type === 'none' ? way : dropping(host, address, way)
  if (!culprit) return finding(`${what}: a policy rule drops it (ip rule show)`)
  const route = describeWay(host, culprit)
  const place = hostPlace(host)
  const isPassable = spec.mode === 'l2' && !isExact(culprit) && (culprit.table ?? MAIN_TABLE) === MAIN_TABLE
  if (isPassable) {
    const why = culprit.type === 'none' ? 'no route leads there' : `route ${route} comes first`
    return finding(`${what}: ${why}`, addRoute(place, link.name, { dst: hostCidr(address) }))
  }
  return finding(`${what}: route ${route} comes first`, removeWay(host, culprit))
}
