import type { AttachmentRecord } from '../attachment/record.ts'
import type { AttachmentStore } from '../attachment/store.ts'
import { forget, teardown } from '../attachment/teardown.ts'
import type { NetworkConfig } from '../cni/config.ts'
import { type CniInterface, type CniResult, podInterfaceOf } from '../cni/result.ts'
import { chooseDns, runtimeArgsOf } from '../cni/runtime_args.ts'
import { formatAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { Mac } from '../core/mac.ts'
import { UndoStack, withUnwound } from '../core/undo.ts'
import type { Kernel, Link, Netns } from '../kernel/kernel.ts'
import { attachChained } from '../pod/chained.ts'
import { type PodFeature, remembered } from '../pod/features/feature.ts'
import { nodeStateOf } from '../pod/node_state.ts'
import type { PodIp, PodSpec } from '../pod/spec.ts'
import { bridgeSpecOf, podSpecOf } from './pod_spec.ts'
import type { Ports } from './ports.ts'
import { attachmentIdOf, type Request } from './request.ts'

/**
 * ADD behind a plugin that has made the interface. In mode l2 its host side becomes a port of our bridge; in mode chained it only gets
 * what the features give. What the container has stays as it is, and so does the result, but for our bridge at its end. Source: CNI
 * CONVENTIONS, "Chained plugins".
 */
export function addChained(request: Request, ports: Ports, netns: Netns, previous: CniResult): void {
  const { kernel, store, pools, features } = ports
  refuseUnchainable(request.config, features)
  const id = attachmentIdOf(request)
  const before = store.read(id)
  const shared = sharedPart(before, kernel.bootId())
  if (before) {
    // What an ADD of this attachment left that was killed.
    const freeLeases = () => shared || pools.release(before)
    teardown(ports, { id, record: before, freeLeases, leavesRecord: true })
  }
  const pod = podLinkOf(request, netns)
  const port = hostSideOf(request, kernel.host(), pod, previous)
  const spec = chainedSpec(request, kernel, previous, port, pod.mac)
  if (spec.bridge) refuseStolenPort(port, spec.bridge.name, kernel.host())
  const record: AttachmentRecord = {
    ...shared,
    ...id,
    version: 1,
    bootId: kernel.bootId(),
    complete: false,
    netns: { path: request.invocation.netns, ...netns.identity },
    hostIfName: port.name,
    mode: spec.mode,
    ...(spec.bridge && { bridge: spec.bridge.name }),
    chained: {
      ifIndex: port.index,
      joined: spec.bridge !== undefined && port.master === undefined,
      addresses: spec.ips.map(({ cidr }) => formatAddress(cidr.address)),
    },
    ...remembered(
      features,
      request.config,
      spec.ips.map(({ cidr }) => cidr),
    ),
  }
  const undo = new UndoStack()
  try {
    undo.pushForgetting(() => (shared ? restoreShared(store, shared) : forget(ports, id, record)))
    store.write(record)
    const others = nodeStateOf(ports, id, pools.ownersIn(undefined))
    const links = attachChained(kernel, spec, port, others, undo)
    const made = features.flatMap((feature) => feature.hostLinks?.(spec) ?? [])
    const result = withLinks(request, previous, links, made)
    store.complete(record)
    request.deliver(result)
  } catch (error) {
    throw withUnwound(error, undo.unwind())
  }
}

/** Returns what our IPAM, called by an earlier plugin, has written of this attachment; undefined if it has nothing. */
export function ipamPartOf(record: AttachmentRecord): AttachmentRecord | undefined {
  const { network, containerId, ifName, version, bootId, netns, leases } = record
  if (!leases || (record.mode && !record.chained)) return undefined
  return { network, containerId, ifName, version, bootId, complete: true, ...(netns && { netns }), leases }
}

/** Returns what is to be known of a pod that an earlier plugin made. */
export function chainedSpec(
  request: Request,
  kernel: Kernel,
  previous: CniResult,
  port: Pick<Link, 'name' | 'mtu'>,
  podMac: Mac,
): PodSpec {
  const { config } = request
  const id = attachmentIdOf(request)
  const ips = ipsOf(previous, id.ifName)
  const requests = { ...runtimeArgsOf(request.invocation, config), mac: podMac }
  const { bridge, ...spec } = podSpecOf(kernel, id, config, requests, { ips, routes: [] })
  return {
    ...spec,
    hostIfName: port.name,
    ips,
    mtu: config.mtu || port.mtu,
    ...(bridge && { bridge: bridgeSpecOf(kernel, config) }),
  }
}

/** Returns the addresses of our interface; those that name no interface count only where none does. */
export function ipsOf(previous: CniResult, ifName: string): PodIp[] {
  const index = podInterfaceOf(previous, ifName)
  const own = previous.ips.filter((ip) => ip.interface === index)
  const counted = own.length > 0 ? own : previous.ips.filter((ip) => ip.interface === undefined)
  return counted.map(({ address, gateway }) => ({ cidr: address, ...(gateway && { gateway }) }))
}

function refuseUnchainable(config: NetworkConfig, features: readonly PodFeature[]): void {
  if (config.mode === 'l3') {
    throw refuse(
      'mode "l3" makes the pod\'s link itself, and "prevResult" has the interface already',
      'Set "mode" to "l2" to connect the interface to a bridge, or put this plugin first in the list.',
    )
  }
  if (config.ipam?.type) {
    throw refuse(
      `key "ipam.type": ${JSON.stringify(config.ipam.type)} would give addresses to an interface that an earlier plugin made`,
      'Remove "ipam" here; the plugin that makes the interface gives it its addresses.',
    )
  }
  const ofFeatures = features.flatMap(({ podKeys = [] }) => podKeys)
  for (const key of ['isDefaultGateway', 'disableContainerInterface', ...ofFeatures] as const) {
    if (!config[key]) continue
    throw refuse(
      `key "${key}": ${JSON.stringify(config[key])} would change an interface that an earlier plugin made`,
      key === 'isDefaultGateway'
        ? 'Set "isGateway" instead, and the default route where the interface is made.'
        : 'Remove it here.',
    )
  }
}

export function nothingToChainTo(ifName: string, hasPrevious: boolean): Fault {
  const what = hasPrevious ? `"prevResult" has no interface ${ifName} in the pod` : 'there is no "prevResult"'
  return refuse(
    `mode "chained" needs an interface that an earlier plugin has made, and ${what}`,
    'Put this plugin behind the one that makes the interface, in the same list.',
  )
}

function podLinkOf({ invocation: { ifName, netns: path } }: Request, netns: Netns): Link {
  const pod = netns.link({ name: ifName })
  if (pod) return pod
  throw refuse(
    `"prevResult" has an interface ${ifName}, and ${path} has none`,
    'Call DEL, then ADD for the whole list.',
  )
}

/**
 * Returns the host's end of the interface, by what the result lists on the host and the kernel says: the veth peer of the
 * container's interface, or else the one link that is no bridge, such as the tap of a virtual machine.
 */
function hostSideOf({ invocation }: Request, host: Netns, pod: Link, previous: CniResult): Link {
  const { ifName } = invocation
  const listed = previous.interfaces
    .filter(({ sandbox }) => !sandbox)
    .flatMap(({ name }) => host.link({ name }) ?? [])
    .filter(({ kind }) => kind !== 'bridge')
  const isPeer = (link: Link) => link.kind === 'veth' && link.index === pod.peer && link.peer === pod.index
  const [only, second] = listed
  const found = listed.find(isPeer) ?? (second ? undefined : only)
  if (found) return found
  throw refuse(
    `"prevResult" names no link on the host that leads to ${ifName}${second ? `: none of ${listed.map(({ name }) => name).join(', ')} is its peer` : ''}`,
    'Put this plugin behind one that makes a veth pair or a tap and lists its host side, such as ptp.',
  )
}

/** Returns what an earlier plugin of this list got from our IPAM under the same name: it shares the record. */
function sharedPart(before: AttachmentRecord | undefined, bootId: string): AttachmentRecord | undefined {
  if (before?.bootId !== bootId) return undefined
  if (before.mode && before.complete) throw attachedAlready(before)
  return ipamPartOf(before)
}

/** Writes only if the attachment's record was written: the disk may have no room for one more. */
function restoreShared(store: AttachmentStore, shared: AttachmentRecord): void {
  const written = store.read(shared)
  if (!written || written.mode) store.write(shared)
}

function attachedAlready({ containerId, ifName, chained, network }: AttachmentRecord): Fault {
  if (!chained) {
    return refuse(
      `interface ${ifName} of ${containerId} was made by this very plugin for network ${network}`,
      'Let the plugin stand only once in the list.',
    )
  }
  return new Fault(`interface ${ifName} of ${containerId} is connected to network ${network} already`, {
    code: Code.interfaceExists,
    hint: 'Call DEL for this container and interface first.',
  })
}

function refuseStolenPort(port: Link, bridge: string, host: Netns): void {
  if (port.master === undefined) return
  const other = host.link({ index: port.master })?.name ?? `link ${port.master}`
  if (other === bridge) return
  throw refuse(
    `${port.name} is a port of ${other} already`,
    `Set "bridge" to ${JSON.stringify(other)}, or remove one of the two plugins from the list.`,
  )
}

function withLinks(
  request: Request,
  previous: CniResult,
  links: readonly Link[],
  made: readonly CniInterface[],
): CniResult {
  const isNew = ({ name }: Link) => !previous.interfaces.some((one) => one.name === name && !one.sandbox)
  const own = links.filter(isNew).map(({ name, mac, mtu }) => ({ name, mac, mtu }))
  const dns = chooseDns(request.config, previous.dns)
  return { ...previous, interfaces: [...previous.interfaces, ...own, ...made], ...(dns && { dns }) }
}

function refuse(message: string, hint: string): Fault {
  return new Fault(message, { code: Code.invalidConfig, hint })
}
