import { Code, Fault, isErrno } from '../core/errors.ts'
import {
  ensuringDirectory,
  type FileLock,
  type Files,
  type LockKind,
  lockUnlessUnwritable,
} from '../core/files.ts'
import { type AttachmentId, deriveNames } from '../core/names.ts'

/** How long a call waits for another one that holds a lock, before it answers "try again later". */
export const LOCK_TIMEOUT_MS = 15_000

/**
 * The locks of a node. The kernel drops a lock when its holder dies. On a disk that can't be written the lock of an
 * attachment, or of a feature, is held by nobody, unless its file is there: a removal needs no space.
 */
export interface Locks {
  /** Runs `work` while nobody else works on the attachment. Throws a Fault with code 11 when the lock can't be had in time. */
  withAttachment<T>(id: AttachmentId, work: () => T): T
  /**
   * Runs `work` if nobody works on the attachment at this moment; else returns undefined at once. Of an attachment that is
   * not known the key will do (see `deriveNames`), or its first digits.
   */
  whenIdle<T>(which: AttachmentId | string, work: () => T): T | undefined
  /** Takes the lock of a bridge by its name. Throws as `withAttachment` does. */
  lockBridge(name: string, kind: LockKind): FileLock
  /** Runs `work` while nobody else changes what the pods of a feature share. Throws as `withAttachment` does. */
  withFeature<T>(feature: string, work: () => T): T
  /** Returns whether `withFeature` was ever called for the feature: else nothing on this node has it. */
  wasFeatureLocked(feature: string): boolean
  /** Runs `work` while a file announces that masquerading is being removed. */
  announceMasqueradeRemoval(work: () => void): void
  isMasqueradeRemovalAnnounced(): boolean
}

/** Opens the locks of the store in `recordsDir`. Touches nothing yet. */
export function openLocks(files: Files, recordsDir: string, timeoutMs = LOCK_TIMEOUT_MS): Locks {
  // No network can have a name that begins with a dot.
  return new FileLocks(files, `${recordsDir}/.locks`, timeoutMs)
}

/**
 * An attachment has one of 4,096 files, which are never removed, so that nobody can hold the lock of a file that has lost
 * its name. Two attachments that share one by chance wait for each other, no more.
 */
const KEY_DIGITS = 3

class FileLocks implements Locks {
  readonly #files: Files
  readonly #dir: string
  readonly #timeoutMs: number

  constructor(files: Files, dir: string, timeoutMs: number) {
    this.#files = files
    this.#dir = dir
    this.#timeoutMs = timeoutMs
  }

  withAttachment<T>(id: AttachmentId, work: () => T): T {
    return releasing(this.#lockKey(deriveNames(id).key, this.#timeoutMs), work)
  }

  whenIdle<T>(which: AttachmentId | string, work: () => T): T | undefined {
    const key = typeof which === 'string' ? which : deriveNames(which).key
    let lock: FileLock
    try {
      lock = this.#lockKey(key, 0)
    } catch (error) {
      if (error instanceof Fault && error.code === Code.tryLater) return undefined
      throw error
    }
    return releasing(lock, work)
  }

  lockBridge(name: string, kind: LockKind): FileLock {
    return this.#lock(`bridge-${name}`, this.#timeoutMs, kind)
  }

  withFeature<T>(feature: string, work: () => T): T {
    return releasing(
      lockUnlessUnwritable(() => this.#lock(feature, this.#timeoutMs)),
      work,
    )
  }

  wasFeatureLocked(feature: string): boolean {
    return this.#files.read(`${this.#dir}/${feature}`) !== undefined
  }

  announceMasqueradeRemoval(work: () => void): void {
    const path = `${this.#dir}/${MASQUERADE_REMOVAL}`
    try {
      this.#files.create(path, '')
    } catch (error) {
      // A disk without room for this file has none for the record of an attachment that would look for it.
      if (!isErrno(error, 'EEXIST', 'ENOENT', 'ENOSPC', 'EDQUOT', 'EROFS')) throw error
    }
    try {
      work()
    } finally {
      this.#files.remove(path)
    }
  }

  isMasqueradeRemovalAnnounced(): boolean {
    return this.#files.read(`${this.#dir}/${MASQUERADE_REMOVAL}`) !== undefined
  }

  #lockKey(key: string, timeoutMs: number): FileLock {
    return lockUnlessUnwritable(() => this.#lock(key.slice(0, KEY_DIGITS), timeoutMs))
  }

  #lock(name: string, timeoutMs: number, kind?: LockKind): FileLock {
    return ensuringDirectory(this.#files, this.#dir, () =>
      this.#files.lock(`${this.#dir}/${name}`, timeoutMs, kind),
    )
  }
}

const MASQUERADE_REMOVAL = 'masquerade-removal'

function releasing<T>(lock: FileLock, work: () => T): T {
  try {
    return work()
  } finally {
    lock.release()
  }
}
