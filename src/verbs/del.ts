import { collectFaults, isErrno } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import { removeLink, removePodInterface } from '../pod/detach.ts'
import { removeMacCheck } from '../pod/mac_check.ts'
import { isOwnNamespace } from './add.ts'
import { attachmentIdOf, type Call, delegateOf, runDelegate } from './call.ts'
import type { Ports } from './ports.ts'
import { forgetRecord, forgetUnrecorded, soundRecord, withAttachmentLock } from './records.ts'
import { releaseUnrecorded, removeRecorded, throwCollected } from './remove.ts'

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
      ...(record ? removeRecorded(ports, record) : collectFaults([() => removeUnrecorded(call, ports)])),
      ...collectFaults(type ? [() => runDelegate(call, ports, type, 'DEL')] : []),
    ]
    throwCollected(faults, id.containerId)
    if (record) forgetRecord(ports, record)
    else forgetUnrecorded(call, ports)
  })
}

/** An attachment of which nothing is written: made by another plugin, or its record is lost. */
function removeUnrecorded(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  const hadLink = removeLink(ports.kernel.host(), { name: deriveNames(id).hostIfName })
  removeMacCheck(ports.kernel, deriveNames(id))
  if (!hadLink) removeFromNetns(call, ports)
  if (delegateOf(call.config)) return
  releaseUnrecorded(call, ports)
}

/** The namespace may be gone, empty or no namespace at all: then nothing of the pod is left in it. */
function removeFromNetns(call: Call, ports: Ports): void {
  const { netns: path, ifName } = call.invocation
  if (!path) return
  try {
    const netns = ports.kernel.openNetns(path)
    try {
      if (!isOwnNamespace(ports, netns)) removePodInterface(netns, ifName)
    } finally {
      netns.close()
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT', 'EINVAL')) throw error
  }
}
