import { removeLink } from '../attachment/detach.ts'
import { hostEndIn, isHostEnd } from '../attachment/identity.ts'
import type { Address, Cidr } from '../core/address.ts'
import { Code, Fault, isErrno, withAction } from '../core/errors.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Change, FibEntry, Kernel, Link, Netns } from '../kernel/kernel.ts'
import { createChanges } from '../state/create.ts'
import { type Desired, hostPlace } from '../state/desired.ts'
import { bridgeFull, macToKeep, type ReadyBridge, withBridge } from './bridge.ts'
import { deliveredAddresses, ensureDelivery } from './delivery.ts'
import { hostEndObjects, podEndObjects, podPlace } from './desired.ts'
import type { PodEnd, PodFeature } from './features/feature.ts'
import { refuseForeignRouted, refuseUsedAddresses } from './foreign.ts'
import { enableHostIpv6, enableLoopbackIpv6, enablePodIpv6 } from './ipv6.ts'
import { assertSubnets } from './next_hop.ts'
import type { NodeState } from './node_state.ts'
import { type PodPlan, planPod } from './plan.ts'
import type { RouteLookup } from './route_lookup.ts'
import { refuseAdvertisements } from './router_advertisements.ts'
import { type BridgedSpec, familiesOf, type PodSpec } from './spec.ts'
import { uplinkMtu } from './uplink.ts'
import { type AddedAddresses, settle } from './wait_ready.ts'

/** The links of an attachment, as the kernel shows them after their creation. */
export type Attached = Partial<ReadyBridge> & { readonly host: Link; readonly pod: Link }

/**
 * Makes the kernel look as the spec says. The steps undo themselves through `undo`; the veth pair takes its
 * addresses, routes and neighbours with it. Throws a Fault that says at which step it failed.
 */
export function attachPod(
  kernel: Kernel,
  netns: Netns,
  spec: PodSpec,
  others: NodeState,
  undo: UndoStack,
  lookup: RouteLookup,
): Attached {
  const host = kernel.host()
  if (spec.bridge?.isGateway) assertSubnets(spec.ips)
  const plan = planPod(spec)
  if (spec.mode === 'l3') refuseForeignRouted(host, spec, lookup, others)
  else refuseUsedAddresses(spec, others)
  for (const feature of others.features) feature.beforeLink?.(spec, undo)
  const links = spec.bridge
    ? createPort(kernel, netns, { ...spec, bridge: spec.bridge }, plan, others, undo)
    : createVeth(host, netns, spec, spec.mtu ?? uplinkMtu(host, spec), undo)
  configureHostEnd(host, spec, plan, links.host, others, undo)
  const end = { netns, link: links.pod }
  configurePodEnd(spec, plan, end, others.features)
  for (const feature of others.features) feature.afterLink?.(spec, undo, end)
  // Last, so that most of the wait is over by now.
  if (spec.podUp) settle(kernel, links.host, addedAddresses(host, netns, plan))
  return links
}

function addedAddresses(
  host: Netns,
  netns: Netns,
  { pod, host: end, bridgeAddresses }: PodPlan,
): AddedAddresses[] {
  const plain = (cidrs: readonly Cidr[]): Address[] => cidrs.map(({ address }) => address)
  return [
    { netns, addresses: plain(pod.addresses) },
    { netns: host, addresses: plain([...end.addresses, ...bridgeAddresses]) },
  ]
}

type Pair = { readonly host: Link; readonly pod: Link }

/** Creates a veth pair whose host end is a port of the bridge, which is created if it is missing. */
function createPort(
  kernel: Kernel,
  netns: Netns,
  spec: BridgedSpec,
  plan: PodPlan,
  others: NodeState,
  undo: UndoStack,
): Attached {
  const host = kernel.host()
  let uplink: { readonly mtu: number | undefined } | undefined
  const mtu = () => {
    uplink ??= { mtu: spec.mtu ?? uplinkMtu(host, spec) }
    return uplink.mtu
  }
  const wanted = { spec: spec.bridge, plan, ips: spec.ips, mtu, keepsMtu: spec.mtu === undefined }
  return withBridge(kernel, wanted, others, undo, (ready) => {
    // Without the key "mtu" the MTU is the bridge's, limited to the uplink's: a bridge of another program, and an empty one,
    // has 1500, whatever the uplink has.
    const bytes = spec.mtu ?? Math.min(ready.bridge.mtu, mtu() ?? ready.bridge.mtu)
    const links = createVeth(host, netns, spec, bytes, undo)
    const objects = hostEndObjects(
      spec,
      plan.host,
      { place: hostPlace(host), link: spec.hostIfName },
      others.features,
    )
    const entries = joinBridge(host, spec, ready.bridge, links.host, objects)
    const link = ready.gatewayVlan ?? ready.bridge
    ensureDelivery(host, spec, { link, byHostRoute: true }, entries, others, undo)
    return { ...ready, ...links }
  })
}

