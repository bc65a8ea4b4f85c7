import { FAMILIES, hostCidr, sameCidr } from '../../core/address.ts'
import { toFault } from '../../core/errors.ts'
import { meshAddressOf } from '../../overlay/mesh/ways.ts'
import type { OverlayPlan } from '../../overlay/plan.ts'
import type { Warning } from '../log.ts'

/**
 * Sees that this node takes the probes that come by the way of its pods. Their destination is the first address of the range, which no pod
 * has and which VXLAN links have anyway; where there is no such link, it is put on `lo`. Returns what the kernel has refused.
 */
export function keepMeshAddresses({ node, links }: OverlayPlan): Warning[] {
  const wanted = FAMILIES.flatMap((family) => meshAddressOf(node, family) ?? []).map(hostCidr)
  const missing = wanted.filter(
    (cidr) => !links.some((one) => one.kind === 'address' && sameCidr(one.cidr, cidr)),
  )
  if (missing.length === 0 || node.config.probeIntervalMs === 0) return []
  try {
    const { netns } = node.place
    const present = netns.allAddresses()
    const absent = missing.filter((one) => !present.some(({ cidr }) => sameCidr(cidr, one)))
    const lo = absent.length > 0 ? netns.link({ name: 'lo' }) : undefined
    if (lo)
      netns.apply(
        absent.map((cidr) => ({ op: 'addAddress', linkIndex: lo.index, cidr, noDad: true }) as const),
      )
    return []
  } catch (error) {
    const { message, hint } = toFault(error)
    return [{ message: `other nodes cannot measure the way to pods of this one: ${message}`, hint }]
  }
}
