import { mayLive } from '../../../attachment/liveness.ts'
import type { AttachmentRecord } from '../../../attachment/record.ts'
import { allFiles, isNewer, soundRecords } from '../../../attachment/store.ts'
import { Code, Fault } from '../../../core/errors.ts'
import type { HostPort } from '../../../core/host_port.ts'
import { type AttachmentId, ownerText } from '../../../core/names.ts'
import { MAX_COMMENT_BYTES } from '../../../kernel/nftables/elements.ts'
import type { NftElement } from '../../../kernel/nftables/objects.ts'
import type { NodePorts } from '../feature.ts'
import { describePlace } from './host_port.ts'

/*
 * The comment of an element says whose it is: `CONTAINER IFNAME NAMESPACE/POD`, for people, for GC, and for the ADD that wants the same
 * port.
 */

export function commentOf(id: AttachmentId, podName: string | undefined): string {
  return `${ownerText(id)}${podName ? ` ${podName}` : ''}`.slice(0, MAX_COMMENT_BYTES)
}

/** Returns whether a comment names an owner at all: an element of a person does not. */
export function isComment(comment = ''): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]* [^ ]/.test(comment) || comment.length === MAX_COMMENT_BYTES
}

export function isCommentOf(id: AttachmentId, comment = ''): boolean {
  const owner = ownerText(id).slice(0, MAX_COMMENT_BYTES)
  return comment === owner || comment.startsWith(`${owner} `)
}

/**
 * Returns if the element belongs to no pod that may live: it is of one that is gone, or nobody's. Else throws a Fault that names the pod
 * and the port. The caller holds the lock of host ports, so a pod that has just got the port has its record.
 */
export function assertReclaimable(
  { kernel, store }: NodePorts,
  port: HostPort,
  { comment = '' }: NftElement<unknown, unknown>,
): void {
  const files = allFiles(store)
  const holders = soundRecords(files).filter((record) => isCommentOf(record, comment))
  // A record of a later release cannot be read, so the element may be of its pod.
  if (!files.some(isNewer) && !holders.some((record) => mayLive(kernel, record))) return
  throw new Fault(`host port ${describePlace(port)} is held by ${describeHolder(comment, holders[0])}`, {
    code: Code.addressInUse,
    hint: 'Delete that pod, or give this one another "hostPort" or "hostIP".',
  })
}

/** Returns `pod NAMESPACE/NAME (container …, eth0 of network …)`, as far as it is known. */
function describeHolder(comment: string, record: AttachmentRecord | undefined): string {
  const [container = '', ifName = '', pod] = comment.split(' ')
  const where = `container ${container}, ${ifName}${record ? ` of network ${record.network}` : ''}`
  return pod ? `pod ${pod} (${where})` : where
}
