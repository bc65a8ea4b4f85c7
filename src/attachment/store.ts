import { Code, Fault, isErrno } from '../core/errors.ts'
import { ensuringDirectory, type Files } from '../core/files.ts'
import { type AttachmentId, deriveNames, isCniName } from '../core/names.ts'
import { isBlank, textBytes } from '../core/text.ts'
import type { AttachmentRecord } from './record.ts'
import {
  COMPLETE_OFFSET,
  COMPLETE_TEXT,
  formatRecord,
  isNewerRecord,
  isRecord,
  parseRecord,
} from './record_format.ts'

/** Where a record is; `key` as in `deriveNames`. Of a damaged record nothing else is known. */
export type RecordPlace = { readonly network: string; readonly key: string }

/**
 * A file of the store. A damaged one was written by something else; a blank one has lost its content by a power failure, as
 * a record is made whole otherwise; a newer one is of a later release, and stays as it is.
 */
export type StoredRecord =
  | { readonly key: string; readonly record: AttachmentRecord }
  | { readonly key: string; readonly damage: 'blank' | 'newer' | 'other' }

/** The attachment records of a node. Every method may throw a Fault with an errno when the disk refuses. */
export interface AttachmentStore {
  /**
   * Returns the record of an attachment; undefined if there is none, or none that can be trusted. Throws a Fault for one of a
   * later release.
   */
  read(id: AttachmentId): AttachmentRecord | undefined
  /** Returns the file at a place, sound or not; undefined if there is none. */
  readFile(place: RecordPlace): StoredRecord | undefined
  /** Returns the files of a network, sound or not, each read once, in no order. */
  readFiles(network: string): StoredRecord[]
  /** Returns the sound records of a network, or of all networks, in no order. */
  list(network?: string): AttachmentRecord[]
  /** Returns whether a later release has attachments on this node, which may share what those of this one have. */
  hasNewer(): boolean
  /** Returns the networks that have a record, in no order. */
  networks(): string[]
  /** Creates or replaces a record, whole or not at all. */
  write(record: AttachmentRecord): void
  /** Marks a record, which must have been written, as complete. Changes no other field. */
  complete(id: AttachmentId): void
  /** Removes a record. Returns whether the network has no other one, also when this one was gone already. */
  remove(which: AttachmentId | RecordPlace): boolean
  /** Removes what is left of a network that has no record. Returns false if it has one. */
  removeUnused(network: string): boolean
  /** Throws a Fault if no record could be written now. Changes nothing. */
  probe(): void
}

/** Returns whether each of these attachments of a network has a record that this release can read. */
export function areRecorded(
  store: Pick<AttachmentStore, 'list'>,
  network: string,
  ids: readonly AttachmentId[],
): boolean {
  const recorded = new Set(store.list(network).map((record) => deriveNames(record).key))
  return ids.every((one) => recorded.has(deriveNames(one).key))
}

/** Returns the files of all networks, sound or not, each read once. */
export function allFiles(store: Pick<AttachmentStore, 'networks' | 'readFiles'>): StoredRecord[] {
  return store.networks().flatMap((network) => store.readFiles(network))
}

/** Opens the records below `dir`. Touches nothing yet. */
export function openStore(files: Files, dir: string): AttachmentStore {
  return new FileStore(files, dir)
}

export function soundRecords(stored: readonly StoredRecord[]): AttachmentRecord[] {
  return stored.flatMap((one) => ('record' in one ? [one.record] : []))
}

/** Returns what stands in a file, if it can be trusted. Throws a Fault if a later release has written it. */
export function recordIn(stored: StoredRecord | undefined): AttachmentRecord | undefined {
  if (!stored || 'record' in stored) return stored?.record
  if (!isNewer(stored)) return undefined
  throw new Fault(`record ${stored.key} was written by a later release of Bowline`, {
    code: Code.newerState,
    hint: 'Install that release again, and delete the pods that it has made before you go back.',
  })
}

/** Returns whether nobody can read a file, so that nothing of it is lost with it. */
export function isUnreadable(stored: StoredRecord): boolean {
  return 'damage' in stored && !isNewer(stored)
}

/** Returns whether a later release has written a file. */
export function isNewer(stored: StoredRecord): boolean {
  return 'damage' in stored && stored.damage === 'newer'
}

export function isBlankRecord(stored: StoredRecord | undefined): boolean {
  return stored !== undefined && 'damage' in stored && stored.damage === 'blank'
}

/** One file a record: `<dir>/<network>/<key>`. */
class FileStore implements AttachmentStore {
  readonly #files: Files
  readonly #dir: string

  constructor(files: Files, dir: string) {
    this.#files = files
    this.#dir = dir
  }

  read(id: AttachmentId): AttachmentRecord | undefined {
    return recordIn(this.readFile(placeOf(id)))
  }

  readFile({ network, key }: RecordPlace): StoredRecord | undefined {
    const text = this.#files.read(`${this.#dir}/${network}/${key}`)
    if (text === undefined) return undefined
    const record = parseRecord(text)
    // A record counts only in its own place: the one that its own fields lead to.
    if (record && record.network === network && deriveNames(record).key === key) return { key, record }
    if (isNewerRecord(text)) return { key, damage: 'newer' }
    return { key, damage: isBlank(text) ? 'blank' : 'other' }
  }

  readFiles(network: string): StoredRecord[] {
    return this.#keysOf(network).flatMap((key) => this.readFile({ network, key }) ?? [])
  }

  list(network?: string): AttachmentRecord[] {
    const networks = network === undefined ? this.networks() : [network]
    return networks.flatMap((one) => soundRecords(this.readFiles(one)))
  }

  hasNewer(): boolean {
    return allFiles(this).some(isNewer)
  }

  networks(): string[] {
    return this.#files.list(this.#dir).filter(isCniName)
  }

  write(record: AttachmentRecord): void {
    const text = formatRecord(record)
    if (!isRecord(record)) throw new Fault(`this record would not be read again: ${text}`)
    const path = this.#pathOf(record)
    ensuringDirectory(this.#files, `${this.#dir}/${record.network}`, () => {
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

  /** The kernel answers "was it the last?" without a count: a directory goes only when it is empty. */
  remove(which: AttachmentId | RecordPlace): boolean {
    const dir = `${this.#dir}/${which.network}`
    const removed = this.#files.remove(this.#pathOf(which))
    if (this.#files.removeDirectory(dir)) return true
    // Removed before, perhaps by a DEL that was killed and could not use the answer: then it is given again.
    return !removed && this.#files.list(dir).length === 0
  }

  removeUnused(network: string): boolean {
    const dir = `${this.#dir}/${network}`
    return this.#files.removeDirectory(dir) || this.#files.list(dir).length === 0
  }

  probe(): void {
    this.#files.probe(this.#dir)
  }

  /** Returns nothing for what is no directory: a file that somebody left beside those of the networks. */
  #keysOf(network: string): string[] {
    try {
      return this.#files.list(`${this.#dir}/${network}`).filter((name) => KEY.test(name))
    } catch (error) {
      if (!isErrno(error, 'ENOTDIR')) throw error
      return []
    }
  }

  #pathOf(which: AttachmentId | RecordPlace): string {
    const { network, key } = 'key' in which ? which : placeOf(which)
    if (!KEY.test(key)) throw new Fault(`${JSON.stringify(key)} is not the key of a record`)
    return `${this.#dir}/${network}/${key}`
  }
}

const KEY = /^[0-9a-f]{32}$/

function placeOf(id: AttachmentId): RecordPlace {
  return { network: id.network, key: deriveNames(id).key }
}
