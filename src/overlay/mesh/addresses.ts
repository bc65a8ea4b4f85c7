import { bitsOf, type Cidr, FAMILIES, hostCidr, networkOf, sameCidr } from '../../core/address.ts'
import type { Netns } from '../../kernel/kernel.ts'
import type { OverlayPlan } from '../plan.ts'
import { meshAddressOf } from './ways.ts'

/*
 * The destination of a probe that takes the way of packets to pods is the first address of a node's range, which no pod has. A VXLAN link
 * has it anyway; a node that is reached by plain routes gets it on `lo`.
 */

/** Sees that this node has its addresses, and `lo` none that is another node's by now. Throws a Fault if the kernel refuses. */
export function keepMeshAddresses({ node, links, peers }: OverlayPlan): void {
  const { backend, probeIntervalMs } = node.config
  const isProbed = backend !== 'none' && probeIntervalMs > 0
  const own = FAMILIES.flatMap((family) => meshAddressOf(node, family) ?? []).map(hostCidr)
  const onLink = (cidr: Cidr) => links.some((one) => one.kind === 'address' && sameCidr(one.cidr, cidr))
  const wanted = isProbed ? own.filter((cidr) => !onLink(cidr)) : []
  const ranges = () => [node, ...[...peers.values()].map(({ peer }) => peer)].flatMap((one) => one.podCidrs)
  change(node.place.netns, wanted, ranges)
}

/** Removes from `lo` the first addresses of these ranges. */
export function removeMeshAddresses(netns: Netns, ranges: readonly Cidr[]): void {
  change(netns, [], () => ranges)
}

/** Addresses of `lo` that begin no range are of other programs. The ranges, which may be thousands, are asked for only if there are others. */
function change(netns: Netns, wanted: readonly Cidr[], ranges: () => readonly Cidr[]): void {
  const lo = netns.link({ name: 'lo' })
  if (!lo) return
  const present = netns.addresses(lo.index).map(({ cidr }) => cidr)
  const has = (all: readonly Cidr[], one: Cidr) => all.some((cidr) => sameCidr(cidr, one))
  const unknown = present.filter((cidr) => isOne(cidr) && !has(wanted, cidr))
  const starts = unknown.length > 0 ? ranges().map((range) => hostCidr(networkOf(range).address)) : []
  const stale = unknown.filter((cidr) => has(starts, cidr))
  const missing = wanted.filter((cidr) => !has(present, cidr))
  if (stale.length + missing.length === 0) return
  netns.apply([
    ...missing.map((cidr) => ({ op: 'addAddress', linkIndex: lo.index, cidr, noDad: true }) as const),
    ...stale.map((cidr) => ({ op: 'removeAddress', linkIndex: lo.index, cidr }) as const),
  ])
}

/** A single address, and not ::1, which every node has. */
function isOne({ address, prefix }: Cidr): boolean {
  return prefix === bitsOf(address.family) && address.value !== 1n
}
