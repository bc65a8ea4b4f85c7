import type { AttachmentRecord } from '../../ipam/record.ts'
import { isDamaged } from '../../ipam/records.ts'
import { assertPrintable } from '../cni/print_result.ts'
import { chooseDns, requestsOf } from '../cni/requests.ts'
import type { CniInterface, CniResult } from '../cni/result.ts'
import { Code, Fault } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { type Attached, attachPod } from '../pod/attach.ts'
import { removeLink } from '../pod/detach.ts'
import { removeMacCheck } from '../pod/mac_check.ts'
import { wantedRoutes } from '../pod/plan.ts'
import type { PodSpec } from '../pod/spec.ts'
import { type Acquired, acquireAddresses } from './addresses.ts'
import { attachmentIdOf, type Call } from './call.ts'
import type { Ports } from './ports.ts'
import { othersOf, recordsOf, soundRecord, withAttachmentLock } from './records.ts'
import { releaseUnrecorded, removeRecorded, throwCollected } from './remove.ts'
import { specOf } from './spec_of.ts'

/**
 * ADD: gives a container an interface on the network. Either all of it is done, or the machine is as it was and a
 * Fault says why. What an earlier ADD of the same attachment left when it was killed is taken over.
 */
export function add(call: Call, ports: Ports): CniResult {
  const { invocation } = call
  const netns = openPodNetns(ports, invocation.netns, invocation.netnsOverride)
  try {
    return withAttachmentLock(call, ports, () => addLocked(call, ports, netns))
  } finally {
    netns.close()
  }
}

/** The namespace of the pod. Refuses our own: the pod's interface would land on the host. */
export function openPodNetns(ports: Ports, path: string, mayBeOurs: boolean): Netns {
  const netns = ports.kernel.openNetns(path)
  if (mayBeOurs || !isOwnNamespace(ports, netns)) return netns
  netns.close()
  throw new Fault(`CNI_NETNS ${JSON.stringify(path)} is the namespace that this plugin runs in`, {
    code: Code.invalidNetns,
    cure: 'Give the path of the container’s network namespace, such as /var/run/netns/NAME.',
  })
}

/** Whether it is the namespace that this process runs in. */
export function isOwnNamespace(ports: Ports, { identity }: Netns): boolean {
  const { device, inode } = ports.kernel.host().identity
  return identity.device === device && identity.inode === inode
}

function addLocked(call: Call, ports: Ports, netns: Netns): CniResult {
  const id = attachmentIdOf(call)
  const records = recordsOf(ports)
  clearDamaged(call, ports)
  const before = soundRecord(ports, id)
  refuseExisting(ports, netns, call, before)
  if (before) throwCollected(removeRecorded(ports, before), id.containerId)
  const undo = new UndoStack()
  try {
    const acquired = acquireAddresses(
      call,
      ports,
      recordOf(call, ports, netns),
      before?.leases?.addresses,
      undo,
    )
    const requests = requestsOf(call.invocation, call.config)
    const spec = specOf(ports.kernel, id, call.config, requests, acquired)
    const attached = attachPod(ports.kernel, netns, spec, othersOf(ports, id), undo)
    const result = resultOf(call, spec, attached, acquired)
    assertPrintable(result, call.config.cniVersion)
    records.complete(acquired.record)
    return result
  } catch (error) {
    throw withUnwound(error, undo.unwind())
  }
}

/** A record that can't be trusted, after a power failure perhaps: what the derived names and the leases show goes. */
function clearDamaged(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  if (!isDamaged(recordsOf(ports).read(id))) return
  removeLink(ports.kernel.host(), { name: deriveNames(id).hostIfName })
  removeMacCheck(ports.kernel, deriveNames(id))
  releaseUnrecorded(call, ports)
  recordsOf(ports).remove(id)
}

/** The interface must not be there, unless an ADD of this very attachment was killed after it had made it. */
function refuseExisting(ports: Ports, netns: Netns, call: Call, record: AttachmentRecord | undefined): void {
  const { ifName } = call.invocation
  const present = netns.link({ name: ifName })
  if (!present) return
  const ours = record?.hostIfName ? ports.kernel.host().link({ name: record.hostIfName }) : undefined
  if (record && !record.complete && ours && ours.peer === present.index) return
  throw new Fault(`interface ${ifName} already exists in ${call.invocation.netns}`, {
    code: Code.interfaceExists,
    cure: 'Call DEL for this container and interface first, or choose another CNI_IFNAME.',
  })
}

function recordOf(call: Call, ports: Ports, netns: Netns): AttachmentRecord {
  const id = attachmentIdOf(call)
  const { mode = 'l2', bridge = 'cni0', macspoofchk } = call.config
  return {
    ...id,
    version: 1,
    bootId: ports.kernel.bootId(),
    complete: false,
    netns: { path: call.invocation.netns, ...netns.identity },
    hostIfName: deriveNames(id).hostIfName,
    mode,
    ...(mode === 'l2' && { bridge }),
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

/** A rollback that failed in part says so: somebody must know what was left behind. */
function withUnwound(error: unknown, faults: readonly Fault[]): unknown {
  if (faults.length === 0) return error
  const inner = error instanceof Error ? error.message : String(error)
  const left = faults.map(({ message }) => message).join('; ')
  return new Fault(`${inner} (and the rollback failed in part: ${left})`, { cause: error })
}
