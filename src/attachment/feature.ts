import type { AttachmentId } from '../core/names.ts'
import type { AttachmentRecord } from './record.ts'

/**
 * Something that an attachment has in the kernel besides its link, such as a rule of the firewall. Without a record nothing
 * sound is written of the attachment, and it may have had anything that its id leads to.
 */
export interface AttachedFeature {
  /** Removes what this attachment alone has. The link is gone by then, so the pod can't send meanwhile. Idempotent. */
  remove?(id: AttachmentId, record?: AttachmentRecord): void
  /** Removes what the attachments of a network share, once the record is removed and no other one needs it. Idempotent. */
  removeShared?(id: AttachmentId, record?: AttachmentRecord): void
}
