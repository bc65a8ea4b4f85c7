import type { Kernel, Link } from '../kernel/kernel.ts'
import type { Place } from '../state/desired.ts'
import { type Difference, sysctlStep } from '../state/explain.ts'
import { diagnoseFirewall } from './diagnose_firewall.ts'
import { FORWARDING, forwardedFamilies, forwardingSettings } from './forwarding.ts'
import type { PodSpec } from './spec.ts'
import { type Uplink, uplinksOf } from './uplink.ts'

/**
 * Returns what on the node stops the pod's traffic, though all objects of ours are as they should be: forwarding that is
 * off, and packet filters of other programs. Only what is proven to stop it is named. `entry` is the link by which the
 * node gets what the pod sends.
 */
export function diagnoseForwarding(
  kernel: Kernel,
  place: Place,
  spec: PodSpec,
  entry: Link | undefined,
): Difference[] {
  const uplinks = forwardedFamilies(spec).length > 0 ? uplinksOf(place.netns, spec) : []
  return [
    ...findDisabled(place, spec, entry?.name, uplinks),
    ...diagnoseFirewall(kernel, spec, entry, uplinks),
  ]
}

/**
 * Family 4 asks the interface that a packet comes in by, which follows the node's switch unless told otherwise: the pod's
 * for what it sends, and the uplink's for the answers.
 */
function findDisabled(
  place: Place,
  spec: PodSpec,
  entry: string | undefined,
  uplinks: readonly Uplink[],
): Difference[] {
  const host = place.netns
  const isOff = (key: string): boolean => host.readSysctl(key) === '0'
  const names = uplinks.filter(({ route }) => route.dst.address.family === 4).map(({ link }) => link.name)
  const links = [...new Set([...(entry === undefined ? [] : [entry]), ...names])]
  return forwardedFamilies(spec).flatMap((family): Difference[] => {
    const what = `the node does not forward IPv${family}`
    if (isOff(FORWARDING[family])) {
      return [{ what, steps: [sysctlStep(place, ...forwardingSettings(host, family))] }]
    }
    return (family === 4 ? links : []).flatMap((name) => {
      const key = `ipv4/conf/${name}/forwarding`
      return isOff(key) ? [{ what: `${what} from ${name}`, steps: [sysctlStep(place, [key, '1'])] }] : []
    })
  })
}
