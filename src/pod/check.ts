import { hostEndOf, isHostEnd, namedHostEnd } from '../attachment/identity.ts'
import { bitsOf, type Cidr, networkOf, sameCidr } from '../core/address.ts'
import type { Kernel, Link, Netns } from '../kernel/kernel.ts'
import { type Desired, hostPlace, type Place, routesOn } from '../state/desired.ts'
import { difference } from '../state/difference.ts'
import { changeStep, type Difference } from '../state/explain.ts'
import { observe } from '../state/observe.ts'
import {
  chainedPortObjects,
  gatewayLinkName,
  hostEndObjects,
  networkObjects,
  podEndObjects,
  podPlace,
} from './desired.ts'
import { diagnoseDelivery } from './diagnose_delivery.ts'
import { diagnoseRules } from './diagnose_rules.ts'
import type { PodFeature } from './features/feature.ts'
import { planPod } from './plan.ts'
import type { PodSpec } from './spec.ts'

/**
 * Returns what of a pod's desired state is missing or wrong, and what makes the pod's traffic fail though nothing is, in the
 * order of mending. `path` is how the pod's namespace is reached.
 */
export function checkPod(
  kernel: Kernel,
  netns: Netns,
  spec: PodSpec,
  path: string,
  features: readonly PodFeature[],
): Difference[] {
  const [inPod, onHost] = [podPlace(netns, path), hostPlace(kernel.host())]
  const pod = netns.link({ name: spec.id.ifName })
  if (!pod) return [missingPodEnd(inPod, onHost.netns, spec)]
  const host = hostEndFor(onHost.netns, spec, pod)
  if (!host) return [missingHostEnd(spec)]
  const plan = planPod(spec)
  const mtu = spec.mtu || host.mtu
  const ofPod = podEndObjects(spec, plan.pod, { place: inPod, link: pod.name, mtu }, features)
  const ofHost = hostEndObjects(spec, plan.host, { place: onHost, link: host.name, mtu }, features)
  const isPair = pod.peer === host.index
  const addresses = pod.up ? netns.addresses(pod.index).map(({ cidr }) => cidr) : []
  const inside = [...connectedRoutes(spec, inPod, addresses), ...ofPod]
  return [
    ...(isPair ? [] : [{ what: `${pod.name} in the pod is not the other end of ${host.name}`, steps: [] }]),
    ...difference(inside, observe(kernel, inside, new Map([[inPod, [pod]]]))),
    ...checkNode(kernel, onHost, spec, ofHost, host, features),
  ]
}

/** The kernel makes these routes with the addresses, also with those that are still to be added; in mode l3 it makes none. */
function connectedRoutes({ mode, ips, id }: PodSpec, place: Place, present: readonly Cidr[]): Desired[] {
  const cidrs = ips.map(({ cidr }) => cidr).filter((cidr) => present.some((one) => sameCidr(one, cidr)))
  const subnets = cidrs.filter(({ address, prefix }) => mode === 'l2' && prefix < bitsOf(address.family))
  // A later plugin may have moved them to another table.
  return routesOn(
    { place, link: id.ifName },
    subnets.map((cidr) => ({ dst: networkOf(cidr) })),
    true,
  )
}

/** Checks what lies behind the host interface of a pod that an earlier plugin made, and nothing of the pod. */
export function checkChained(
  kernel: Kernel,
  spec: PodSpec,
  features: readonly PodFeature[],
  ifIndex?: number,
): Difference[] {
  const place = hostPlace(kernel.host())
  const indexed = ifIndex === undefined ? undefined : place.netns.link({ index: ifIndex })
  const host = indexed ?? place.netns.link({ name: spec.hostIfName })
  if (!host) return [missingHostEnd(spec)]
  const { bridge } = spec
  const ofPort = bridge ? chainedPortObjects({ ...spec, bridge }, { place, link: host.name }, features) : []
  return checkNode(kernel, place, spec, ofPort, host, features)
}

function checkNode(
  kernel: Kernel,
  place: Place,
  spec: PodSpec,
  ofEnd: readonly Desired[],
  end: Link,
  features: readonly PodFeature[],
): Difference[] {
  const current = { ...spec, hostIfName: end.name }
  const { bridge: wanted } = spec
  const bridge = wanted && place.netns.link({ name: wanted.name })
  const entry = wanted ? place.netns.link({ name: gatewayLinkName(wanted) }) : end
  const links = { bridge, carrier: entry }
  const desired = [...(wanted ? networkObjects(wanted, planPod(spec), place, links) : []), ...ofEnd]
  const known = new Map([[place, [bridge, entry, end].flatMap((link) => link ?? [])]])
  const found = difference(desired, observe(kernel, desired, known))
  const ofNode = features.flatMap((feature) => feature.nodeObjects?.(spec) ?? [])
  return [
    ...found,
    ...(end.up ? diagnoseDelivery(place, spec, entry, found.length > 0) : []),
    ...diagnoseRules(place, current),
    ...difference(ofNode, observe(kernel, ofNode)),
    ...features.flatMap((feature) => feature.diagnose?.(current, place, entry) ?? []),
    ...checkName(place, end, spec.hostIfName),
  ]
}

function missingHostEnd({ hostIfName }: PodSpec): Difference {
  return { what: `host interface ${hostIfName} is missing`, steps: [] }
}

/** Returns the host end; under another name, the peer of the pod's end if that is shown to be the host end. */
function hostEndFor(host: Netns, { id, hostIfName }: PodSpec, pod: Link): Link | undefined {
  const named = namedHostEnd(host, id)
  if (named) return named
  const other = hostEndOf(host, pod)
  // By the name alone it is judged too: it may have lost its MAC and its alias.
  return other && (other.name === hostIfName || isHostEnd(other, id)) ? other : undefined
}

/** Comes last: commands before it use the present name. nftables and DEL of older versions know the given name. */
function checkName(place: Place, link: Link, given: string): Difference[] {
  const what = `host interface ${given} was renamed to ${link.name}`
  return link.name === given ? [] : [{ what, steps: [rename(place, link, given)] }]
}

function missingPodEnd(place: Place, onHost: Netns, { id }: PodSpec): Difference {
  const host = namedHostEnd(onHost, id)
  const renamed = host?.peer === undefined ? undefined : place.netns.link({ index: host.peer })
  if (renamed?.peer !== host?.index || !renamed || renamed.kind !== 'veth') {
    return { what: `interface ${id.ifName} is missing in the pod`, steps: [] }
  }
  return {
    what: `interface ${id.ifName} in the pod was renamed to ${renamed.name}`,
    steps: [rename(place, renamed, id.ifName)],
  }
}

function rename(place: Place, { index, name: former }: Link, name: string) {
  return changeStep(place, { op: 'setLink', link: { index }, name }, () => former)
}
