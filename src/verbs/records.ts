import { planRanges } from '../../ipam/config.ts'
import type { AttachmentRecord } from '../../ipam/record.ts'
import { isDamaged, openRecords, type Records } from '../../ipam/records.ts'
import { type Cidr, formatAddress, networkOf, parseCidr } from '../core/address.ts'
import { isErrno } from '../core/errors.ts'
import { type AttachmentId, subnetChainName } from '../core/names.ts'
import { removeUnusedMacFrame } from '../pod/mac_check.ts'
import { removeUnusedFrame } from '../pod/masquerade.ts'
import { attachmentIdOf, type Call } from './call.ts'
import { LOCK_TIMEOUT_MS, type Ports } from './ports.ts'

/** The attachment records of this node. */
export function recordsOf(ports: Ports): Records {
  return openRecords(ports.files, ports.paths.recordsDir)
}

/** Runs `work` while nobody else works on this attachment. Throws a Fault (code 11) when it can't be had in time. */
export function withAttachmentLock<T>(call: Call, ports: Ports, work: () => T): T {
  const lock = recordsOf(ports).lock(attachmentIdOf(call), LOCK_TIMEOUT_MS)
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

/** Removes the record; with the last one of a network goes what its pods had in common in the kernel. */
export function forgetRecord(ports: Ports, record: AttachmentRecord): void {
  removeDelegatedFrames(ports, record)
  if (recordsOf(ports).remove(record)) removeUnusedFrames(ports, record)
}

/**
 * Which subnets another IPAM plugin gives stands nowhere but in records: what these have in common in the kernel must go
 * before the last record that knows it does, or is written anew.
 */
export function removeDelegatedFrames(ports: Ports, record: AttachmentRecord): void {
  const isOnly = record.delegate !== undefined && recordsOf(ports).list(record.network).length === 1
  if (isOnly) removeUnusedFrames(ports, record)
}

/**
 * Writes down what is left of a record once a part of it is undone; nothing left: as `forgetRecord`. What the network's
 * pods had in common goes if this was the last that used it; the kernel knows. On a disk without room the record goes:
 * leases need none, as each says whose it is, and what else is left `giveUp` takes away.
 */
export function keepOnly(
  ports: Ports,
  record: AttachmentRecord,
  rest: AttachmentRecord | undefined,
  giveUp: () => void = () => {},
): void {
  if (!rest) {
    forgetRecord(ports, record)
    return
  }
  try {
    recordsOf(ports).write(rest)
  } catch (error) {
    if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
    giveUp()
    recordsOf(ports).remove(record)
  }
  removeUnusedFrames(ports, record)
}

function removeUnusedFrames(ports: Ports, record: AttachmentRecord): void {
  if (record.masquerade) removeUnusedFrame(ports.kernel, chainsOf(record))
  if (record.macspoofchk) removeUnusedMacFrame(ports.kernel)
}

/**
 * The same where there is no sound record: a DEL that was killed had removed it, perhaps, but not yet what the
 * network's pods had in common. The subnets are those of the config as it is now.
 */
export function forgetUnrecorded(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  if (!recordsOf(ports).remove(id)) return
  removeUnusedFrame(ports.kernel, configuredChains(call))
  removeUnusedMacFrame(ports.kernel)
}

/** The masqueraded addresses that these records name, as text, and which record names each. */
export function claimsOf(
  records: readonly AttachmentRecord[],
): Map<string, { readonly record: AttachmentRecord; readonly cidr: Cidr }> {
  const claims = records.flatMap((record) =>
    (record.masquerade ?? []).map((text) => ({ record, cidr: parseCidr(text) })),
  )
  return new Map(claims.map((claim) => [formatAddress(claim.cidr.address), claim]))
}

/** The chains that the masquerading of an attachment goes by. */
export function chainsOf({ network, masquerade = [] }: AttachmentRecord): string[] {
  return masquerade.map((text) => subnetChainName(network, networkOf(parseCidr(text))))
}

/** The chains of the network as its config is now. */
export function configuredChains(call: Call): string[] {
  return subnetsOf(call).map((subnet) => subnetChainName(call.config.name, subnet))
}

function subnetsOf({ config }: Call): Cidr[] {
  try {
    const sets = planRanges(config.ipam ?? {}, config.runtimeConfig?.ipRanges)
    return sets.flatMap(({ ranges }) => ranges.map(({ subnet }) => subnet))
  } catch {
    // A DEL must not fail for a config that has become invalid; what is left is empty chains.
    return []
  }
}
