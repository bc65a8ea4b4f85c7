import { Code, Fault, isErrno } from '../core/errors.ts'
import { type FileLock, type Files, type LockKind, lockUnlessUnwritable } from '../core/files.ts'
import { type AttachmentId, deriveNames, isCniName } from '../core/names.ts'
import { isBlank, textBytes } from '../core/text.ts'
import type { AttachmentRecord } from './record.ts'
import { COMPLETE_OFFSET, COMPLETE_TEXT, formatRecord, parseRecord } from './record_format.ts'

/** There is a record file, and it can't be trusted: cut short by a power failure, say, or of a newer version. */
export type DamagedRecord = { readonly damaged: string }

/** What stands under a key (see `deriveNames`). A record is made whole: only a power failure leaves one without content. */
export type RecordReading =
  | { readonly key: string; readonly record: AttachmentRecord }
  | { readonly key: string; readonly damage: 'blank' | 'other' }

/** Held by whoever works on an attachment. Dropped by the kernel when the holder dies. */
export type RecordLock = FileLock

/** The attachment records of a node. Every method may throw a Fault with an errno when the disk refuses. */
export interface Records {
  /**
   * Throws a Fault with code 11 when another process still holds the attachment after `timeoutMs`. On a disk that can't be
   * written it is held by nobody, unless the lock is there: `write` will say what is wrong.
   */
  lock(id: AttachmentId, timeoutMs: number): RecordLock
  /** Undefined at once when another process holds it. */
  tryLock(id: AttachmentId): RecordLock | undefined
  /** The lock of a bridge by its name, with the locks of attachments. Throws as `lock` does. */
  lockBridge(name: string, timeoutMs: number, kind: LockKind): FileLock
  /** The lock of masquerading, held by who changes it. On a disk that can't be written nobody holds it. */
  lockMasquerade(timeoutMs: number): FileLock
  /** Runs `work` between a written sign that masquerading is being removed and the end of that sign. */
  announceRemoval(work: () => void): void
  isRemovalAnnounced(): boolean
  /** Whether that lock was ever taken: else nothing on this node was masqueraded. */
  hasMasqueraded(): boolean
  /** The same for an attachment of which only the key is known, see `deriveNames`. The first few digits will do. */
  tryLockKey(key: string): RecordLock | undefined
  /** Undefined when nothing is written of this attachment. Ask `isDamaged` before any use. */
  read(id: AttachmentId): AttachmentRecord | DamagedRecord | undefined
  /** Makes or replaces the record, whole or not at all. */
  write(record: AttachmentRecord): void
  /** Marks the record, which must have been written, as complete. Changes no other field. */
  complete(record: AttachmentId): void
  /** Removes the record. True if it was the last of its network; true as well if there was none of either. */
  remove(id: AttachmentId): boolean
  /** All sound records of a network, in no order. */
  list(network: string): AttachmentRecord[]
  /** The keys (see `deriveNames`) of the damaged records of a network: who they belonged to is not known. */
  listDamaged(network: string): string[]
  /** All of a network, sound or not, by one look at each, in no order. */
  readAll(network: string): RecordReading[]
  /** The same of one key. Undefined when there is no such record. */
  readKey(network: string, key: string): RecordReading | undefined
  /** Removes a damaged record by its key. True if it was the last of its network. */
  removeDamaged(network: string, key: string): boolean
  /** Takes away what is left of a network without a record. True if it has none. */
  removeUnused(network: string): boolean
  /** The networks that have a record, in no order. */
  networks(): string[]
}

export function isDamaged(reading: AttachmentRecord | DamagedRecord | undefined): reading is DamagedRecord {
  return reading !== undefined && 'damaged' in reading
}

export function soundOnes(readings: readonly RecordReading[]): AttachmentRecord[] {
  return readings.flatMap((one) => ('record' in one ? [one.record] : []))
}

/** The keys of those that have no content. */
export function blankKeys(readings: readonly RecordReading[]): string[] {
  return readings.flatMap((one) => (isBlankRecord(one) ? [one.key] : []))
}

export function isBlankRecord(reading: RecordReading | undefined): boolean {
  return reading !== undefined && 'damage' in reading && reading.damage === 'blank'
}

/** Opens the records below `recordsDir`. Touches nothing yet. */
export function openRecords(files: Files, recordsDir: string): Records {
  return new RecordStore(files, recordsDir)
}

const KEY = /^[0-9a-f]{32}$/
/** A directory may be removed by the DEL of another attachment each time that we have made it; not for ever. */
const MAX_ATTEMPTS = 16

class RecordStore implements Records {
  readonly #files: Files
  readonly #dir: string

  constructor(files: Files, dir: string) {
    this.#files = files
    this.#dir = dir
  }

  lock(id: AttachmentId, timeoutMs: number): RecordLock {
    return this.#lockKey(deriveNames(id).key, timeoutMs)
  }

  tryLock(id: AttachmentId): RecordLock | undefined {
    return this.tryLockKey(deriveNames(id).key)
  }

  tryLockKey(key: string): RecordLock | undefined {
    try {
      return this.#lockKey(key, 0)
    } catch (error) {
      if (error instanceof Fault && error.code === Code.tryLater) return undefined
      throw error
    }
  }

  lockBridge(name: string, timeoutMs: number, kind: LockKind): FileLock {
    return this.#lockFile(`bridge-${name}`, timeoutMs, kind)
  }

