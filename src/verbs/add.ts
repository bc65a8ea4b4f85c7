import type { AttachmentRecord } from '../../ipam/record.ts'
import { isDamaged } from '../../ipam/records.ts'
import { parseResult } from '../cni/parse_result.ts'
import { assertPrintable } from '../cni/print_result.ts'
import { chooseDns, type Requests, requestsOf } from '../cni/requests.ts'
import { type CniInterface, type CniResult, podInterfaceOf } from '../cni/result.ts'
import { Code, Fault } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { type Attached, attachPod } from '../pod/attach.ts'
import { hostEndIn } from '../pod/own_interface.ts'
import { wantedRoutes } from '../pod/plan.ts'
import type { PodSpec } from '../pod/spec.ts'
import { type Acquired, acquireAddresses } from './addresses.ts'
import { attachmentIdOf, type Call, dataDirOf } from './call.ts'
import { addChained } from './chain.ts'
import { withPodNetns } from './pod_netns.ts'
import type { Ports } from './ports.ts'
import { othersOf } from './reaper.ts'
import { recordsOf, withAttachmentLock } from './records.ts'
import { releaseUnrecorded, removeWithDelegated } from './remove.ts'
import { bridgeNameOf, specOf } from './spec_of.ts'
import { removeUnrecorded, throwCollected, withUnwound } from './unmake.ts'

/**
 * ADD: gives a container an interface on the network. Either all of it is done, or the machine is as it was and a
 * Fault says why. What an earlier ADD of the same attachment left when it was killed is taken over. With a `prevResult`
 * that has the interface already, it is connected instead; else what we made stands behind what is there.
 */
export function add(call: Call, ports: Ports): void {
  const { invocation, config } = call
  const previous = config.prevResult && parseResult(config.prevResult, config.cniVersion)
  if (!config.ipam?.type) assertPrintable({ ips: previous?.ips ?? [] }, config.cniVersion)
  const isChained = previous !== undefined && podInterfaceOf(previous, invocation.ifName) >= 0
  withPodNetns(call, ports, (netns) =>
    withAttachmentLock(call, ports, () =>
      isChained ? addChained(call, ports, netns, previous) : addLocked(call, ports, netns, previous),
    ),
  )
}

function addLocked(call: Call, ports: Ports, netns: Netns, previous: CniResult | undefined): void {
  const id = attachmentIdOf(call)
  const records = recordsOf(ports)
  const reading = records.read(id)
  if (isDamaged(reading)) clearDamaged(call, ports)
  const before = isDamaged(reading) ? undefined : reading
  refuseExisting(ports, netns, call, before)
  if (before?.bootId === ports.kernel.bootId() && previous) refuseSharedRecord(before)
  if (before) removeRemains(call, ports, before)
  const undo = new UndoStack()
  const requests = requestsOf(call.invocation, call.config)
  try {
    const acquired = acquireAddresses(
      call,
      ports,
      recordOf(call, ports, netns, requests),
      before?.leases?.addresses,
      undo,
    )
    const spec = specOf(ports.kernel, id, call.config, requests, acquired)
    const others = othersOf(ports, id, dataDirOf(call.config, ports))
    const attached = attachPod(ports.kernel, netns, spec, others, undo, acquired.ways)
    const result = appended(previous, resultOf(call, spec, attached, acquired))
    assertPrintable(result, call.config.cniVersion)
    records.complete(acquired.record)
    call.deliver(result)
  } catch (error) {
    throw withUnwound(error, undo.unwind())
  }
}

/** What an ADD that was killed has left; the addresses that it had from us it gets again. */
function removeRemains(call: Call, ports: Ports, record: AttachmentRecord): void {
  throwCollected(removeWithDelegated(call, ports, record), record.containerId)
}

/** A record that can't be trusted, after a power failure perhaps: what the derived names and the leases show goes. */
function clearDamaged(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  throwCollected(removeUnrecorded(ports, call).faults, id.containerId)
  releaseUnrecorded(call, ports)
  recordsOf(ports).remove(id)
}

/** The interface must not be there, unless an ADD of this very attachment was killed after it had made it. */
function refuseExisting(ports: Ports, netns: Netns, call: Call, record: AttachmentRecord | undefined): void {
  const { ifName } = call.invocation
  const present = netns.link({ name: ifName })
  if (!present) return
  if (record && !record.complete && hostEndIn(ports.kernel.host(), netns, record)) return
  throw new Fault(`interface ${ifName} already exists in ${call.invocation.netns}`, {
    code: Code.interfaceExists,
    cure: 'Call DEL for this container and interface first, or choose another CNI_IFNAME.',
  })
}

/** An earlier plugin of the same list may have the addresses of our IPAM: they are not ours to free. */
function refuseSharedRecord({ mode, leases, ifName }: AttachmentRecord): void {
  if (mode || !leases) return
  throw new Fault(`an earlier plugin of this list holds ${leases.addresses.join(', ')} for ${ifName}`, {
    code: Code.invalidConfig,
    cure: 'Let one plugin of a list make CNI_IFNAME; Bowline behind it connects it to a bridge. Call DEL if it is gone.',
  })
}

function recordOf(call: Call, ports: Ports, netns: Netns, { mac }: Requests): AttachmentRecord {
  const id = attachmentIdOf(call)
  const { mode = 'l2', macspoofchk } = call.config
  return {
    ...id,
    version: 1,
    bootId: ports.kernel.bootId(),
    complete: false,
    netns: { path: call.invocation.netns, ...netns.identity },
    hostIfName: deriveNames(id).hostIfName,
    ...(mac && { podMac: mac }),
    mode,
    ...(mode === 'l2' && { bridge: bridgeNameOf(call.config) }),
    ...(macspoofchk && { macspoofchk }),
  }
}

function resultOf(call: Call, spec: PodSpec, attached: Attached, acquired: Acquired): CniResult {
  const { bridge, host, pod, gatewayVlan } = attached
  const sandbox = call.invocation.netns
  const interfaces: CniInterface[] = [
    ...(bridge ? [interfaceOf(bridge)] : []),
    interfaceOf(host),
    { ...interfaceOf(pod), sandbox },
    ...(gatewayVlan ? [interfaceOf(gatewayVlan)] : []),
  ]
  const podIndex = interfaces.findIndex((one) => one.sandbox !== undefined)
  const dns = chooseDns(call.config, acquired.dns)
  return {
    interfaces,
    ips: spec.ips.map(({ cidr, gateway }) => ({
      address: cidr,
      ...(gateway && { gateway }),
      interface: podIndex,
    })),
    routes: wantedRoutes(spec),
    ...(dns && { dns }),
  }
}

function interfaceOf({ name, mac, mtu }: Link): CniInterface {
  return { name, mac, mtu }
}

/** What earlier plugins made stays as it is, and first: only our indexes move. Of DNS settings ours count, if any. */
function appended(previous: CniResult | undefined, own: CniResult): CniResult {
  if (!previous) return own
  const offset = previous.interfaces.length
  const dns = own.dns ?? previous.dns
  return {
    interfaces: [...previous.interfaces, ...own.interfaces],
    ips: [...previous.ips, ...own.ips.map((ip) => ({ ...ip, interface: (ip.interface ?? 0) + offset }))],
    routes: [...previous.routes, ...own.routes],
    ...(dns && { dns }),
  }
}
