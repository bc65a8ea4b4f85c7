import type { Family } from '../core/address.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { gatewayLink } from './compare_bridge.ts'
import { firewallFindings } from './firewall.ts'
import { FORWARDING, forwardedFamilies, forwardingSettings } from './forwarding.ts'
import { finding, hostPlace, type Place, setSysctl } from './repair.ts'
import type { PodSpec } from './spec.ts'
import { type Uplink, uplinksOf } from './uplink.ts'

/**
 * What on the node stops the pod's traffic, though all that is ours is as it should be: forwarding that is off, and packet
 * filters of other programs. Named is only what is proven to stop it.
 */
export function compareWay(kernel: Kernel, spec: PodSpec): string[] {
  const host = kernel.host()
  const entry = spec.bridge ? gatewayLink(host, spec.bridge) : host.link({ name: spec.hostIfName })
  const uplinkRoutes = forwardedFamilies(spec).length > 0 ? uplinksOf(host, spec) : []
  return [
    ...forwardingFindings(hostPlace(host), spec, entry?.name, uplinkRoutes),
    ...firewallFindings(kernel, spec, entry, uplinkRoutes),
  ]
}

/**
 * Family 4 asks the interface that a packet comes in by, which follows the node's switch unless told otherwise: the pod's
 * for what it sends, and the uplink's for the answers.
 */
function forwardingFindings(
  place: Place,
  spec: PodSpec,
  entry: string | undefined,
  uplinkRoutes: readonly Uplink[],
): string[] {
  const host = place.netns
  const isOff = (key: string): boolean => host.readSysctl(key) === '0'
  const uplinks = uplinkRoutes
    .filter(({ route }) => route.dst.address.family === 4)
    .map(({ link }) => link.name)
  const links = new Set([...(entry === undefined ? [] : [entry]), ...uplinks])
  return forwardedFamilies(spec).flatMap((family: Family) => {
    const what = `the node does not forward IPv${family}`
    if (isOff(FORWARDING[family])) {
      return [finding(what, setSysctl(place, ...forwardingSettings(host, family)))]
    }
    return [...(family === 4 ? links : [])]
      .filter((name) => isOff(ownForwarding(name)))
      .map((name) => finding(`${what} from ${name}`, setSysctl(place, [ownForwarding(name), '1'])))
  })
}

function ownForwarding(ifName: string): string {
  return `ipv4/conf/${ifName}/forwarding`
}
