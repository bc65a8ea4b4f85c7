import { type Address, formatAddress } from '../src/core/address.ts'
import type { Files } from '../src/core/files.ts'
import { isObject, parseJson } from '../src/core/json.ts'
import type { Attachment } from './attachments.ts'
import { leaseText, meaningOf, type Owner, ownerOf } from './leases.ts'

/**
 * Who holds an address.
 * - nobody: there is no lease file, or an empty one.
 * - attachment: an attachment of this boot, by what is written of it.
 * - formerBoot: an attachment of another boot; its namespace went with that boot.
 * - unrecorded: a lease that no attachment is known for: made by host-local, or the record is lost. May belong to a live pod.
 */
export type Holder =
  | { readonly by: 'nobody' | 'unrecorded' }
  | { readonly by: 'attachment'; readonly attachment: Attachment }
  | { readonly by: 'formerBoot'; readonly attachment?: Attachment }

/** Leases without a record, and the boot in which they were seen: after that boot they are void. */
export type Adopted = { readonly bootId: string; readonly leases: Readonly<Record<string, string>> }

/** What `holderOf` judges by. */
export type Evidence = {
  readonly bootId: string
  readonly attachments: ReadonlyMap<string, Attachment>
  /** Whether the record of this owner lost its content by a power failure: then it is of another boot. */
  isLost(owner: Owner): boolean
  /** Absent when nothing was adopted, or when what was adopted can't be relied on. */
  readonly adopted: Adopted | undefined
}

/** Returns the attachments by the text of the lease that each of them would have. */
export function attachmentsByLease(attachments: readonly Attachment[]): Map<string, Attachment> {
  return new Map(attachments.map((attachment) => [leaseText(attachment), attachment]))
}

/** Decides who holds an address whose lease file has this text. An attachment holds only addresses that its record names. */
export function holderOf(address: Address, text: string | undefined, evidence: Evidence): Holder {
  const trimmed = meaningOf(text)
  if (trimmed === '') return { by: 'nobody' }
  const name = formatAddress(address)
  const attachment = evidence.attachments.get(trimmed)
  if (attachment?.leases?.addresses.includes(name)) {
    return { by: attachment.bootId === evidence.bootId ? 'attachment' : 'formerBoot', attachment }
  }
  const { adopted } = evidence
  const isVoid = adopted && adopted.bootId !== evidence.bootId && adopted.leases[name] === trimmed
  return isVoid || isOfLost(address, trimmed, evidence) ? { by: 'formerBoot' } : { by: 'unrecorded' }
}

function isOfLost(address: Address, text: string, evidence: Evidence): boolean {
  const { containerId, ifName } = ownerOf(address, text) ?? {}
  return containerId !== undefined && ifName !== undefined && evidence.isLost({ containerId, ifName })
}

/** Returns what was adopted so far; undefined if there is nothing, or nothing sound. */
export function readAdopted(files: Files, dir: string): Adopted | undefined {
  const value = parseJson(files.read(adoptedPath(dir)) ?? '')
  return isAdopted(value) ? value : undefined
}

export function writeAdopted(files: Files, dir: string, adopted: Adopted): void {
  files.ensureDirectory(dir)
  files.replace(adoptedPath(dir), JSON.stringify(adopted))
}

function adoptedPath(dir: string): string {
  return `${dir}/adopted`
}

function isAdopted(value: unknown): value is Adopted {
  if (!isObject(value)) return false
  const { bootId, leases } = value
  return (
    typeof bootId === 'string' &&
    isObject(leases) &&
    Object.values(leases).every((text) => typeof text === 'string')
  )
}