  lockMasquerade(timeoutMs: number): FileLock {
    return lockUnlessUnwritable(() => this.#lockFile(MASQUERADE, timeoutMs))
  }

  announceRemoval(work: () => void): void {
    const path = `${this.#dir}/${LOCKS}/${REMOVAL}`
    try {
      this.#files.create(path, '')
    } catch (error) {
      // A disk that has no room for the sign has none for the record of an attachment that would need it.
      if (!isErrno(error, 'EEXIST', 'ENOENT', 'ENOSPC', 'EDQUOT', 'EROFS')) throw error
    }
    try {
      work()
    } finally {
      this.#files.remove(path)
    }
  }

  isRemovalAnnounced(): boolean {
    return this.#files.read(`${this.#dir}/${LOCKS}/${REMOVAL}`) !== undefined
  }

  hasMasqueraded(): boolean {
    return this.#files.read(`${this.#dir}/${LOCKS}/${MASQUERADE}`) !== undefined
  }

  read(id: AttachmentId): AttachmentRecord | DamagedRecord | undefined {
    const path = this.#pathOf(id)
    const text = this.#files.read(path)
    if (text === undefined) return undefined
    return soundRecord(text, id.network, deriveNames(id).key) ?? { damaged: `record ${path} is damaged` }
  }

  write(record: AttachmentRecord): void {
    const text = formatRecord(record)
    if (!parseRecord(text)) throw new Fault(`this record would not be read again: ${text}`)
    const path = this.#pathOf(record)
    this.#withDirectory(`${this.#dir}/${record.network}`, () => {
      try {
        this.#files.create(path, text)
      } catch (error) {
        if (!isErrno(error, 'EEXIST')) throw error
        this.#files.replace(path, text)
      }
    })
  }

  complete(id: AttachmentId): void {
    this.#files.writeAt(this.#pathOf(id), COMPLETE_OFFSET, textBytes(COMPLETE_TEXT))
  }

  remove(id: AttachmentId): boolean {
    return this.#removeKey(id.network, deriveNames(id).key)
  }

  list(network: string): AttachmentRecord[] {
    return soundOnes(this.readAll(network))
  }

  listDamaged(network: string): string[] {
    return this.readAll(network).flatMap((one) => ('damage' in one ? [one.key] : []))
  }

  readAll(network: string): RecordReading[] {
    const keys = this.#namesIn(`${this.#dir}/${network}`).filter((name) => KEY.test(name))
    return keys.flatMap((key) => this.readKey(network, key) ?? [])
  }

  readKey(network: string, key: string): RecordReading | undefined {
    const text = this.#files.read(`${this.#dir}/${network}/${key}`)
    if (text === undefined) return undefined
    const record = soundRecord(text, network, key)
    return record ? { key, record } : { key, damage: isBlank(text) ? 'blank' : 'other' }
  }

  removeDamaged(network: string, key: string): boolean {
    if (!KEY.test(key)) throw new Fault(`${JSON.stringify(key)} is not the key of a record`)
    return this.#removeKey(network, key)
  }

  removeUnused(network: string): boolean {
    const dir = `${this.#dir}/${network}`
    return this.#files.removeDirectory(dir) || this.#files.list(dir).length === 0
  }

  networks(): string[] {
    return this.#files.list(this.#dir).filter(isCniName)
  }

  /** None in what is no directory: a file that somebody left beside those of the networks. */
  #namesIn(dir: string): string[] {
    try {
      return this.#files.list(dir)
    } catch (error) {
      if (!isErrno(error, 'ENOTDIR')) throw error
      return []
    }
  }

  /** The kernel answers "was it the last?" without a count: a directory goes only when it is empty. */
  #removeKey(network: string, key: string): boolean {
    const dir = `${this.#dir}/${network}`
    const removed = this.#files.remove(`${dir}/${key}`)
    if (this.#files.removeDirectory(dir)) return true
    // Removed before, perhaps by a DEL that was killed and could not use the answer: then it is given again.
    return !removed && this.#files.list(dir).length === 0
  }

  /** The directory is there nearly always, so it is only made when its absence has been felt. */
  #withDirectory<T>(dir: string, work: () => T): T {
    for (let attempt = 1; ; attempt++) {
      try {
        return work()
      } catch (error) {
        if (!isErrno(error, 'ENOENT') || attempt === MAX_ATTEMPTS) throw error
        this.#files.ensureDirectory(dir)
      }
    }
  }

  #pathOf(id: AttachmentId): string {
    return `${this.#dir}/${id.network}/${deriveNames(id).key}`
  }

  /**
   * One of 4,096 files, which are never removed, so that nobody can hold the lock of a file that has lost its name.
   * Two attachments that share one by chance wait for each other, no more.
   */
  #lockKey(key: string, timeoutMs: number): RecordLock {
    return lockUnlessUnwritable(() => this.#lockFile(key.slice(0, LOCK_DIGITS), timeoutMs))
  }

  #lockFile(name: string, timeoutMs: number, kind?: LockKind): FileLock {
    const dir = `${this.#dir}/${LOCKS}`
    return this.#withDirectory(dir, () => this.#files.lock(`${dir}/${name}`, timeoutMs, kind))
  }
}

/** No network can have a name that begins with a dot. */
const LOCKS = '.locks'
const LOCK_DIGITS = 3
const MASQUERADE = 'masquerade'
const REMOVAL = 'masquerade-removal'

/** A record counts only in its own place: the one that its own fields lead to. */
function soundRecord(text: string, network: string, key: string): AttachmentRecord | undefined {
  const record = parseRecord(text)
  return record && record.network === network && deriveNames(record).key === key ? record : undefined
}
