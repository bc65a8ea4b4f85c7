import type { HostLinks } from '../attachment/identity.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { collectFaults, type Fault } from '../core/errors.ts'
import { releaseLeases, withPool } from './addresses.ts'
import type { Ports } from './ports.ts'
import { attachmentIdOf, type Request, releaseDelegated } from './request.ts'
import { type Removal, type RemovalContext, removeFromKernel } from './teardown.ts'

/**
 * Undoes an attachment by its record: link, leases. Goes on after a failure; but as long as the link is
 * there, its addresses stay held, and another IPAM plugin must not free them either. The record stays: `forgetRecord`
 * takes it away once all is done.
 */
export function removeRecorded(ports: Ports, record: AttachmentRecord, context?: RemovalContext): Removal {
  const { faults, isLinkGone } = removeFromKernel(ports, record, context)
  const more = isLinkGone ? collectFaults([() => releaseLeases(ports, record)]) : []
  return { faults: [...faults, ...more], isLinkGone }
}

/** The same, and lets another IPAM plugin free what it holds for the attachment. */
export function removeWithDelegated(
  request: Request,
  ports: Ports,
  record: AttachmentRecord,
  hostLinks?: HostLinks,
): readonly Fault[] {
  const { faults, isLinkGone } = removeRecorded(ports, record, hostLinks && { hostLinks })
  return isLinkGone ? [...faults, ...collectFaults([() => releaseDelegated(request, ports, record)])] : faults
}

/** Frees all leases of an attachment that has no sound record. */
export function releaseUnrecorded(request: Request, ports: Ports): void {
  const id = attachmentIdOf(request)
  withPool(ports, id.network, request.config.ipam?.dataDir, (pool) => pool.releaseAll(id))
}
