import type { AttachmentRecord } from '../src/attachment/record.ts'
import { type Address, formatAddress } from '../src/core/address.ts'
import type { Files } from '../src/core/files.ts'
import { deriveNames } from '../src/core/names.ts'
import { leaseText, meaningOf, ownerOf } from './leases.ts'

/**
 * By what an address is held.
 * - nobody: no file, or an empty one.
 * - attachment: an attachment of this boot, by its record.
 * - formerBoot: an attachment of another boot; its namespace went with that boot.
 * - unrecorded: a lease that no record knows: made by host-local, or its record is lost. May belong to a live pod.
 */
export type Holder =
  | { readonly by: 'nobody' | 'unrecorded' }
  | { readonly by: 'attachment'; readonly record: AttachmentRecord }
  | { readonly by: 'formerBoot'; readonly record?: AttachmentRecord }

/** Leases without a record, and the boot in which we have seen them: after it they are void. */
export type Adopted = { readonly bootId: string; readonly leases: Readonly<Record<string, string>> }

/** What the judgement rests on. */
export type Evidence = {
  readonly bootId: string
  readonly network: string
  readonly records: ReadonlyMap<string, AttachmentRecord>
  /** The keys of records whose content a power failure took: their attachments are of another boot. */
  readonly blank: ReadonlySet<string>
  /** Absent when nothing was adopted, or when what was adopted can't be relied on. */
  readonly adopted: Adopted | undefined
}

/** The records by the text of the lease that each of them would have. */
export function recordsByLease(records: readonly AttachmentRecord[]): Map<string, AttachmentRecord> {
  return new Map(records.map((record) => [leaseText(record), record]))
}

/** Who holds an address whose lease file has this text. A record speaks only for the addresses that it names. */
export function holderOf(address: Address, text: string | undefined, evidence: Evidence): Holder {
  const trimmed = meaningOf(text)
  if (trimmed === '') return { by: 'nobody' }
  const name = formatAddress(address)
  const record = evidence.records.get(trimmed)
  if (record?.leases?.addresses.includes(name)) {
    return { by: record.bootId === evidence.bootId ? 'attachment' : 'formerBoot', record }
  }
  const { adopted } = evidence
  const isVoid = adopted && adopted.bootId !== evidence.bootId && adopted.leases[name] === trimmed
  return isVoid || isOfBlank(address, trimmed, evidence) ? { by: 'formerBoot' } : { by: 'unrecorded' }
}

function isOfBlank(address: Address, text: string, { network, blank }: Evidence): boolean {
  if (blank.size === 0) return false
  const { containerId, ifName } = ownerOf(address, text) ?? {}
  if (containerId === undefined || ifName === undefined) return false
  return blank.has(deriveNames({ network, containerId, ifName }).key)
}

/** What was adopted so far, or undefined if there is nothing or nothing sound. */
export function readAdopted(files: Files, dir: string): Adopted | undefined {
  try {
    const value: unknown = JSON.parse(files.read(adoptedPath(dir)) ?? 'null')
    return isAdopted(value) ? value : undefined
  } catch (error) {
    if (error instanceof SyntaxError) return undefined
    throw error
  }
}

export function writeAdopted(files: Files, dir: string, adopted: Adopted): void {
  files.ensureDirectory(dir)
  files.replace(adoptedPath(dir), JSON.stringify(adopted))
}

function adoptedPath(dir: string): string {
  return `${dir}/adopted`
}

function isAdopted(value: unknown): value is Adopted {
  if (typeof value !== 'object' || value === null || !('bootId' in value) || !('leases' in value))
    return false
  const { bootId, leases } = value
  if (typeof bootId !== 'string' || typeof leases !== 'object' || leases === null) return false
  return Object.values(leases).every((text) => typeof text === 'string')
}
