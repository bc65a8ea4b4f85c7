import { bitsOf, type Cidr, formatCidr, overlaps, sameCidr } from '../core/address.ts'
import { Code, Fault, ignoreErrnos, isErrno, withAction } from '../core/errors.ts'
import type { UndoStack } from '../core/undo.ts'
import { type Link, type LinkAddress, type Netns, Scope } from '../kernel/kernel.ts'
import type { PlannedRoute } from '../state/desired.ts'
import { refuseForeignGateway } from './foreign.ts'
import type { NodeState } from './node_state.ts'
import { livesBy } from './routers.ts'
import type { BridgeSpec, PodIp } from './spec.ts'

/** The bridge and the pod that need the gateway. */
type GatewayNeed = { readonly spec: BridgeSpec; readonly ips: readonly PodIp[] }

/**
 * Adds the gateway's addresses to the bridge, or to its VLAN link. Throws a Fault if the node reaches such an address in
 * another way. Idempotent.
 */
export function ensureGatewayAddresses(
  host: Netns,
  link: Link,
  wanted: readonly Cidr[],
  needed: GatewayNeed,
  others: NodeState,
  undo: UndoStack,
): void {
  if (wanted.length === 0) return
  const { present, missing } = refuseGateways(host, link, wanted, needed, others)
  for (const cidr of missing) {
    withAction('give the bridge its gateway addresses', () => {
      for (const one of present) if (inTheWay(one, cidr)) displace(host, link.index, one.cidr, undo)
      addGateway(host, link.index, cidr, undo)
    })
  }
}

/** Throws the Fault of `ensureGatewayAddresses`, for a link that may still have to be made. */
export function refuseGateways(
  host: Netns,
  link: Pick<Link, 'index' | 'name'>,
  wanted: readonly Cidr[],
  { spec, ips }: GatewayNeed,
  others: NodeState,
): { readonly present: readonly LinkAddress[]; readonly missing: readonly Cidr[] } {
  const present = link.index > 0 ? host.addresses(link.index) : []
  const missing = wanted.filter((cidr) => !present.some((one) => sameCidr(one.cidr, cidr)))
  for (const cidr of missing) {
    const conflict = spec.forceAddress ? undefined : present.find((one) => inTheWay(one, cidr))
    if (conflict) throw addressConflict(host, link, conflict.cidr, cidr)
    refuseForeignGateway(host, link, cidr, ips, others)
  }
  return { present, missing }
}

/** Adds the routes over the bridge that do not come with its addresses. Idempotent. */
export function ensureGatewayRoutes(
  host: Netns,
  { index }: Link,
  wanted: readonly PlannedRoute[],
  undo: UndoStack,
): void {
  const present = wanted.length > 0 ? host.routes(index) : []
  for (const planned of wanted) {
    if (present.some(({ dst, gateway }) => sameCidr(dst, planned.dst) && !gateway)) continue
    const route = { ...planned, linkIndex: index }
    undo.push(() => ignoreErrnos(['ESRCH', 'ENODEV'], () => host.apply([{ op: 'removeRoute', route }])))
    host.apply([{ op: 'addRoute', route }])
  }
}

/** Removes an address. With the first IPv4 address of a subnet the kernel removes those that came after it. */
function displace(host: Netns, linkIndex: number, cidr: Cidr, undo: UndoStack): void {
  undo.push(() =>
    ignoreErrnos(['EEXIST'], () => host.apply([{ op: 'addAddress', linkIndex, cidr, noDad: true }])),
  )
  ignoreErrnos(['EADDRNOTAVAIL'], () => host.apply([{ op: 'removeAddress', linkIndex, cidr }]))
}

function addGateway(host: Netns, linkIndex: number, cidr: Cidr, undo: UndoStack): void {
  let isOurs = true
  undo.push(() => isOurs && removeGateway(host, linkIndex, cidr))
  try {
    host.apply([{ op: 'addAddress', linkIndex, cidr, noDad: true }])
  } catch (error) {
    // Somebody else was first, but it has to be here.
    const isThere = () => host.addresses(linkIndex).some((one) => sameCidr(one.cidr, cidr))
    if (!isErrno(error, 'EEXIST') || !isThere()) throw error
    isOurs = false
  }
}

/** Removes a gateway address, if it is there. ENXIO: the MTU of the link is too small for IPv6. */
function removeGateway(host: Netns, linkIndex: number, cidr: Cidr): void {
  ignoreErrnos(['EADDRNOTAVAIL', 'ENODEV', 'ENXIO'], () =>
    host.apply([{ op: 'removeAddress', linkIndex, cidr }]),
  )
}

/**
 * Returns whether an address conflicts with the gateway: in family 4 any other one, in family 6 one whose network overlaps. A
 * link-local address never does.
 */
function inTheWay({ cidr, scope }: LinkAddress, wanted: Cidr): boolean {
  if (cidr.address.family !== wanted.address.family || scope === Scope.link) return false
  if (bitsOf(cidr.address.family) === 32) return true
  return overlaps(cidr, wanted)
}

function addressConflict(
  host: Netns,
  link: Pick<Link, 'index' | 'name'>,
  present: Cidr,
  wanted: Cidr,
): Fault {
  // Without its address on the bridge of its uplink, the node is cut off.
  const hint = livesBy(host, link.index)
    ? `Choose another name for the key "bridge": the node itself lives by ${link.name}.`
    : `Set "forceAddress": true to replace it, choose another bridge, or run: ip addr del ${formatCidr(present)} dev ${link.name}`
  return new Fault(
    `bridge ${link.name} already has ${formatCidr(present)}, which is in the way of the gateway ${formatCidr(wanted)}`,
    {
      code: Code.invalidConfig,
      hint,
    },
  )
}