/**
 * Creates the pair with the pod's end in its namespace, so that it never shows on the host. The MAC identifies the
 * attachment. The alias comes with the next change, which names the link by its index: its name may belong to another link.
 */
function createVeth(
  host: Netns,
  netns: Netns,
  spec: PodSpec,
  mtu: number | undefined,
  undo: UndoStack,
): Pair {
  const create: Change = {
    op: 'createVeth',
    host: { name: spec.hostIfName, mac: spec.hostMac },
    peer: { name: spec.id.ifName, mac: spec.podMac },
    peerNetns: netns,
    ...(mtu !== undefined && { mtu }),
  }
  let link: Link | undefined
  // The reverse comes first: the link may exist though its creation could not be confirmed.
  undo.push(() => {
    const made = link ?? hostEndIn(host, netns, spec.id)
    if (made) removeLink(host, { index: made.index })
  })
  try {
    link = host.applyAndRead([create], { name: spec.hostIfName })
  } catch (error) {
    throw isErrno(error, 'EEXIST') ? nameTaken(host, spec, error) : error
  }
  const pod = { ...link, index: link.peer ?? 0, name: spec.id.ifName, mac: spec.podMac, peer: link.index }
  return { host: link, pod }
}

function nameTaken(host: Netns, { id, hostIfName }: PodSpec, cause: unknown): Fault {
  const there = host.link({ name: hostIfName })
  const isOwn = there !== undefined && isHostEnd(there, id)
  const what = there
    ? `link ${hostIfName} exists on the host already`
    : `create the veth ${hostIfName}: EEXIST`
  return new Fault(isOwn ? `${what}: the host end of an earlier ${id.ifName} of this container` : what, {
    code: Code.interfaceExists,
    hint:
      isOwn || !there
        ? 'Call DEL for this container and interface first.'
        : `Give the link another name: ip link set dev ${there.name} name NAME.`,
    cause,
  })
}

/** Makes a link a port of the bridge, as `objects` say. Returns the FIB entries for `deliveredAddresses` then. */
export function joinBridge(
  host: Netns,
  spec: BridgedSpec,
  bridge: Link,
  end: Link,
  objects: readonly Desired[],
): FibEntry[] {
  const indexOf = (name: string): number => (name === bridge.name ? bridge : end).index
  try {
    return host.lookupRoutes(deliveredAddresses(spec), [
      ...macToKeep(host, spec.bridge, bridge, end),
      ...createChanges(objects, indexOf),
    ])
  } catch (error) {
    throw isErrno(error, 'EXFULL') ? bridgeFull(bridge.name, error) : error
  }
}

/** Configures the host end in one batch, before the pod's end, so that the pod's first packet finds the host end up. */
function configureHostEnd(
  host: Netns,
  spec: PodSpec,
  plan: PodPlan,
  link: Link,
  others: NodeState,
  undo: UndoStack,
): void {
  if (spec.mode !== 'l3') return
  refuseAdvertisements(host, link.name)
  enableHostIpv6(host, link, plan.host.addresses)
  const objects = hostEndObjects(
    spec,
    plan.host,
    { place: hostPlace(host), link: link.name },
    others.features,
  )
  const changes = createChanges(objects, () => link.index)
  const entries = withAction('configure the host end', () =>
    host.lookupRoutes(deliveredAddresses(spec), changes),
  )
  ensureDelivery(host, spec, { link, byHostRoute: false }, entries, others, undo)
}

function configurePodEnd(
  spec: PodSpec,
  plan: PodPlan,
  { netns, link }: PodEnd,
  features: readonly PodFeature[],
): void {
  const hasIpv6 = familiesOf(spec.ips).includes(6)
  if (hasIpv6) enablePodIpv6(netns, link)
  for (const feature of features) feature.beforeAddresses?.(spec, { netns, link })
  const objects = podEndObjects(spec, plan.pod, { place: podPlace(netns), link: link.name }, features)
  const changes: Change[] = [
    { op: 'setLink', link: { name: 'lo' }, up: true },
    ...createChanges(objects, () => link.index),
  ]
  const lo = withAction('configure the interface in the pod', () => {
    // The same round trip tells whether IPv6 is off on `lo`.
    if (hasIpv6) return netns.applyAndRead(changes, { name: 'lo' })
    netns.apply(changes)
    return undefined
  })
  if (lo) enableLoopbackIpv6(netns, lo)
}
