import { planRanges } from '../../ipam/config.ts'
import type { AttachmentRecord } from '../../ipam/record.ts'
import { isDamaged, openRecords, type Records } from '../../ipam/records.ts'
import { type Cidr, parseCidr } from '../core/address.ts'
import type { AttachmentId } from '../core/names.ts'
import { removeUnusedMacFrame } from '../pod/mac_check.ts'
import { removeUnusedFrame } from '../pod/masquerade.ts'
import type { Others } from '../pod/others.ts'
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

/** What an attachment must know of the others, from their records. */
export function othersOf(ports: Ports, { network, containerId, ifName }: AttachmentId): Others {
  const records = recordsOf(ports)
  const isThis = (one: AttachmentId): boolean =>
    one.network === network && one.containerId === containerId && one.ifName === ifName
  return {
    lockBridge: (name, kind) => records.lockBridge(name, LOCK_TIMEOUT_MS, kind),
    // A record without a mode is of addresses only, for a plugin that makes its own interface.
    isOnlyPod: () =>
      records.networks().every((one) => records.list(one).every((record) => isThis(record) || !record.mode)),
  }
}

/** The record of an attachment. Undefined if there is none, or none that can be trusted. */
export function soundRecord(ports: Ports, id: AttachmentId): AttachmentRecord | undefined {
  const reading = recordsOf(ports).read(id)
  return isDamaged(reading) ? undefined : reading
}

/** Removes the record; with the last one of a network goes what its pods had in common in the kernel. */
export function forgetRecord(ports: Ports, record: AttachmentRecord): void {
  const last = recordsOf(ports).remove(record)
  if (last && record.masquerade)
    removeUnusedFrame(ports.kernel, record.network, record.masquerade.map(parseCidr))
  if (last && record.macspoofchk) removeUnusedMacFrame(ports.kernel)
}

/**
 * The same where there is no sound record: a DEL that was killed had removed it, perhaps, but not yet what the
 * network's pods had in common. The subnets are those of the config as it is now.
 */
export function forgetUnrecorded(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  if (!recordsOf(ports).remove(id)) return
  removeUnusedFrame(ports.kernel, id.network, subnetsOf(call))
  removeUnusedMacFrame(ports.kernel)
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
