import { type Address, formatAddress } from '../src/core/address.ts'
import type { Files } from '../src/core/files.ts'
import type { Attachment, Attachments } from './attachments.ts'
import { attachmentsByLease, type Evidence, holderOf, readAdopted, writeAdopted } from './lease_owner.ts'
import { leasedAddresses, leasePath, leaseText, meaningOf, ownershipOf } from './leases.ts'
import { asHint } from './order.ts'

/** A pool's place on the disk, and what it may know of attachments. */
export type PoolPlace = {
  /** Absolute. */
  readonly dataDir: string
  readonly network: string
  /** See `Kernel.bootId`. */
  readonly bootId: string
  readonly attachments: Attachments
}

/** An address that is held after the leases were reconciled. */
export type Held = { readonly address: Address; readonly by: 'attachment' | 'unrecorded' }

export type ReconcileOptions = {
  /** Reports whether leases that were adopted in another boot are void. Not if host-local has been at work since. */
  readonly trustAdopted: boolean
  /** Whether this boot has not reconciled before: then a record that lost its content is of another boot. */
  readonly isFirst: boolean
  /** Whether to free the leases of dead attachments of this boot too, which costs questions: only when the pool is full. */
  readonly reclaimDead: boolean
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
 * Reads every lease once, under the pool's lock. Frees those that can't belong to a live pod: of attachments of another
 * boot, of dead ones, empty files, and leases without a record that were adopted in another boot. Adopts the other leases
 * without a record: writes them down with this boot, so that they are void after it. Makes leases again that were deleted
 * while their pods run.
 */
export function reconcile(files: Files, place: PoolPlace, options: ReconcileOptions): Held[] {
  const dir = leaseDirOf(place)
  const written = place.attachments.readAll()
  const left = written.attachments.filter(
    (attachment) => !reclaimIfGone(files, place, attachment, options.reclaimDead),
  )
  for (const attachment of left) restoreLeasesOf(files, place, attachment)
  const adopted = readAdopted(files, stateDirOf(place))
  const evidence: Evidence = {
    bootId: place.bootId,
    attachments: attachmentsByLease(left),
    isLost: options.isFirst ? written.isLost : () => false,
    adopted: options.trustAdopted ? adopted : undefined,
  }
  const held: Held[] = []
  const unrecorded: Record<string, string> = {}
  for (const address of leasedAddresses(files, dir)) {
    const text = files.read(leasePath(dir, address))
    const holder = holderOf(address, text, evidence)
    if (holder.by === 'nobody' || (holder.by === 'formerBoot' && !holder.attachment)) {
      files.remove(leasePath(dir, address))
      continue
    }
    // An attachment of another boot that is still there has its lock held: whoever holds it frees its addresses.
    held.push({ address, by: holder.by === 'unrecorded' ? 'unrecorded' : 'attachment' })
    if (holder.by === 'unrecorded') unrecorded[formatAddress(address)] = text?.trim() ?? ''
  }
  // After their leases: what is lost is what shows that those are void.
  if (options.isFirst) written.removeLost()
  if (adopted || Object.keys(unrecorded).length > 0) {
    asHint(() => writeAdopted(files, stateDirOf(place), { bootId: place.bootId, leases: unrecorded }))
  }
  return held
}

/** Makes the leases again that the attachments of this boot should have. Reads what is written of each attachment. */
export function restoreLeases(files: Files, place: PoolPlace): void {
  for (const attachment of place.attachments.readAll().attachments) {
    if (attachment.bootId === place.bootId) restoreLeasesOf(files, place, attachment)
  }
}

/**
 * Makes the leases again that a complete attachment should have (rancher#21348: the store was deleted, and two pods got
 * one address). Not while somebody works on it, whose lease may come or go right now.
 */
function restoreLeasesOf(files: Files, place: PoolPlace, attachment: Attachment): void {
  if (missingLeases(files, place, attachment).length === 0) return
  place.attachments.whenIdle(attachment, (now) => {
    if (!now.complete) return
    for (const path of missingLeases(files, place, now)) {
      files.remove(path)
      files.create(path, leaseText(now))
    }
  })
}

function missingLeases(files: Files, place: PoolPlace, attachment: Attachment): string[] {
  if (attachment.leases?.dataDir !== place.dataDir) return []
  return leasePaths(place, attachment).filter((path) => meaningOf(files.read(path)) === '')
}

/**
 * Frees the leases of an attachment and removes what is written of it, if it is of another boot, or is dead and dead ones
 * are asked for. Returns false if it may live, or if another process works on it.
 */
export function reclaimIfGone(
  files: Files,
  place: PoolPlace,
  attachment: Attachment,
  reclaimDead: boolean,
): boolean {
  if (attachment.leases?.dataDir !== place.dataDir || !isGone(place, attachment, reclaimDead)) return false
  const isReclaimed = place.attachments.whenIdle(attachment, (now) => {
    if (!isGone(place, now, reclaimDead)) return false
    place.attachments.reclaim(now, () => {
      for (const path of ownLeases(files, place, now)) files.remove(path)
    })
    return true
  })
  return isReclaimed === true
}

function isGone({ bootId, attachments }: PoolPlace, attachment: Attachment, reclaimDead: boolean): boolean {
  return attachment.bootId !== bootId || (reclaimDead && attachments.isDead(attachment))
}

function ownLeases(files: Files, place: PoolPlace, attachment: Attachment): string[] {
  return leasePaths(place, attachment).filter((path) => ownershipOf(files.read(path), attachment) === 'ours')
}

function leasePaths(place: PoolPlace, { leases }: Attachment): string[] {
  return (leases?.addresses ?? []).map((name) => `${leaseDirOf(place)}/${name}`)
}
