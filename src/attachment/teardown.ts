import { type Address, parseAddress } from '../core/address.ts'
import { Code, collectFaults, Fault, isErrno } from '../core/errors.ts'
import type { AttachmentId } from '../core/names.ts'
import type { Kernel, Netns } from '../kernel/kernel.ts'
import { isOwnAlias } from './alias.ts'
import { leaveBridge, returnRoutes } from './detach.ts'
import type { AttachedFeature } from './feature.ts'
import { type HostLinks, hostLinksOf, leadsTo, removeInterface } from './identity.ts'
import { otherRecords, type RuntimeMarks, recordedMarks, unrecordedMarks } from './marks.ts'
import type { AttachmentRecord } from './record.ts'
import type { AttachmentStore } from './store.ts'

/** Where attachments are. */
export type AttachmentPorts = {
  readonly kernel: Kernel
  readonly store: AttachmentStore
  /** In the order of removal. */
  readonly features: readonly AttachedFeature[]
}

/** Which attachment is torn down, and how much of it. By default all but its addresses. */
export type Teardown = {
  readonly id: AttachmentId
  /** Absent if nothing sound is written: then only what is derived, `runtime` and `leased` show what is the attachment's. */
  readonly record?: AttachmentRecord | undefined
  readonly runtime?: RuntimeMarks
  /** Returns the addresses that are leased to an attachment without a record. */
  readonly leased?: () => readonly Address[]
  /** The links of the node, where several attachments are torn down. */
  readonly hostLinks?: HostLinks
  /** Leaves what is in the kernel, which is another plugin's, or went with another boot. */
  readonly leavesKernel?: boolean
  /** Frees the addresses. Not called while the link could not be removed: its addresses must not go to another pod. */
  readonly freeLeases?: () => unknown
  /** Lets another IPAM plugin free its addresses, under the same condition. */
  readonly callDelegate?: () => unknown
  /** What of the record stays, for the plugin that it is about. */
  readonly rest?: AttachmentRecord | undefined
  /** Leaves the record to the caller, who replaces or removes it. */
  readonly leavesRecord?: boolean
  /** The command that finishes the work after a failure. */
  readonly again?: 'DEL' | 'GC'
}

/**
 * Undoes an attachment: its link, its features, its leases, at last its record. Goes on after a failure, then throws one
 * Fault for all of them; the record stays in that case, so that a repeated call can finish the work.
 */
export function teardown(ports: AttachmentPorts, what: Teardown): void {
  const { id, record, rest, leavesKernel, freeLeases, callDelegate } = what
  const removed = leavesKernel ? NOTHING : removeFromKernel(ports, what)
  const freed = removed.isLinkGone ? collectFaults([() => freeLeases?.(), () => callDelegate?.()]) : []
  throwCollected([...removed.faults, ...freed], id.containerId, what.again)
  if (what.leavesRecord) return
  if (record && rest) keepOnly(ports, record, rest, leavesKernel === true)
  else forget(ports, id, record)
}

/** Removes the record; with the last one of a network goes what its attachments shared. */
export function forget(
  { store, features }: AttachmentPorts,
  id: AttachmentId,
  record?: AttachmentRecord,
): void {
  if (store.remove(id)) removeShared(features, id, record)
}

/** Throws one Fault for all that could not be removed of `whose`, nothing if there is none. */
export function throwCollected(faults: readonly Fault[], whose: string, again: 'DEL' | 'GC' = 'DEL'): void {
  const first = faults[0]
  if (!first) return
  throw new Fault(`could not remove all of ${whose}: ${faults.map(({ message }) => message).join('; ')}`, {
    code: first.code === Code.tryLater ? Code.tryLater : Code.incompleteRemoval,
    hint:
      first.hint ??
      `The rest is removed. Call ${again} again when the cause is mended; what is needed for it is still recorded.`,
    cause: first,
  })
}

type Removed = { readonly faults: readonly Fault[]; readonly isLinkGone: boolean }
const NOTHING: Removed = { faults: [], isLinkGone: true }

/** The features go after the link: at no time can the pod send unchecked. */
function removeFromKernel(ports: AttachmentPorts, what: Teardown): Removed {
  const { id, record } = what
  const link = collectFaults([() => removeLinkOf(ports, what)])
  const isOfThisBoot = !record || record.bootId === ports.kernel.bootId()
  const features = isOfThisBoot ? ports.features : []
  const after = collectFaults(features.map((feature) => () => feature.remove?.(id, record)))
  return { faults: [...link, ...after], isLinkGone: link.length === 0 }
}

/** Writes what is left of a record. On a disk without room the rest is undone as well, and the record goes. */
function keepOnly(
  ports: AttachmentPorts,
  record: AttachmentRecord,
  rest: AttachmentRecord,
  isInKernel: boolean,
): void {
  try {
    ports.store.write(rest)
  } catch (error) {
    if (!isErrno(error, 'ENOSPC', 'EDQUOT')) throw error
    // Leases need no record: each says whose it is.
    if (isInKernel)
      throwCollected(removeFromKernel(ports, { id: rest, record: rest }).faults, rest.containerId)
    ports.store.remove(record)
  }
  removeShared(ports.features, record, record)
}

function removeShared(
  features: readonly AttachedFeature[],
  id: AttachmentId,
  record: AttachmentRecord | undefined,
): void {
  for (const feature of features) feature.removeShared?.(id, record)
}

/** Removes the link, or takes it off the bridge if an earlier plugin made it. */
function removeLinkOf(ports: AttachmentPorts, { id, record, runtime, leased, hostLinks }: Teardown): void {
  const { kernel } = ports
  const links = hostLinks ?? hostLinksOf(kernel)
  if (!record) {
    const marks = unrecordedMarks(ports, id, runtime ?? NO_MARKS, leased ?? (() => []))
    removeInterface(kernel, marks, links)
  } else if (!record.chained) removeInterface(kernel, recordedMarks(ports, record, runtime), links)
  else if (record.chained.joined && record.bridge && record.bootId === kernel.bootId()) {
    detachPort(ports, record, record.chained, record.bridge)
  }
}

const NO_MARKS: RuntimeMarks = { netns: '', podMacs: [] }

/** Routes to addresses that another attachment has by now are its own, and so is a port with the same index. */
function detachPort(
  { kernel, store }: AttachmentPorts,
  record: AttachmentRecord,
  chained: Chained,
  bridge: string,
): void {
  const host = kernel.host()
  const others = otherRecords(store, kernel.bootId(), record).flatMap((one) => one.chained ?? [])
  const isFree = (address: string) => !others.some(({ addresses }) => addresses.includes(address))
  const isPort =
    isOwnPort(kernel, host, record, chained) && !others.some(({ ifIndex }) => ifIndex === chained.ifIndex)
  const addresses = chained.addresses.filter(isFree).map(parseAddress)
  returnRoutes(host, isPort ? chained.ifIndex : NO_INDEX, bridge, addresses)
  if (isPort) leaveBridge(host, chained.ifIndex, bridge)
}

type Chained = NonNullable<AttachmentRecord['chained']>
const NO_INDEX = 0

/** The kernel and other plugins use an index again. A host end that was renamed leads to the pod all the same. */
function isOwnPort(kernel: Kernel, host: Netns, record: AttachmentRecord, { ifIndex }: Chained): boolean {
  const { hostIfName, netns, ifName } = record
  const port = host.link({ index: ifIndex })
  if (!port || isOwnAlias(port.alias)) return false
  return port.name === hostIfName || (netns !== undefined && leadsTo(kernel, port, netns, ifName))
}
