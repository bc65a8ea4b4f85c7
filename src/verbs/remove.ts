import type { AttachmentRecord } from '../../ipam/record.ts'
import { hostCidr, parseCidr } from '../core/address.ts'
import { Code, collectFaults, Fault } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import { removeLink } from '../pod/detach.ts'
import { removeMacCheck } from '../pod/mac_check.ts'
import { removeMasquerade } from '../pod/masquerade.ts'
import { releaseLeases, withPool } from './addresses.ts'
import { attachmentIdOf, type Call } from './call.ts'
import type { Ports } from './ports.ts'

/**
 * Undoes an attachment by its record alone: link, masquerading, leases. Goes on after a failure and returns what
 * failed. The record stays: `forgetRecord` takes it away once all is done.
 */
export function removeRecorded(ports: Ports, record: AttachmentRecord): Fault[] {
  return collectFaults([
    // Before the link: the kernel then waits for its readers once for both.
    () => removeMasqueradeOf(ports, record),
    () => void removeLink(ports.kernel.host(), { name: deriveNames(record).hostIfName }),
    // After the link: at no time can the pod send unchecked.
    () => removeMacCheckOf(ports, record),
    () => releaseLeases(ports, record),
  ])
}

/** One Fault for all that could not be removed. Nothing is thrown when there is none. */
export function throwCollected(faults: readonly Fault[], containerId: string): void {
  const first = faults[0]
  if (!first) return
  throw new Fault(
    `could not remove all of ${containerId}: ${faults.map(({ message }) => message).join('; ')}`,
    {
      code: first.code === Code.tryLater ? Code.tryLater : Code.incompleteRemoval,
      cure:
        first.cure ??
        'The rest is removed. Call DEL again when the cause is mended; the record is kept for it.',
      cause: first,
    },
  )
}

function removeMacCheckOf(ports: Ports, record: AttachmentRecord): void {
  if (record.macspoofchk && record.bootId === ports.kernel.bootId())
    removeMacCheck(ports.kernel, deriveNames(record))
}

/** Elements in the kernel live no longer than the boot they were made in. */
function removeMasqueradeOf(ports: Ports, record: AttachmentRecord): void {
  if (!record.masquerade || record.bootId !== ports.kernel.bootId()) return
  removeMasquerade(ports.kernel, record.masquerade.map(parseCidr))
}

/** Frees all leases of an attachment that has no sound record, and ends the masquerading of what they held. */
export function releaseUnrecorded(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  withPool(ports, id.network, call.config.ipam?.dataDir, (pool) => {
    const freed = pool.releaseAll(id)
    removeMasquerade(ports.kernel, freed.map(hostCidr))
  })
}
