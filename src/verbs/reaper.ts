import type { AttachmentRecord } from '../../ipam/record.ts'
import { isDamaged } from '../../ipam/records.ts'
import type { Reaper } from '../../ipam/survey.ts'
import { formatAddress } from '../core/address.ts'
import { isErrno } from '../core/errors.ts'
import type { FileLock } from '../core/files.ts'
import { type AttachmentId, networkChainPrefix } from '../core/names.ts'
import type { Masqueraded, Yield } from '../pod/masquerade.ts'
import type { Others } from '../pod/others.ts'
import { findHostEnd, hostLinksOf } from '../pod/own_interface.ts'
import { LOCK_TIMEOUT_MS, type Ports } from './ports.ts'
import { claimsOf, recordsOf } from './records.ts'
import { removeFromKernel, throwCollected } from './unmake.ts'

/** Judges attachments whose DEL has never come, for a pool that is full. */
export function reaperOf(ports: Ports): Reaper {
  const hostLinks = hostLinksOf(ports.kernel)
  return {
    isDead: (record) => isDead(ports, record, hostLinks),
    clear: (record) =>
      throwCollected(removeFromKernel(ports, record, { hostLinks }).faults, record.containerId),
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
    yields: yieldOf(ports),
  }
}

/**
 * Judges what is masqueraded for another network: whether a record of that network still claims the address for a pod
 * that may live. What no record claims is left over, since a record is written before and removed after.
 */
function yieldOf(ports: Ports): Yield {
  const records = recordsOf(ports)
  return (element) => {
    const network = records.networks().find((name) => element.chain.startsWith(networkChainPrefix(name)))
    const claims =
      network === undefined ? [] : records.list(network).filter((one) => isOf(ports, one, element))
    const [claim] = claims
    if (!claim) return { release() {} }
    return claims.length === 1 ? lockIfDead(ports, claim) : undefined
  }
}

/**
 * Whether nobody will miss it: the namespace of its pod does not exist any more where it was, and neither does the
 * host's end of its link, by whatever name, which the kernel removes with the namespace. Whoever has no link (IPAM alone) is judged by
 * the namespace. An attachment of which the namespace was never known is never dead, nor one without a link whose path
 * went through a process: that may end while others of the pod keep the namespace (nerdctl and dockershim name it so).
 */
function isDead(ports: Ports, record: AttachmentRecord, hostLinks = hostLinksOf(ports.kernel)): boolean {
  const { netns, hostIfName, chained } = record
  if (!netns || isThere(ports, netns)) return false
  if (hostIfName === undefined) return !/^\/+proc\//.test(netns.path)
  const host = ports.kernel.host()
  return (
    (chained ? host.link({ index: chained.ifIndex }) : findHostEnd(host, record, hostLinks)) === undefined
  )
}

function isThere(ports: Ports, { path, device, inode }: NonNullable<AttachmentRecord['netns']>): boolean {
  try {
    const netns = ports.kernel.openNetns(path)
    netns.close()
    return netns.identity.device === device && netns.identity.inode === inode
  } catch (error) {
    // Anything else, such as a want of rights, says nothing about it.
    return !isErrno(error, 'ENOENT', 'EINVAL')
  }
}

function isOf(ports: Ports, record: AttachmentRecord, { address }: Masqueraded): boolean {
  return record.bootId === ports.kernel.bootId() && claimsOf([record]).has(formatAddress(address))
}

function lockIfDead(ports: Ports, claim: AttachmentRecord): FileLock | undefined {
  const records = recordsOf(ports)
  const lock = records.tryLock(claim)
  const now = lock && records.read(claim)
  if (lock && (!now || (!isDamaged(now) && isDead(ports, now)))) return lock
  lock?.release()
  return undefined
}
