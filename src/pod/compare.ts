import { type Address, type Cidr, formatAddress, formatCidr, sameAddress } from '../core/address.ts'
import type { Kernel, Link, Netns, Route } from '../kernel/kernel.ts'
import { missingGateways } from './gateway.ts'
import { missingMasquerade } from './masquerade.ts'
import { type EndPlan, type PlannedRoute, planPod } from './plan.ts'
import type { PodSpec } from './spec.ts'
import { gatewayVlanName } from './vlan.ts'

const MAIN_TABLE = 254

/**
 * What of ours is missing or wrong, one sentence each; empty when all is well. Judged is only what Bowline made and
 * what the pod needs: never a MAC that udev may rewrite, never promiscuity, never what a later plugin added.
 */
export function comparePod(kernel: Kernel, netns: Netns, spec: PodSpec): string[] {
  const plan = planPod(spec)
  const pod = netns.link({ name: spec.id.ifName })
  if (!pod) return [`interface ${spec.id.ifName} is missing in the pod`]
  const host = kernel.host().link({ name: spec.hostIfName })
  if (!host) return [`host interface ${spec.hostIfName} is missing`]
  return [
    ...compareLinks(spec, pod, host),
    ...compareEnd(netns, plan.pod, pod, 'in the pod'),
    ...compareEnd(kernel.host(), plan.host, host, 'on the host'),
    ...compareBridge(kernel.host(), spec, plan.bridgeAddresses, host),
    ...compareMasquerade(kernel, spec),
  ]
}

/** The same for a pod that an earlier plugin made: what lies behind its host interface, and nothing of the pod. */
export function compareChained(kernel: Kernel, spec: PodSpec): string[] {
  const host = kernel.host().link({ name: spec.hostIfName })
  if (!host) return [`host interface ${spec.hostIfName} is missing`]
  return [
    ...(host.up ? [] : [`host interface ${host.name} is down`]),
    ...compareBridge(kernel.host(), spec, planPod(spec).bridgeAddresses, host),
    ...compareMasquerade(kernel, spec),
  ]
}

function compareLinks(spec: PodSpec, pod: Link, host: Link): string[] {
  const differences: string[] = []
  if (pod.peer !== host.index) differences.push(`${pod.name} in the pod is not the other end of ${host.name}`)
  if (spec.podUp && !pod.up) differences.push(`interface ${pod.name} in the pod is down`)
  if (!host.up) differences.push(`host interface ${host.name} is down`)
  return differences
}

function compareEnd(netns: Netns, plan: EndPlan, link: Link, where: string): string[] {
  const addresses = plan.addresses.length > 0 ? netns.addresses(link.index) : []
  const routes = plan.routes.length > 0 ? netns.routes(link.index) : []
  const neighbours = plan.neighbours.length > 0 ? netns.neighbours(link.index) : []
  return [
    ...plan.addresses
      .filter((cidr) => !addresses.some((one) => formatCidr(one.cidr) === formatCidr(cidr)))
      .map((cidr) => `address ${formatCidr(cidr)} is missing on ${link.name} ${where}`),
    ...plan.routes
      .filter((route) => !routes.some((one) => matches(one, route)))
      .map((route) => `route ${describeRoute(route)} is missing on ${link.name} ${where}`),
    ...plan.neighbours
      .filter(({ address, mac }) => !neighbours.some((n) => n.mac === mac && sameAddress(n.address, address)))
      .map(
        ({ address }) => `neighbour ${formatAddress(address)} is missing or wrong on ${link.name} ${where}`,
      ),
  ]
}

/** What the plan leaves open may be anything: priority, metrics, and the table, to which a plugin such as sbr moves routes. */
function matches(actual: Route, wanted: PlannedRoute): boolean {
  return (
    formatCidr(actual.dst) === formatCidr(wanted.dst) &&
    sameGateway(actual.gateway, wanted.gateway) &&
    (wanted.table === undefined || (actual.table ?? MAIN_TABLE) === wanted.table) &&
    (wanted.priority === undefined || actual.priority === wanted.priority) &&
    (wanted.mtu === undefined || actual.mtu === wanted.mtu) &&
    (wanted.advmss === undefined || actual.advmss === wanted.advmss)
  )
}

function sameGateway(a: Address | undefined, b: Address | undefined): boolean {
  return a === b || (a !== undefined && b !== undefined && sameAddress(a, b))
}

function describeRoute({ dst, gateway }: PlannedRoute): string {
  return `${formatCidr(dst)}${gateway ? ` via ${formatAddress(gateway)}` : ''}`
}

function compareBridge(host: Netns, spec: PodSpec, gateways: readonly Cidr[], end: Link): string[] {
  if (!spec.bridge) return []
  const { name, port, gatewayVlan } = spec.bridge
  const bridge = host.link({ name })
  if (!bridge) return [`bridge ${name} is missing`]
  const differences: string[] = []
  if (!bridge.up) differences.push(`bridge ${name} is down`)
  if (end.master !== bridge.index)
    differences.push(`host interface ${end.name} is not a port of bridge ${name}`)
  if (port.hairpin && !end.port?.hairpin) differences.push(`hairpin mode is off on ${end.name}`)
  if (port.isolated && !end.port?.isolated) differences.push(`port isolation is off on ${end.name}`)
  const carrier = gatewayVlan === undefined ? bridge : host.link({ name: gatewayVlanName(name, gatewayVlan) })
  if (!carrier) return [...differences, `link ${gatewayVlanName(name, gatewayVlan ?? 0)} is missing`]
  const missing = missingGateways(host, carrier, gateways)
  return [
    ...differences,
    ...missing.map((cidr) => `gateway ${formatCidr(cidr)} is missing on ${carrier.name}`),
  ]
}

function compareMasquerade(kernel: Kernel, spec: PodSpec): string[] {
  if (!spec.masquerade) return []
  const missing = missingMasquerade(
    kernel,
    spec.id.network,
    spec.ips.map(({ cidr }) => cidr),
  )
  return missing.map(
    ({ address }) => `${formatAddress(address)} is not masqueraded: its nftables element is missing`,
  )
}
