import { isOwnAlias } from '../attachment/alias.ts'
import { leaveBridge, returnRoutes } from '../attachment/detach.ts'
import { type HostLinks, hostLinksOf, leadsTo, removeInterface } from '../attachment/identity.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { parseAddress } from '../core/address.ts'
import { Code, collectFaults, Fault } from '../core/errors.ts'
import { deriveNames } from '../core/names.ts'
import { removeHostRoute } from '../pod/delivery.ts'
import { removeMacCheck } from '../pod/mac_check.ts'
import { marksOf, marksOfUnrecorded, otherRecords } from './marks.ts'
import type { Ports } from './ports.ts'
import { attachmentIdOf, type Request } from './request.ts'

/** What was removed from the kernel. */
export type Removal = {
  readonly faults: readonly Fault[]
  /** False if the link could not be removed: its addresses must not go to another pod. */
  readonly isLinkGone: boolean
}

/** What a removal may know beside the record: the DEL that it is part of, and the links of the node. */
export type RemovalContext = { readonly request?: Request; readonly hostLinks?: HostLinks }

/**
 * Takes away what an attachment has in the kernel, by its record. Goes on after a failure. Leases
 * and the record itself stay.
 */
export function removeFromKernel(
  ports: Ports,
  record: AttachmentRecord,
  { request, hostLinks = hostLinksOf(ports.kernel) }: RemovalContext = {},
): Removal {
  const link = collectFaults([() => removeOwnLink(ports, record, request, hostLinks)])
  // After the link: at no time can the pod send unchecked.
  const after = collectFaults([() => removeHostRoutes(ports, record), () => removeMacCheckOf(ports, record)])
  return { faults: [...link, ...after], isLinkGone: link.length === 0 }
}

/**
 * Takes away what an attachment has in the kernel of which nothing is written, by the names that can be derived again
 * and what the runtime and the leases tell. Goes on after a failure.
 */
export function removeUnrecorded(ports: Ports, request: Request): Removal {
  const { kernel } = ports
  const id = attachmentIdOf(request)
  const marks = marksOfUnrecorded(ports, request)
  const link = collectFaults([() => removeInterface(kernel, marks, hostLinksOf(kernel))])
  const after = collectFaults([() => removeMacCheck(kernel, deriveNames(id))])
  return { faults: [...link, ...after], isLinkGone: link.length === 0 }
}

/**
 * One Fault for all that could not be removed of `whose`. Nothing is thrown when there is none. `again` is the command
 * that finishes the work.
 */
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

/** A rollback that failed in part says so: somebody must know what was left behind. */
export function withUnwound(error: unknown, faults: readonly Fault[]): unknown {
  if (faults.length === 0) return error
  const inner = error instanceof Error ? error.message : String(error)
  const left = faults.map(({ message }) => message).join('; ')
  return new Fault(`${inner} (and the rollback failed in part: ${left})`, { cause: error })
}

function removeMacCheckOf(ports: Ports, record: AttachmentRecord): void {
  if (!record.macspoofchk || record.bootId !== ports.kernel.bootId()) return
  const { key, hostIfName } = deriveNames(record)
  removeMacCheck(ports.kernel, { key, hostIfName: record.hostIfName ?? hostIfName })
}

function removeHostRoutes(ports: Ports, { hostRoutes, bootId }: AttachmentRecord): void {
  if (!hostRoutes || bootId !== ports.kernel.bootId()) return
  for (const text of hostRoutes.addresses)
    removeHostRoute(ports.kernel.host(), hostRoutes.link, parseAddress(text))
}

/** The interface of an earlier plugin is its own to remove: it only stops being a port of our bridge. */
function removeOwnLink(
  ports: Ports,
  record: AttachmentRecord,
  request: Request | undefined,
  hostLinks: HostLinks,
): void {
  const { chained, bridge, bootId } = record
  if (!chained) removeInterface(ports.kernel, marksOf(ports, record, request), hostLinks)
  else if (chained.joined && bridge && bootId === ports.kernel.bootId()) leave(ports, record, chained, bridge)
}

/** The routes to addresses that another attachment has by now are its own, and so is a port with the index. */
function leave(ports: Ports, record: AttachmentRecord, chained: Chained, bridge: string): void {
  const host = ports.kernel.host()
  const others = otherRecords(ports, record).flatMap((one) => one.chained ?? [])
  const isFree = (address: string) => !others.some(({ addresses }) => addresses.includes(address))
  const isPort =
    isOwnPort(ports, record, chained) && !others.some(({ ifIndex }) => ifIndex === chained.ifIndex)
  const addresses = chained.addresses.filter(isFree).map(parseAddress)
  returnRoutes(host, isPort ? chained.ifIndex : NO_INDEX, bridge, addresses)
  if (isPort) leaveBridge(host, chained.ifIndex, bridge)
}

type Chained = NonNullable<AttachmentRecord['chained']>
const NO_INDEX = 0

/** The kernel and other plugins use an index again. A host end that was renamed leads to the pod all the same. */
function isOwnPort(ports: Ports, record: AttachmentRecord, { ifIndex }: Chained): boolean {
  const { hostIfName, netns, ifName } = record
  const port = ports.kernel.host().link({ index: ifIndex })
  if (!port || isOwnAlias(port.alias)) return false
  return port.name === hostIfName || (netns !== undefined && leadsTo(ports.kernel, port, netns, ifName))
}
