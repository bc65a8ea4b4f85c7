import type { Owner } from './leases.ts'

/** An attachment as a pool sees it: by what is written of it. */
export type Attachment = Owner & {
  /** The boot in which it was made. Of one of another boot nothing is left but files. */
  readonly bootId: string
  /** False until its ADD has succeeded. */
  readonly complete: boolean
  /** Absent when another IPAM plugin gave the addresses, or none. The addresses are in canonical text. */
  readonly leases?: { readonly dataDir: string; readonly addresses: readonly string[] }
}

/** All that is written of the attachments of a network, read once. */
export type WrittenAttachments = {
  readonly attachments: readonly Attachment[]
  /** Returns whether a power failure took what was written of this owner: then it is of another boot. */
  isLost(owner: Owner): boolean
  /** Removes what such a power failure has left, where nobody works on it. */
  removeLost(): void
}

/**
 * What a pool asks of the attachments of its network, and has done to them. Implemented where their records are; an
 * attachment that is handed in must be one that was handed out.
 */
export interface Attachments {
  readAll(): WrittenAttachments
  find(owner: Owner): Attachment | undefined
  /** Returns whether the pod is gone for certain, though it was of this boot and no DEL came. */
  isDead(attachment: Attachment): boolean
  /** Runs `work` with what is written now, unless somebody works on the attachment, or nothing is written: then undefined. */
  whenIdle<T>(owner: Owner, work: (now: Attachment) => T): T | undefined
  /** Removes what is left of an attachment: first in the kernel, then its leases by `freeLeases`, then what is written of it. */
  reclaim(attachment: Attachment, freeLeases: () => void): void
}
