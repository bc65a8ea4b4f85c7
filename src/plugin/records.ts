import type { AttachmentRecord } from '../attachment/record.ts'
import { isDamaged, openRecords, type Records } from '../attachment/store.ts'
import type { AttachmentId } from '../core/names.ts'
import { LOCK_TIMEOUT_MS, type Ports } from './ports.ts'
import { attachmentIdOf, type Request } from './request.ts'

/** The attachment records of this node. */
export function recordsOf(ports: Ports): Records {
  return openRecords(ports.files, ports.paths.recordsDir)
}

/** Runs `work` while nobody else works on this attachment. Throws a Fault (code 11) when it can't be had in time. */
export function withAttachmentLock<T>(request: Request, ports: Ports, work: () => T): T {
  const lock = recordsOf(ports).lock(attachmentIdOf(request), LOCK_TIMEOUT_MS)
  try {
    return work()
  } finally {
    lock.release()
  }
}

/** The record of an attachment. Undefined if there is none, or none that can be trusted. */
export function soundRecord(ports: Ports, id: AttachmentId): AttachmentRecord | undefined {
  const reading = recordsOf(ports).read(id)
  return isDamaged(reading) ? undefined : reading
}
