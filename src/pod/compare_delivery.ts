import { type Address, formatAddress, hostCidr } from '../core/address.ts'
import type { Link, Netns, Way } from '../kernel/kernel.ts'
import { deliveredAddresses, dropping, leadsTo } from './delivery.ts'
import { describeWay, removeWay } from './describe_way.ts'
import { mayBeLeftOver } from './foreign.ts'
import { addRoute, finding, hostPlace } from './repair.ts'
import type { PodSpec } from './spec.ts'
import { describeOwn, isExact, isOwn, isPending } from './ways.ts'

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
  const ways = addresses.length > 0 ? host.ways(addresses) : []
  return addresses.flatMap((address, i) => {
    const way = ways[i]
    if (!way || leadsTo(way, link) || (isMissing && !isRival(host, address, way))) return []
    return [astray(host, spec, link, address, way)]
  })
}

function isRival(host: Netns, address: Address, way: Way): boolean {
  const found = way.type === 'unicast' ? way : dropping(host, address, way)
  return found !== undefined && isExact(found)
}

function astray(host: Netns, spec: PodSpec, link: Link, address: Address, way: Way): string {
  const what = `what the node sends to ${formatAddress(address)} does not leave by ${link.name}`
  // A route can't help, and the node may need its address.
  if (isOwn(way) || isPending(host, address, way))
    return finding(`${what}: ${describeOwn(host, address, way)}`)
  const culprit = way.type === 'unicast' ? way : dropping(host, address, way)
  const place = hostPlace(host)
  const ours = addRoute(place, link.name, { dst: hostCidr(address) })
  if (!culprit && way.type === 'none')
    return finding(`${what}: no route leads there`, ...(spec.mode === 'l2' ? [ours] : []))
  if (!culprit) return finding(`${what}: a policy rule drops it (ip rule show)`)
  const isPassable = spec.mode === 'l2' && !isExact(culprit) && (culprit.table ?? MAIN_TABLE) === MAIN_TABLE
  const why = `route ${describeWay(host, culprit)} comes first`
  if (isPassable) return finding(`${what}: ${why}`, ours)
  return finding(`${what}: ${why}`, ...(mayBeLeftOver(host, culprit) ? [removeWay(host, culprit)] : []))
}
