import { isHostRouteTo, leaveBridge } from '../attachment/detach.ts'
import type { UndoStack } from '../core/undo.ts'
import { type Kernel, type Link, type Netns, Scope } from '../kernel/kernel.ts'
import { hostPlace } from '../state/desired.ts'
import { joinBridge } from './attach.ts'
import { type ReadyBridge, withBridge } from './bridge.ts'
import { deliveredAddresses, ensureDelivery } from './delivery.ts'
import { chainedPortObjects } from './desired.ts'
import type { NodeState } from './node_state.ts'
import { planPod } from './plan.ts'
import type { BridgedSpec, PodSpec } from './spec.ts'

/**
 * Gives the pod of an earlier plugin what the features have for it, and connects the host's end of its link to the bridge of the spec, if
 * it has one, with all that the bridge does for its pods. The pod itself is not touched. Returns the links of the bridge.
 */
export function attachChained(
  kernel: Kernel,
  spec: PodSpec,
  port: Link,
  others: NodeState,
  undo: UndoStack,
): Link[] {
  for (const feature of others.features) feature.beforeLink?.(spec, undo)
  const { bridge } = spec
  const ready = bridge && connect(kernel, { ...spec, bridge }, port, others, undo)
  for (const feature of others.features) feature.afterLink?.(spec, undo)
  return ready ? [ready.bridge, ...(ready.gatewayVlan ? [ready.gatewayVlan] : [])] : []
}

function connect(
  kernel: Kernel,
  spec: BridgedSpec,
  port: Link,
  others: NodeState,
  undo: UndoStack,
): ReadyBridge {
  const host = kernel.host()
  const wanted = { spec: spec.bridge, plan: planPod(spec), ips: spec.ips, mtu: () => spec.mtu }
  return withBridge(kernel, wanted, others, undo, (there) => {
    if (port.master === undefined) undo.push(() => leaveBridge(host, port.index, spec.bridge.name))
    const objects = chainedPortObjects(spec, { place: hostPlace(host), link: port.name }, others.features)
    const entries = joinBridge(host, spec, there.bridge, port, objects)
    const isTurned = port.master === undefined && turnRoutes(host, spec, port, there.bridge, undo)
    const link = isTurned ? there.bridge : (there.gatewayVlan ?? there.bridge)
    const now = isTurned ? host.lookupRoutes(deliveredAddresses(spec)) : entries
    ensureDelivery(host, spec, { link, byHostRoute: true }, now, others, undo)
    return there
  })
}

/**
 * Moves host routes from the link to the bridge, and returns whether there were any. A plugin such as ptp reaches its pod by
 * host routes over the link. Frames from a bridge port, answers to ARP included, come in by the bridge, so the routes must
 * lead over the bridge as well.
 */
function turnRoutes(host: Netns, { ips }: PodSpec, port: Link, bridge: Link, undo: UndoStack): boolean {
  const routes = host.routes(port.index).filter(isHostRouteTo(ips.map(({ cidr }) => cidr.address)))
  if (routes.length === 0) return false
  const own = host.addresses(port.index).filter(({ scope }) => scope !== Scope.link)
  for (const route of routes) {
    // The bridge may have no address to send from, while the link keeps its own.
    const source = own.find(({ cidr }) => cidr.address.family === route.dst.address.family)?.cidr.address
    const { scope: _, ...turned } = { ...route, linkIndex: bridge.index, ...(source && { source }) }
    undo.push(() => host.apply([{ op: 'addRoute', route, replace: true }]))
    host.apply([{ op: 'addRoute', route: turned, replace: true }])
  }
  return true
}
