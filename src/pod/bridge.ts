import { removeLink } from '../attachment/detach.ts'
import { Code, Fault, isErrno, withAction } from '../core/errors.ts'
import { UndoStack } from '../core/undo.ts'
import type { Change, Kernel, Link, Netns } from '../kernel/kernel.ts'
import { hostPlace } from '../state/desired.ts'
import { difference } from '../state/difference.ts'
import { observe } from '../state/observe.ts'
import { gatewayLinkName, networkObjects } from './desired.ts'
import { ensureGatewayAddresses, ensureGatewayRoutes } from './gateway.ts'
import { enableHostIpv6 } from './ipv6.ts'
import type { NodeState } from './node_state.ts'
import type { PodPlan } from './plan.ts'
import { ensureAdvertisementsRefused, refuseAdvertisements } from './router_advertisements.ts'
import type { BridgeSpec, PodIp } from './spec.ts'
import { ensureGatewayVlan } from './vlan.ts'

const NO_MAC = '00:00:00:00:00:00'

/** A bridge that a pod can be attached to: it is as the spec says, and carries its gateway. */
export type ReadyBridge = {
  readonly bridge: Link
  /** The VLAN link that carries the gateway in place of the bridge. */
  readonly gatewayVlan?: Link
}

export type BridgeWanted = {
  readonly spec: BridgeSpec
  readonly plan: PodPlan
  readonly ips: readonly PodIp[]
  /** For a bridge that has to be made, in bytes; undefined leaves it to the kernel. */
  readonly mtu: () => number | undefined
  /** Keep that MTU when the bridge has no port. Otherwise the kernel gives it the least of its ports', and 1500 without one. */
  readonly keepsMtu?: boolean
}

/** The kernel numbers the ports of a bridge from 1 to 1023. Source: BR_MAX_PORTS in net/bridge/br_private.h. */
export const MAX_BRIDGE_PORTS = 1023

/** Returns the Fault for a bridge that has no room for another port, which the kernel calls EXFULL. */
export function bridgeFull(name: string, cause?: unknown): Fault {
  return new Fault(`bridge ${name} has ${MAX_BRIDGE_PORTS} ports, and a Linux bridge can't have more`, {
    code: Code.poolExhausted,
    hint: 'Delete pods, or set "mode" to "l3", which has no bridge.',
    cause,
  })
}

/**
 * Runs `work` on the bridge, and creates or changes the bridge first if it must. While `work` runs, no other ADD changes or
 * removes the bridge. `undo` takes the changes back, unless another port has joined since, whose pod may rely on them.
 * Throws a Fault if a link of that name is no bridge.
 */
export function withBridge<T>(
  kernel: Kernel,
  wanted: BridgeWanted,
  others: NodeState,
  undo: UndoStack,
  work: (ready: ReadyBridge) => T,
): T {
  const { name } = wanted.spec
  const shared = others.lockBridge(name, 'shared')
  try {
    const ready = findReady(kernel, wanted)
    if (ready) return work(ready)
  } finally {
    shared.release()
  }
  const alone = others.lockBridge(name, 'exclusive')
  try {
    return work(makeReady(kernel.host(), wanted, others, undo))
  } finally {
    alone.release()
  }
}

/** Returns the bridge, if nothing has to be done to it. */
function findReady(kernel: Kernel, { spec, plan }: BridgeWanted): ReadyBridge | undefined {
  const place = hostPlace(kernel.host())
  const bridge = findBridge(place.netns, spec)
  if (!bridge || adoptionChanges(bridge, spec).length > 0) return undefined
  const gatewayVlan = hasGatewayVlan(spec) ? place.netns.link({ name: gatewayLinkName(spec) }) : undefined
  if (hasGatewayVlan(spec) && !gatewayVlan) return undefined
  const carrier = gatewayVlan ?? bridge
  const desired = networkObjects(spec, plan, place, { bridge, carrier })
  if (difference(desired, observe(kernel, desired, new Map([[place, [bridge, carrier]]]))).length > 0)
    return undefined
  return { bridge, ...(gatewayVlan && { gatewayVlan }) }
}

function makeReady(host: Netns, wanted: BridgeWanted, others: NodeState, undo: UndoStack): ReadyBridge {
  const { spec, plan } = wanted
  const found = findBridge(host, spec)
  const portsBefore = found ? portsOf(host, found.name) : []
  const steps = new UndoStack()
  undo.push(() => rollback(host, spec.name, portsBefore, others, steps))
  const bridge = found ? adopt(host, found, spec, steps) : createBridge(host, wanted, steps)
  const gatewayVlan = hasGatewayVlan(spec)
    ? ensureGatewayVlan(host, bridge, spec.gatewayVlan, steps)
    : undefined
  const carrier = gatewayVlan ?? bridge
  enableHostIpv6(host, carrier, plan.bridgeAddresses, steps)
  ensureGatewayAddresses(host, carrier, plan.bridgeAddresses, wanted, others, steps)
  withAction('route the subnets by the bridge', () =>
    ensureGatewayRoutes(host, carrier, plan.bridgeRoutes, steps),
  )
  return { bridge, ...(gatewayVlan && { gatewayVlan }) }
}

/**
 * Undoes the changes to the bridge, unless another pod has joined it since, which may rely on them. The pod's own port is
 * gone by then.
 */
function rollback(
  host: Netns,
  name: string,
  portsBefore: readonly number[],
  others: NodeState,
  steps: UndoStack,
): void {
  const alone = others.lockBridge(name, 'exclusive')
  try {
    if (portsOf(host, name).some((port) => !portsBefore.includes(port))) return
    const [first] = steps.unwind()
    if (first) throw first
  } finally {
    alone.release()
  }
}

