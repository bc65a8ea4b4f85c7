import { viewPool } from '../../ipam/pool.ts'
import type { AttachmentRecord } from '../../ipam/record.ts'
import { parseResult } from '../cni/parse_result.ts'
import { podInterfaceOf } from '../cni/result.ts'
import { collectFaults, type Fault, isErrno } from '../core/errors.ts'
import { removePodInterface } from '../pod/detach.ts'
import { dataDirOf } from './addresses.ts'
import { attachmentIdOf, type Call, delegateOf, OWN_IPAM, runDelegate } from './call.ts'
import { ipamPartOf } from './chain.ts'
import { isOwnNamespace } from './pod_netns.ts'
import type { Ports } from './ports.ts'
import { forgetRecord, forgetUnrecorded, keepOnly, soundRecord, withAttachmentLock } from './records.ts'
import { releaseUnrecorded, removeRecorded } from './remove.ts'
import { removeDerived, removeFromKernel, throwCollected } from './unmake.ts'

/**
 * DEL: takes away all that ADD made. Works from the record; without one, from the derived names, the namespace and
 * the lease files. Succeeds when there is nothing left to do, and as often as it is called.
 */
export function del(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  withAttachmentLock(call, ports, () => {
    const record = soundRecord(ports, id)
    const type = record?.delegate ?? delegateOf(call.config)
    const faults = [
      ...(record ? removeOwn(call, ports, record) : removeUnrecorded(call, ports)),
      ...collectFaults(type ? [() => runDelegate(call, ports, type, 'DEL')] : []),
    ]
    throwCollected(faults, id.containerId)
    if (!record) forgetUnrecorded(call, ports)
    else if (isOnlyIpamOfAnother(call, record)) return
    else if (record.chained) keepOnly(ports, record, ipamPartOf(record))
    else forgetRecord(ports, record)
  })
}

/** What the record says that this plugin made. Addresses that we gave to another plugin of the list stay with it. */
function removeOwn(call: Call, ports: Ports, record: AttachmentRecord): Fault[] {
  if (record.chained) return removeFromKernel(ports, record)
  if (record.mode) return removeRecorded(ports, record)
  if (isOnlyIpamOfAnother(call, record)) return []
  // Our IPAM served another plugin, in whose stead we are now: the lease is the proof.
  return [...collectFaults([() => removeFromNetns(call, ports)]), ...removeRecorded(ports, record)]
}

function isOnlyIpamOfAnother({ config }: Call, { mode }: AttachmentRecord): boolean {
  return !mode && config.ipam?.type !== OWN_IPAM
}

/** An attachment of which nothing is written: made by another plugin, or its record is lost. */
function removeUnrecorded(call: Call, ports: Ports): Fault[] {
  const { hadLink, faults } = removeDerived(ports, attachmentIdOf(call))
  // Without a word on addresses in the config, leases of this name are another plugin's.
  const givesAddresses = call.config.ipam && !delegateOf(call.config)
  const more = collectFaults([
    () => hadLink || removeFromNetns(call, ports, () => isNamed(call) || holdsLease(call, ports)),
    () => givesAddresses && releaseUnrecorded(call, ports),
  ])
  return [...faults, ...more]
}

/**
 * Takes the interface out of the pod, if it is ours. The namespace may be gone, empty or no namespace at all: then
 * nothing of the pod is left in it.
 */
function removeFromNetns(call: Call, ports: Ports, isOurs: () => boolean = () => true): void {
  const { netns: path, ifName } = call.invocation
  if (!path) return
  try {
    const netns = ports.kernel.openNetns(path)
    try {
      const isIn = !isOwnNamespace(ports, netns) && netns.link({ name: ifName }) !== undefined
      if (isIn && isOurs()) removePodInterface(netns, ifName)
    } finally {
      netns.close()
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'EINVAL')) throw error
  }
}

/**
 * Whether the runtime says that the interface came out of this list, and it can have been us: an interface with
 * addresses was made by a plugin that gives addresses.
 */
function isNamed({ invocation, config }: Call): boolean {
  try {
    const previous = parseResult(config.prevResult ?? {}, config.cniVersion)
    const index = podInterfaceOf(previous, invocation.ifName)
    return index >= 0 && (config.ipam?.type !== undefined || previous.ips.length === 0)
  } catch {
    // What can't be read proves nothing; a DEL goes on.
    return false
  }
}

/** Whether a lease of this network is the pod's: of ours, or of host-local under a plugin in whose stead we are. */
function holdsLease(call: Call, ports: Ports): boolean {
  const { network, containerId, ifName } = attachmentIdOf(call)
  const dataDir = dataDirOf(call.config, ports)
  if (!call.config.ipam) return false
  return viewPool(ports.files, { dataDir, network })
    .owners()
    .some((one) => one.containerId === containerId && (one.ifName ?? ifName) === ifName)
}
