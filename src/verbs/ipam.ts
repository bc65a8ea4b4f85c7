import { viewPool } from '../../ipam/pool.ts'
import type { AttachmentRecord } from '../../ipam/record.ts'
import { chooseDns } from '../cni/requests.ts'
import { parseAddress } from '../core/address.ts'
import { Code, collectFaults, Fault } from '../core/errors.ts'
import { UndoStack } from '../core/undo.ts'
import { familiesOf } from '../pod/spec.ts'
import { acquireAddresses, planSets, releaseLeases } from './addresses.ts'
import { attachmentIdOf, type Call, OWN_IPAM } from './call.ts'
import { forgetRecord, keepOnly } from './forget.ts'
import type { Ports } from './ports.ts'
import { recordsOf, soundRecord, withAttachmentLock } from './records.ts'
import { releaseUnrecorded, removeRecorded } from './remove.ts'
import { removeFromKernel, throwCollected, withUnwound } from './unmake.ts'

/*
 * The same store as an IPAM plugin of its own (`bowline-ipam`), for any plugin that delegates to it. The answers
 * have addresses, routes and DNS, and never an interface (CNI specification, section 5).
 */

/**
 * ADD: gives addresses. The same container and interface asking twice is refused, as with host-local, unless the first
 * ADD was killed: then it gets the same again.
 */
export function ipamAdd(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  const own = withOwnIpam(call)
  planSets(own.config, 'unknown')
  withAttachmentLock(call, ports, () => {
    const bootId = ports.kernel.bootId()
    const before = soundRecord(ports, id)
    if (before?.complete && before.bootId === bootId) throw duplicateOf(before)
    if (before) throwCollected(removeRecorded(ports, before).faults, id.containerId)
    const undo = new UndoStack()
    try {
      const record: AttachmentRecord = { ...id, version: 1, bootId, complete: false, ...netnsOf(call, ports) }
      const { ips, routes, dns } = acquireAddresses(own, ports, record, before?.leases?.addresses, undo)
      recordsOf(ports).complete(record)
      const chosen = chooseDns(call.config, dns)
      call.deliver({
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
export function ipamDel(call: Call, ports: Ports): void {
  withAttachmentLock(call, ports, () => {
    const id = attachmentIdOf(call)
    const record = soundRecord(ports, id)
    throwCollected(removeAddresses(call, ports, record), id.containerId)
    if (record?.chained) keepChained(ports, record)
    else if (record) forgetRecord(ports, record)
    else recordsOf(ports).remove(id)
  })
}

/** The record of an attachment that we once made ourselves, before another plugin took our stead, goes with all of it. */
function removeAddresses(call: Call, ports: Ports, record: AttachmentRecord | undefined): readonly Fault[] {
  if (record?.mode && !record.chained) return removeRecorded(ports, record, { call }).faults
  return collectFaults([
    () => (record?.leases ? releaseLeases(ports, record) : releaseUnrecorded(call, ports)),
  ])
}

/** CHECK: throws a Fault unless the container still holds its addresses. Takes no lock, as it only looks. */
export function ipamCheck(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  const leases = soundRecord(ports, id)?.leases
  const held =
    leases !== undefined &&
    viewPool(ports.files, { ...leases, network: id.network }).held(id, leases.addresses.map(parseAddress))
  if (held) return
  throw new Fault(`container ${id.containerId} holds no address of network ${id.network}`, {
    code: Code.checkFailed,
    cure: 'Recreate the pod; DEL and ADD of this attachment make everything anew.',
  })
}

/** Whatever name the caller's config knows us by, the pool answers. */
export function withOwnIpam(call: Call): Call {
  const { ipam = {} } = call.config
  return { ...call, config: { ...call.config, ipam: { ...ipam, type: OWN_IPAM }, ipMasq: false } }
}

/** Tells later whether the pod is gone. A path that is no namespace (a virtual machine's, say) tells nothing. */
function netnsOf({ invocation }: Call, ports: Ports): Pick<AttachmentRecord, 'netns'> {
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
    cure: 'Call DEL for this container and interface first.',
  })
}
