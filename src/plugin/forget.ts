import type { AttachmentRecord } from '../attachment/record.ts'
import { parseCidr } from '../core/address.ts'
import { isErrno } from '../core/errors.ts'
import { removeUnusedMacFrame } from '../pod/mac_check.ts'
import { removeMasquerade } from './masquerading.ts'
import type { Ports } from './ports.ts'
import { recordsOf } from './records.ts'
import { attachmentIdOf, type Request } from './request.ts'

/** Removes the record; with the last one of a network goes what its pods had in common in the kernel. */
export function forgetRecord(ports: Ports, record: AttachmentRecord): void {
  if (recordsOf(ports).remove(record)) removeShared(ports, record)
}

/**
 * Writes down what is left of a record once a part of it is undone; nothing left: as `forgetRecord`. What the network's
 * pods had in common goes if this was the last that used it. On a disk without room the record goes: leases need none, as
 * each says whose it is, and what else is left `giveUp` takes away.
 */
export function keepOnly(
  ports: Ports,
  record: AttachmentRecord,
  rest: AttachmentRecord | undefined,
  giveUp: () => void = () => {},
): void {
  if (!rest) {
    forgetRecord(ports, record)
    return
  }
  try {
    recordsOf(ports).write(rest)
  } catch (error) {
    if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
    giveUp()
    recordsOf(ports).remove(record)
  }
  removeShared(ports, record)
}

/**
 * The record of an ADD that was killed before its addresses were known names no subnet, while an ADD before it may have
 * masqueraded one. So it is looked for on every node on which something was masqueraded.
 */
function removeShared(ports: Ports, { network, masquerade, macspoofchk }: AttachmentRecord): void {
  if (macspoofchk) removeUnusedMacFrame(ports.kernel)
  if (!masquerade && !recordsOf(ports).hasMasqueraded()) return
  removeMasquerade(ports, network, { emptied: (masquerade ?? []).map(parseCidr) })
}

/**
 * The same where there is no sound record: a DEL that was killed had removed it, perhaps, but not yet what the
 * network's pods had in common.
 */
export function forgetUnrecorded(request: Request, ports: Ports): void {
  const id = attachmentIdOf(request)
  if (!recordsOf(ports).remove(id)) return
  removeUnusedMacFrame(ports.kernel)
  removeMasquerade(ports, id.network)
}
