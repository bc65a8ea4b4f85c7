import { viewPool } from '../../ipam/pool.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { chooseDns } from '../cni/runtime_args.ts'
import { parseAddress } from '../core/address.ts'
import { Code, collectFaults, Fault } from '../core/errors.ts'
import { UndoStack } from '../core/undo.ts'
import { familiesOf } from '../pod/spec.ts'
import { acquireAddresses, planSets, releaseLeases } from './addresses.ts'
import { forgetRecord, keepOnly } from './forget.ts'
import type { Ports } from './ports.ts'
import { recordsOf, soundRecord, withAttachmentLock } from './records.ts'
import { releaseUnrecorded, removeRecorded } from './remove.ts'
import { attachmentIdOf, OWN_IPAM, type Request } from './request.ts'
import { removeFromKernel, throwCollected, withUnwound } from './teardown.ts'

/*
 * The same store as an IPAM plugin of its own (`bowline-ipam`), for any plugin that delegates to it. The answers
 * have addresses, routes and DNS, and never an interface (CNI specification, section 5).
 */

/**
 * ADD: gives addresses. The same container and interface asking twice is refused, as with host-local, unless the first
 * ADD was killed: then it gets the same again.
 */
export function ipamAdd(request: Request, ports: Ports): void {
  const id = attachmentIdOf(request)
  const own = withOwnIpam(request)
  planSets(own.config, 'unknown')
  withAttachmentLock(request, ports, () => {
    const bootId = ports.kernel.bootId()
    const before = soundRecord(ports, id)
    if (before?.complete && before.bootId === bootId) throw duplicateOf(before)
    if (before) throwCollected(removeRecorded(ports, before).faults, id.containerId)
    const undo = new UndoStack()
    try {
      const record: AttachmentRecord = {
        ...id,
        version: 1,
        bootId,
        complete: false,
        ...netnsOf(request, ports),
      }
      const { ips, routes, dns } = acquireAddresses(own, ports, record, before?.leases?.addresses, undo)
      recordsOf(ports).complete(record)
      const chosen = chooseDns(request.config, dns)
      request.deliver({
        interfaces: [],
        ips: ips.map(({ cidr, gateway }) => ({ address: cidr, ...(gateway && { gateway }) })),
        routes: routes.filter(({ dst }) => familiesOf(ips).includes(dst.address.family)),
        ...(chosen && { dns: chosen }),
      })
    } catch (error) {
      throw withUnwound(error, undo.unwind())
    }
  })
}

/** DEL: frees the addresses, by the record or, without one, by looking at every lease. */
export function ipamDel(request: Request, ports: Ports): void {
  withAttachmentLock(request, ports, () => {
    const id = attachmentIdOf(request)
    const record = soundRecord(ports, id)
    throwCollected(removeAddresses(request, ports, record), id.containerId)
    if (record?.chained) keepChained(ports, record)
    else if (record) forgetRecord(ports, record)
    else recordsOf(ports).remove(id)
  })
}

/** The record of an attachment that we once made ourselves, before another plugin took our stead, goes with all of it. */
function removeAddresses(
  request: Request,
  ports: Ports,
  record: AttachmentRecord | undefined,
): readonly Fault[] {
  if (record?.mode && !record.chained) return removeRecorded(ports, record, { request: request }).faults
  return collectFaults([
    () => (record?.leases ? releaseLeases(ports, record) : releaseUnrecorded(request, ports)),
  ])
}

/** CHECK: throws a Fault unless the container still holds its addresses. Takes no lock, as it only looks. */
export function ipamCheck(request: Request, ports: Ports): void {
  const id = attachmentIdOf(request)
  const leases = soundRecord(ports, id)?.leases
  const held =
    leases !== undefined &&
    viewPool(ports.files, { ...leases, network: id.network }).held(id, leases.addresses.map(parseAddress))
  if (held) return
  throw new Fault(`container ${id.containerId} holds no address of network ${id.network}`, {
    code: Code.checkFailed,
    hint: 'Recreate the pod; DEL and ADD of this attachment make everything anew.',
  })
}

/** Whatever name the caller's config knows us by, the pool answers. */
export function withOwnIpam(request: Request): Request {
  const { ipam = {} } = request.config
  return { ...request, config: { ...request.config, ipam: { ...ipam, type: OWN_IPAM }, ipMasq: false } }
}

/** Tells later whether the pod is gone. A path that is no namespace (a virtual machine's, say) tells nothing. */
function netnsOf({ invocation }: Request, ports: Ports): Pick<AttachmentRecord, 'netns'> {
  try {
    const netns = ports.kernel.openNetns(invocation.netns)
    netns.close()
    return { netns: { path: invocation.netns, ...netns.identity } }
  } catch (error) {
    if (error instanceof Fault) return {}
    throw error
  }
}

/** What is left is of a plugin that stands behind the one that we gave the addresses to, and its DEL is still to come. */
function keepChained(ports: Ports, record: AttachmentRecord): void {
  const { leases: _, ...rest } = record
  keepOnly(ports, record, rest, () =>
    throwCollected(removeFromKernel(ports, rest).faults, record.containerId),
  )
}

function duplicateOf({ containerId, ifName, leases }: AttachmentRecord): Fault {
  const held = leases ? `${leases.addresses.join(', ')} is held by` : 'there is an attachment of'
  return new Fault(`${held} ${containerId} ${ifName}: it asked already`, {
    code: Code.addressInUse,
    hint: 'Call DEL for this container and interface first.',
  })
}
