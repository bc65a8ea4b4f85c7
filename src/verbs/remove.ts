import type { AttachmentRecord } from '../../ipam/record.ts'
import { collectFaults, type Fault } from '../core/errors.ts'
import { removeMasquerade } from '../pod/masquerade.ts'
import { releaseLeases, withPool } from './addresses.ts'
import { attachmentIdOf, type Call, releaseDelegated } from './call.ts'
import type { Ports } from './ports.ts'
import { removeFromKernel } from './unmake.ts'

/**
 * Undoes an attachment by its record alone: masquerading, link, leases. Goes on after a failure and returns what
 * failed. The record stays: `forgetRecord` takes it away once all is done.
 */
export function removeRecorded(ports: Ports, record: AttachmentRecord): Fault[] {
  return [...removeFromKernel(ports, record), ...collectFaults([() => releaseLeases(ports, record)])]
}

/** The same, and lets another IPAM plugin free what it holds for the attachment. */
export function removeWithDelegated(call: Call, ports: Ports, record: AttachmentRecord): Fault[] {
  return [...removeRecorded(ports, record), ...collectFaults([() => releaseDelegated(call, ports, record)])]
}

/** Frees all leases of an attachment that has no sound record, and ends the masquerading of what they held. */
export function releaseUnrecorded(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  withPool(ports, id.network, call.config.ipam?.dataDir, (pool) => {
    const freed = pool.releaseAll(id)
    removeMasquerade(ports.kernel, id.network, freed)
  })
}
