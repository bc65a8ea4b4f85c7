import type { AttachmentRecord } from '../attachment/record.ts'
import type { NetworkConfig } from '../cni/config.ts'
import { type CniResult, podInterfaceOf } from '../cni/result.ts'
import { chooseDns } from '../cni/runtime_args.ts'
import { formatAddress, formatCidr } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import type { Mac } from '../core/mac.ts'
import { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import type { ReadyBridge } from '../pod/bridge.ts'
import { attachChained, type ChainedSpec } from '../pod/chained.ts'
import type { PodIp } from '../pod/spec.ts'
import { forgetRecord } from './forget.ts'
import { nodeStateOf } from './liveness.ts'
import { bridgeNameOf, bridgeSpecOf, podSpecOf } from './pod_spec.ts'
import type { Ports } from './ports.ts'
import { recordsOf, soundRecord } from './records.ts'
import { removeRecorded } from './remove.ts'
import { attachmentIdOf, type Request } from './request.ts'
import { removeFromKernel, throwCollected, withUnwound } from './teardown.ts'

/**
 * ADD behind a plugin that has made the interface: its host side becomes a port of our bridge. What the container has
 * stays as it is, and so does the result, but for our bridge at its end. Source: CNI CONVENTIONS, "Chained plugins".
 */
export function addChained(request: Request, ports: Ports, netns: Netns, previous: CniResult): void {
  refuseUnchainable(request.config)
  const id = attachmentIdOf(request)
  const shared = clearBefore(request, ports)
  const pod = podLinkOf(request, netns)
  const port = hostSideOf(request, ports, pod, previous)
  const bridge = bridgeNameOf(request.config)
  refuseStolenPort(port, bridge, ports)
  const spec = chainedSpec(request, ports, previous, port, pod.mac)
  const record: AttachmentRecord = {
    ...shared,
    ...id,
    version: 1,
    bootId: ports.kernel.bootId(),
    complete: false,
    netns: { path: request.invocation.netns, ...netns.identity },
    hostIfName: port.name,
    mode: 'l2',
    bridge,
    ...(spec.bridge.checkMac && { macspoofchk: true }),
    chained: {
      ifIndex: port.index,
      joined: port.master === undefined,
      addresses: spec.ips.map(({ cidr }) => formatAddress(cidr.address)),
    },
    ...(spec.masquerade && { masquerade: spec.ips.map(({ cidr }) => formatCidr(cidr)) }),
  }
  const undo = new UndoStack()
  try {
    undo.pushForgetting(() => (shared ? restoreShared(ports, shared) : forgetRecord(ports, record)))
    recordsOf(ports).write(record)
    const attached = attachChained(ports.kernel, spec, port, nodeStateOf(ports, id), undo)
    const result = withLinks(request, previous, attached)
    recordsOf(ports).complete(record)
    request.deliver(result)
  } catch (error) {
    throw withUnwound(error, undo.unwind())
  }
}

/** What one of our own IPAM calls by an earlier plugin has written of this attachment, without what is the chain's. */
export function ipamPartOf(record: AttachmentRecord): AttachmentRecord | undefined {
  const { network, containerId, ifName, version, bootId, netns, leases } = record
  if (!leases || (record.mode && !record.chained)) return undefined
  return { network, containerId, ifName, version, bootId, complete: true, ...(netns && { netns }), leases }
}

/** What the bridge is to know of a pod that an earlier plugin made. */
export function chainedSpec(
  request: Request,
  ports: Ports,
  previous: CniResult,
  port: Pick<Link, 'name' | 'mtu'>,
  podMac: Mac,
): ChainedSpec {
  const { config } = request
  const id = attachmentIdOf(request)
  const ips = ipsOf(previous, id.ifName)
  const spec = podSpecOf(ports.kernel, id, config, { mac: podMac, ips: [] }, { ips, routes: [] })
  const bridge = bridgeSpecOf(ports.kernel, config)
  return { ...spec, hostIfName: port.name, mtu: config.mtu || port.mtu, bridge }
}

/** The addresses of our interface; those that name no interface count only where none does. */
export function ipsOf(previous: CniResult, ifName: string): PodIp[] {
  const index = podInterfaceOf(previous, ifName)
  const own = previous.ips.filter((ip) => ip.interface === index)
  const counted = own.length > 0 ? own : previous.ips.filter((ip) => ip.interface === undefined)
  return counted.map(({ address, gateway }) => ({ cidr: address, ...(gateway && { gateway }) }))
}

function refuseUnchainable(config: NetworkConfig): void {
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
  for (const key of ['isDefaultGateway', 'disableContainerInterface', 'enabledad'] as const) {
    if (!config[key]) continue
    throw refuse(
      `key "${key}": true would change an interface that an earlier plugin made`,
      key === 'isDefaultGateway'
        ? 'Set "isGateway" instead, and the default route where the interface is made.'
        : 'Remove it here.',
    )
  }
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
 * The host's end of the interface, by what the result lists on the host and the kernel says: the veth peer of the
 * container's interface, or else the one link that is no bridge, such as the tap of a virtual machine.
 */
function hostSideOf({ invocation }: Request, ports: Ports, pod: Link, previous: CniResult): Link {
  const { ifName } = invocation
  const host = ports.kernel.host()
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

/**
 * What an ADD of this attachment left that was killed goes. Returns what an earlier plugin of this list got from our
 * IPAM under the same name: it shares the record.
 */
function clearBefore(request: Request, ports: Ports): AttachmentRecord | undefined {
  const before = soundRecord(ports, attachmentIdOf(request))
  if (!before) return undefined
  const isOfThisBoot = before.bootId === ports.kernel.bootId()
  if (before.mode && before.complete && isOfThisBoot) throw attachedAlready(before)
  const shared = isOfThisBoot ? ipamPartOf(before) : undefined
  const { faults } = shared ? removeFromKernel(ports, before) : removeRecorded(ports, before)
  throwCollected(faults, before.containerId)
  return shared
}

/** Whether or not the write of the attachment's record has succeeded: the disk may have no room for one more. */
function restoreShared(ports: Ports, shared: AttachmentRecord): void {
  const written = soundRecord(ports, shared)
  if (!written || written.mode) recordsOf(ports).write(shared)
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

function refuseStolenPort(port: Link, bridge: string, ports: Ports): void {
  if (port.master === undefined) return
  const other = ports.kernel.host().link({ index: port.master })?.name ?? `link ${port.master}`
  if (other === bridge) return
  throw refuse(
    `${port.name} is a port of ${other} already`,
    `Set "bridge" to ${JSON.stringify(other)}, or remove one of the two plugins from the list.`,
  )
}

function withLinks(request: Request, previous: CniResult, { bridge, gatewayVlan }: ReadyBridge): CniResult {
  const isNew = ({ name }: Link) => !previous.interfaces.some((one) => one.name === name && !one.sandbox)
  const own = [bridge, ...(gatewayVlan ? [gatewayVlan] : [])]
    .filter(isNew)
    .map(({ name, mac, mtu }) => ({ name, mac, mtu }))
  const dns = chooseDns(request.config, previous.dns)
  return { ...previous, interfaces: [...previous.interfaces, ...own], ...(dns && { dns }) }
}

function refuse(message: string, hint: string): Fault {
  return new Fault(message, { code: Code.invalidConfig, hint })
}
