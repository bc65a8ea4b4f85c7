import type { AttachmentRecord } from '../src/attachment/record.ts'
import { blankKeys, isBlankRecord, isDamaged, type Records, soundOnes } from '../src/attachment/store.ts'
import type { Address } from '../src/core/address.ts'
import { formatAddress } from '../src/core/address.ts'
import type { Files } from '../src/core/files.ts'
import { type Evidence, holderOf, readAdopted, recordsByLease, writeAdopted } from './lease_owner.ts'
import { leasedAddresses, leasePath, leaseText, ownershipOf } from './leases.ts'
import { asHint } from './order.ts'

/** Knows of attachments that nobody will miss. Given by the caller, for the pool knows nothing of namespaces. */
export interface Reaper {
  /** Reports whether the pod is gone for certain, though no DEL came: its network namespace does not exist any more. */
  isDead(record: AttachmentRecord): boolean
  /** Removes what a dead attachment left in the kernel. The pool then removes its leases and its record. */
  clear(record: AttachmentRecord): void
}

/** A pool's place on the disk, and what the pool may know about attachments. */
export type PoolPlace = {
  /** Absolute. */
  readonly dataDir: string
  readonly network: string
  /** See `Kernel.bootId`. */
  readonly bootId: string
  readonly records: Records
  readonly reaper?: Reaper
}

/** What is held after a survey. */
export type Held = { readonly address: Address; readonly by: 'attachment' | 'unrecorded' }

export type ReconcileOptions = {
  /** Reports whether leases that were adopted in another boot are void. Not if host-local has been at work since. */
  readonly trustAdopted: boolean
  /** Reports whether nothing shows that this boot has seen a survey: then a record without content is of another boot. */
  readonly isFirst: boolean
  /** Reports whether to ask the reaper as well: only when the pool is full. */
  readonly reap: boolean
}

/** Where the leases are. */
export function leaseDirOf({ dataDir, network }: Pick<PoolPlace, 'dataDir' | 'network'>): string {
  return `${dataDir}/${network}`
}

/** Where the order is kept. No network can have a name that begins with a dot. */
export function stateDirOf({ dataDir, network }: Pick<PoolPlace, 'dataDir' | 'network'>): string {
  return `${dataDir}/.bowline/${network}`
}

/**
 * Looks at every lease once, under the pool's lock. Frees those that can't belong to a live pod: of attachments of
 * another boot, of dead ones, empty files, and leases without a record that we saw in another boot already. Leases
 * without a record that are new to us are written down with this boot, so that they are void after it. Leases that were
 * deleted while their pods run are made again.
 */
export function reconcile(files: Files, place: PoolPlace, options: ReconcileOptions): Held[] {
  const dir = leaseDirOf(place)
  const readings = place.records.readAll(place.network)
  const left = soundOnes(readings).filter((record) => !reclaimIfGone(files, place, record, options.reap))
  for (const record of left) restoreLeases(files, place, record)
  const adopted = readAdopted(files, stateDirOf(place))
  const blank = options.isFirst ? blankKeys(readings) : []
  const evidence: Evidence = {
    bootId: place.bootId,
    network: place.network,
    blank: new Set(blank),
    records: recordsByLease(left),
    adopted: options.trustAdopted ? adopted : undefined,
  }
  const held: Held[] = []
  const unrecorded: Record<string, string> = {}
  for (const address of leasedAddresses(files, dir)) {
    const text = files.read(leasePath(dir, address))
    const holder = holderOf(address, text, evidence)
    if (holder.by === 'nobody' || (holder.by === 'formerBoot' && !holder.record)) {
      files.remove(leasePath(dir, address))
      continue
    }
    // An attachment of another boot that somebody is working on right now is left to that somebody.
    held.push({ address, by: holder.by === 'unrecorded' ? 'unrecorded' : 'attachment' })
    if (holder.by === 'unrecorded') unrecorded[formatAddress(address)] = text?.trim() ?? ''
  }
  for (const key of blank) removeBlank(place, key)
  if (adopted || Object.keys(unrecorded).length > 0) {
    asHint(() => writeAdopted(files, stateDirOf(place), { bootId: place.bootId, leases: unrecorded }))
  }
  return held
}

/** After its leases: until then it is what tells that they are void. */
function removeBlank({ records, network }: PoolPlace, key: string): void {
  const lock = records.tryLockKey(key)
  if (lock && isBlankRecord(records.readKey(network, key))) records.removeDamaged(network, key)
  lock?.release()
}

/**
 * Makes the leases again that a complete attachment should have (rancher#21348: the store was deleted, and two pods got
 * one address). Not while somebody works on it, whose lease may come or go right now.
 */
function restoreLeases(files: Files, place: PoolPlace, record: AttachmentRecord): void {
  if (missingLeases(files, place, record).length === 0) return
  const lock = place.records.tryLock(record)
  if (!lock) return
  try {
    const now = place.records.read(record)
    if (!now || isDamaged(now) || !now.complete) return
    for (const path of missingLeases(files, place, now)) files.create(path, leaseText(now))
  } finally {
    lock.release()
  }
}

function missingLeases(files: Files, place: PoolPlace, { leases }: AttachmentRecord): string[] {
  if (leases?.dataDir !== place.dataDir) return []
  const paths = leases.addresses.map((name) => `${leaseDirOf(place)}/${name}`)
  return paths.filter((path) => files.read(path) === undefined)
}

/**
 * Frees the leases of an attachment and forgets its record, if it is of another boot, or dead and `reap` is set.
 * False if it may live, or if another process works on it.
 */
export function reclaimIfGone(
  files: Files,
  place: PoolPlace,
  record: AttachmentRecord,
  reap: boolean,
): boolean {
  if (record.leases?.dataDir !== place.dataDir || !isGone(place, record, reap)) return false
  const lock = place.records.tryLock(record)
  if (!lock) return false
  try {
    const now = place.records.read(record)
    if (!now || isDamaged(now) || !isGone(place, now, reap)) return false
    if (now.bootId === place.bootId) place.reaper?.clear(now)
    for (const path of ownLeases(files, place, now)) files.remove(path)
    place.records.remove(now)
    return true
  } finally {
    lock.release()
  }
}

function isGone(place: PoolPlace, record: AttachmentRecord, reap: boolean): boolean {
  return record.bootId !== place.bootId || (reap && place.reaper?.isDead(record) === true)
}

function ownLeases(files: Files, place: PoolPlace, record: AttachmentRecord): string[] {
  const paths = (record.leases?.addresses ?? []).map((name) => `${leaseDirOf(place)}/${name}`)
  return paths.filter((path) => ownershipOf(files.read(path), record) === 'ours')
}
