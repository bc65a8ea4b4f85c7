import { isErrno } from '../core/errors.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { findHostEnd, type HostLinks, hostLinksOf } from './identity.ts'
import type { AttachmentRecord } from './record.ts'

/** How long the kernel is given to remove the links of a namespace that is gone, which it does in its own time. */
const CLEANUP_MS = 1000
const STEP_MS = 10

/**
 * Returns whether the pod is gone for certain, though no DEL came: its namespace is not where it was, and neither is the
 * host's end of its link, by whatever name, which the kernel removes with the namespace. An attachment without a link
 * (IPAM alone) is judged by the namespace, unless its path went through a process: that may end while other processes of
 * the pod keep the namespace (nerdctl and dockershim name it so). Without a known namespace it is never dead.
 */
export function isDead(
  kernel: Kernel,
  record: AttachmentRecord,
  hostLinks: HostLinks = hostLinksOf(kernel),
): boolean {
  const { netns, hostIfName, chained } = record
  if (!netns || isThere(kernel, netns)) return false
  if (hostIfName === undefined) return !/^\/+proc\//.test(netns.path)
  const host = kernel.host()
  return (
    (chained ? host.link({ index: chained.ifIndex }) : findHostEnd(host, record, hostLinks)) === undefined
  )
}

/** Returns whether a pod may still have the addresses of this record. Waits for links that are about to go. */
export function mayLive(kernel: Kernel, record: AttachmentRecord): boolean {
  if (record.bootId !== kernel.bootId() || isDead(kernel, record)) return false
  if (!record.netns || isThere(kernel, record.netns)) return true
  for (let waitedMs = 0; waitedMs < CLEANUP_MS; waitedMs += STEP_MS) {
    kernel.pause(STEP_MS)
    if (isDead(kernel, record)) return false
  }
  return true
}

function isThere(kernel: Kernel, { path, device, inode }: NonNullable<AttachmentRecord['netns']>): boolean {
  try {
    const netns = kernel.openNetns(path)
    netns.close()
    return netns.identity.device === device && netns.identity.inode === inode
  } catch (error) {
    // Another errno, such as EACCES, does not say that it is gone.
    return !isErrno(error, 'ENOENT', 'EINVAL')
  }
}