function portsOf(host: Netns, name: string): number[] {
  const links = host.links()
  const bridge = links.find((link) => link.name === name)
  return links
    .filter(({ master }) => master !== undefined && master === bridge?.index)
    .map(({ index }) => index)
}

/**
 * Returns the changes that let a bridge keep its MAC while this port joins and when it leaves. A bridge without a MAC of its
 * own takes the lowest of its ports', and zeros when the last port leaves (br_stp_recalculate_bridge_id). The node then loses
 * its DHCP lease and its neighbours' entries. Setting the present MAC makes it the bridge's own, but empties the bridge's
 * neighbour table. So it is set only where the MAC would change: a bridge that runs has a port, whose MAC is no lower than
 * the bridge's; and one whose MAC is not the lowest has a MAC of its own already.
 */
export function macToKeep(host: Netns, spec: BridgeSpec, bridge: Link, end: Link): Change[] {
  if (bridge.mac === spec.mac || (bridge.running && bridge.mac <= end.mac)) return []
  const ports = host.links().filter(({ master }) => master === bridge.index)
  const [lowest] = ports.map(({ mac }) => mac).sort()
  const isOwn = lowest !== undefined && lowest !== bridge.mac
  return isOwn ? [] : [{ op: 'setLink', link: { index: bridge.index }, mac: bridge.mac }]
}

/** Returns the bridge, if a link has that name. Throws a Fault if that link is no bridge. */
export function findBridge(host: Netns, { name }: Pick<BridgeSpec, 'name'>): Link | undefined {
  const found = host.link({ name })
  if (!found || found.kind === 'bridge') return found
  throw new Fault(
    `key "bridge": ${JSON.stringify(name)} already exists but is a ${found.kind || 'plain device'}`,
    {
      code: Code.invalidConfig,
      hint: 'Set the key "bridge" to the name of a bridge, or to one that no link has, such as "cni0".',
    },
  )
}

function hasGatewayVlan(spec: BridgeSpec): spec is BridgeSpec & { readonly gatewayVlan: number } {
  return spec.isGateway && spec.gatewayVlan !== undefined
}

function createBridge(host: Netns, { spec, mtu, keepsMtu }: BridgeWanted, undo: UndoStack): Link {
  const { name, mac, vlanFiltering } = spec
  const bytes = mtu()
  let isOurs = true
  // The reverse comes first: the link may exist though its creation could not be confirmed.
  undo.push(() => isOurs && removeLink(host, { name }))
  // The MAC is set at creation: a bridge without one takes its ports' and changes with them (plugins#620).
  const create: Change = {
    op: 'createBridge',
    name,
    mac,
    ...(bytes !== undefined && !keepsMtu && { mtu: bytes }),
    vlanFiltering,
  }
  try {
    const bridge = host.applyAndRead([create], { name })
    refuseAdvertisements(host, name)
    // The kernel keeps an MTU only if it was set, to another value, after the creation.
    return change(host, bridge, spec, undo, {
      ...(keepsMtu && bytes !== undefined && { mtu: bytes }),
      // A new link need not forward where the node does: net.ipv4.conf.default.forwarding may be 0.
      ...(spec.isGateway && { ipv4: { forwarding: true } }),
    })
  } catch (error) {
    // Another program has created the bridge meanwhile, which serves as well.
    const theirs = isErrno(error, 'EEXIST') ? findBridge(host, spec) : undefined
    if (!theirs) throw error
    isOurs = false
    return adopt(host, theirs, spec, undo)
  }
}

/** Changes a bridge that is there, where it is not as the spec says. */
function adopt(host: Netns, bridge: Link, spec: BridgeSpec, undo: UndoStack): Link {
  ensureAdvertisementsRefused(host, bridge, undo, spec.mac)
  return change(host, bridge, spec, undo)
}

function change(host: Netns, bridge: Link, spec: BridgeSpec, undo: UndoStack, fresh: Fresh = {}): Link {
  const changes = adoptionChanges(bridge, spec, fresh)
  if (changes.length === 0) return bridge
  undo.push(() => host.apply(changes.map(reversed)))
  return host.applyAndRead(changes, { index: bridge.index })
}

type SetLink = Extract<Change, { op: 'setLink' }>
/** Settings for a bridge that was just created, and for no other. */
type Fresh = Pick<SetLink, 'mtu' | 'ipv4'>

function adoptionChanges(bridge: Link, spec: BridgeSpec, fresh: Fresh = {}): SetLink[] {
  const { mtu = bridge.mtu, ipv4 } = fresh
  const link = { index: bridge.index }
  const up = bridge.up ? {} : { up: true }
  const mac = bridge.mac === NO_MAC ? { mac: spec.mac } : {}
  const promiscuous = spec.promiscuous && !bridge.promiscuous ? { promiscuous: true } : {}
  const filtering = spec.vlanFiltering && !bridge.vlanFiltering ? { vlanFiltering: true } : {}
  const sized = bridge.mtu === mtu ? {} : { mtu }
  const wanted = { ...up, ...mac, ...promiscuous, ...filtering, ...sized, ...(ipv4 && { ipv4 }) }
  return Object.keys(wanted).length > 0 ? [{ op: 'setLink', link, ...wanted }] : []
}

/** Returns the reverse of a change. The MAC stays: the kernel refuses one of zeros. */
function reversed({ link, up, promiscuous, vlanFiltering }: SetLink): SetLink {
  return {
    op: 'setLink',
    link,
    ...(up && { up: false }),
    ...(promiscuous && { promiscuous: false }),
    ...(vlanFiltering && { vlanFiltering: false }),
  }
}
