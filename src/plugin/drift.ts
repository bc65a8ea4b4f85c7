import { rangeOf } from '../../ipam/range_set.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import type { NetworkConfig } from '../cni/config.ts'
import { formatAddress, hostCidr, parseAddress, parseCidr } from '../core/address.ts'
import { parseMac } from '../core/mac.ts'
import { deriveNames } from '../core/names.ts'
import type { Netns } from '../kernel/kernel.ts'
import { checkChained, checkPod } from '../pod/check.ts'
import { recalled } from '../pod/features/feature.ts'
import type { PodIp, PodSpec } from '../pod/spec.ts'
import type { Difference } from '../state/explain.ts'
import { decodeRoutes, planSets, poolUseOf } from './addresses.ts'
import { missingLeases } from './missing_leases.ts'
import { podSpecOf } from './pod_spec.ts'
import type { Ports } from './ports.ts'

type JudgePorts = Pick<Ports, 'kernel' | 'features'>

/** What a record and the present config together say of a pod, or why they say too little. */
export type Judgement = { readonly spec: PodSpec } | { readonly unknown: string }

/**
 * Returns the pod that a record and the config of its network describe. CHECK has the result of ADD as well; here what later
 * plugins have done is not known.
 */
export function specOfRecord(record: AttachmentRecord, config: NetworkConfig, ports: JudgePorts): Judgement {
  const { mode, delegate, chained, podMac, routes } = record
  if (mode !== (config.mode ?? 'l2'))
    return { unknown: `it was made in mode ${mode}, and the config has another` }
  if (mode === 'chained') return chainedSpecOf(record, config, ports)
  if (chained) return { unknown: 'its interface is another plugin’s' }
  const ips = delegate ? delegatedIps(record) : ownIps(record, config)
  if (!Array.isArray(ips)) return ips
  const requests = { ips: [], ...(podMac && { mac: parseMac(podMac) }) }
  const wanted = routes ? decodeRoutes(routes) : (config.ipam?.routes ?? [])
  const asked = recalled(ports.features, config, record)
  return { spec: podSpecOf(ports.kernel, record, asked, requests, { ips, routes: wanted }) }
}

/** Returns what of a recorded pod is missing or wrong, in the order of mending. */
export function driftOf(
  record: AttachmentRecord,
  spec: PodSpec,
  netns: Netns,
  path: string,
  { kernel, features, pools }: JudgePorts & Pick<Ports, 'pools'>,
): Difference[] {
  const objects =
    spec.mode === 'chained'
      ? checkChained(kernel, spec, features)
      : checkPod(kernel, netns, spec, path, features)
  return [...missingLeases(pools, record), ...objects]
}

/** What an earlier plugin has made is not judged. */
function chainedSpecOf(record: AttachmentRecord, config: NetworkConfig, ports: JudgePorts): Judgement {
  const { hostIfName = '', chained, masquerade, hostPorts } = record
  // With the prefix of their subnets only where a feature needs it.
  const cidrs = masquerade ?? hostPorts?.pods
  const ips = cidrs?.map(parseCidr) ?? (chained?.addresses ?? []).map((text) => hostCidr(parseAddress(text)))
  const requests = { mac: deriveNames(record).podMac, ips: [] }
  const addresses = { ips: ips.map((cidr) => ({ cidr })), routes: [] }
  const asked = recalled(ports.features, config, record)
  return { spec: { ...podSpecOf(ports.kernel, record, asked, requests, addresses), hostIfName } }
}

function ownIps({ leases }: AttachmentRecord, config: NetworkConfig): PodIp[] | { unknown: string } {
  const sets = leases ? planSets(config, poolUseOf({ mode: config.mode ?? 'l2' })) : []
  const ips: PodIp[] = []
  for (const address of (leases?.addresses ?? []).map(parseAddress)) {
    const range = sets.map((set) => rangeOf(set, address)).find(Boolean)
    if (!range) return { unknown: `its address ${formatAddress(address)} is in no range of the config` }
    const { subnet, gateway } = range
    ips.push({ cidr: { address, prefix: subnet.prefix }, ...(gateway && { gateway }) })
  }
  return ips
}

/** Of another plugin's addresses the record keeps those that are masqueraded. */
function delegatedIps({ delegate, masquerade }: AttachmentRecord): PodIp[] | { unknown: string } {
  if (!masquerade) return { unknown: `its addresses are ${delegate}’s, and not recorded` }
  return masquerade.map((cidr) => ({ cidr: parseCidr(cidr) }))
}
