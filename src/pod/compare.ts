import { hostEndOf, isHostEnd, namedHostEnd } from '../attachment/identity.ts'
import { quote } from '../core/shell.ts'
import type { Kernel, Link, Netns } from '../kernel/kernel.ts'
import type { MissingNft } from './base_chains.ts'
import { compareBridge, gatewayLink } from './compare_bridge.ts'
import { compareDelivery } from './compare_delivery.ts'
import { compareEnd, compareIpv6 } from './compare_end.ts'
import { compareWay } from './compare_way.ts'
import { missingMacCheck } from './mac_check.ts'
import { missingMasquerade } from './masquerade.ts'
import { planPod } from './plan.ts'
import { finding, hostPlace, nft, type Place, podPlace, setLink } from './repair.ts'
import type { PodSpec } from './spec.ts'

/**
 * What of ours is missing or wrong, one text each with the command that mends it, in the order of mending; empty when
 * all is well. Judged is only what Bowline made and what the pod needs: never a MAC that udev may rewrite (but for mode
 * l3, where frames to the old one would be lost), never promiscuity, never what a later plugin added. `path` is how the
 * pod's namespace is reached.
 */
export function comparePod(kernel: Kernel, netns: Netns, spec: PodSpec, path: string): string[] {
  const plan = planPod(spec)
  const [inPod, onHost] = [podPlace(netns, path), hostPlace(kernel.host())]
  const pod = netns.link({ name: spec.id.ifName })
  if (!pod) return [missingPodEnd(kernel, netns, spec, inPod)]
  const host = hostEndFor(kernel, spec, pod)
  if (!host) return [finding(`host interface ${spec.hostIfName} is missing`)]
  const current = { ...spec, hostIfName: host.name }
  const routed = spec.mode === 'l3'
  const podRules = { mac: spec.podMac, up: spec.podUp, noDad: !spec.duplicateDetection, anyTable: true }
  const hostRules = { ...(routed && { mac: spec.hostMac }), up: true, noDad: true, anyTable: false }
  const ofHost = compareEnd(onHost, plan.host, host, hostRules)
  const ofBridge = compareBridge(kernel.host(), current, plan, host)
  return [
    ...comparePair(inPod, onHost, spec, pod, host),
    ...ofHost,
    ...compareIpv6(inPod, plan.pod.addresses, { name: 'lo' }),
    ...compareEnd(inPod, plan.pod, pod, podRules),
    ...ofBridge,
    ...compareWayThere(kernel.host(), spec, host, [...ofHost, ...ofBridge]),
    ...compareNft(kernel, spec),
    ...compareWay(kernel, current),
    ...compareName(onHost, host, spec.hostIfName),
  ]
}

/** The same for a pod that an earlier plugin made: what lies behind its host interface, and nothing of the pod. */
export function compareChained(kernel: Kernel, spec: PodSpec, ifIndex: number): string[] {
  const host = kernel.host().link({ index: ifIndex }) ?? kernel.host().link({ name: spec.hostIfName })
  if (!host) return [finding(`host interface ${spec.hostIfName} is missing`)]
  const onHost = hostPlace(kernel.host())
  const current = { ...spec, hostIfName: host.name }
  const ofBridge = compareBridge(kernel.host(), current, planPod(spec), host)
  return [
    ...(host.up ? [] : [finding(`host interface ${host.name} is down`, setLink(onHost, host.name, 'up'))]),
    ...ofBridge,
    ...compareWayThere(kernel.host(), spec, host, ofBridge),
    ...compareNft(kernel, spec),
    ...compareWay(kernel, current),
    ...compareName(onHost, host, spec.hostIfName),
  ]
}

/** What is missing of ours explains where packets go: then only a route for this very address is named. */
function compareWayThere(host: Netns, spec: PodSpec, end: Link, missing: readonly string[]): string[] {
  if (!end.up) return []
  const link = spec.bridge ? gatewayLink(host, spec.bridge) : end
  return compareDelivery(host, spec, link, missing.length > 0)
}

/** The host end, or what the pod's end leads to, if that is shown to be the host end under another name. */
function hostEndFor(kernel: Kernel, { id, hostIfName }: PodSpec, pod: Link): Link | undefined {
  const host = kernel.host()
  const named = namedHostEnd(host, id)
  if (named) return named
  const other = hostEndOf(host, pod)
  // By the name alone it is judged too: it may have lost its MAC and its alias.
  return other && (other.name === hostIfName || isHostEnd(other, id)) ? other : undefined
}

/** Last: until then it is known by the name that it has. nftables and DEL of older versions know the name that we gave. */
function compareName(place: Place, { name }: Link, given: string): string[] {
  if (name === given) return []
  return [
    finding(`host interface ${given} was renamed to ${name}`, setLink(place, name, 'name', quote(given))),
  ]
}

function missingPodEnd(kernel: Kernel, netns: Netns, { id }: PodSpec, place: Place): string {
  const host = namedHostEnd(kernel.host(), id)
  const renamed = host?.peer === undefined ? undefined : netns.link({ index: host.peer })
  if (renamed?.peer !== host?.index || !renamed || renamed.kind !== 'veth') {
    return finding(`interface ${id.ifName} is missing in the pod`)
  }
  return finding(
    `interface ${id.ifName} in the pod was renamed to ${renamed.name}`,
    setLink(place, renamed.name, 'name', quote(id.ifName)),
  )
}

/** A later plugin may have given the pod another MTU; only one that the host's end can't take is wrong. */
function comparePair(inPod: Place, onHost: Place, { mtu = 0 }: PodSpec, pod: Link, host: Link): string[] {
  const able = mtu || host.mtu
  return [
    ...(pod.peer === host.index
      ? []
      : [finding(`${pod.name} in the pod is not the other end of ${host.name}`)]),
    ...(host.mtu === able
      ? []
      : [
          finding(
            `${host.name} has an MTU of ${host.mtu} instead of ${able}`,
            setLink(onHost, host.name, 'mtu', able),
          ),
        ]),
    ...(pod.mtu <= able
      ? []
      : [
          finding(
            `${pod.name} in the pod has an MTU of ${pod.mtu}, more than the ${able} of its other end`,
            setLink(inPod, pod.name, 'mtu', able),
          ),
        ]),
  ]
}

function compareNft(kernel: Kernel, spec: PodSpec): string[] {
  const cidrs = spec.ips.map(({ cidr }) => cidr)
  const missing: MissingNft[] = [
    ...(spec.masquerade && cidrs.length > 0 ? missingMasquerade(kernel, spec.id.network, cidrs) : []),
    ...(spec.bridge?.checkMac ? missingMacCheck(kernel, spec) : []),
  ]
  return missing.map(({ what, commands }) => finding(what, ...(commands.length > 0 ? [nft(commands)] : [])))
}
