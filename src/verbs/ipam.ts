import { planRanges } from '../../ipam/config.ts'
import type { AttachmentRecord } from '../../ipam/record.ts'
import { chooseDns } from '../cni/requests.ts'
import type { CniResult } from '../cni/result.ts'
import { parseAddress } from '../core/address.ts'
import { Code, collectFaults, Fault } from '../core/errors.ts'
import { UndoStack } from '../core/undo.ts'
import { acquireAddresses, releaseLeases, withPool } from './addresses.ts'
import { attachmentIdOf, type Call } from './call.ts'
import type { Ports } from './ports.ts'
import { recordsOf, soundRecord, withAttachmentLock } from './records.ts'
import { throwCollected } from './remove.ts'

/*
 * The same store as an IPAM plugin of its own (`bowline-ipam`), for any plugin that delegates to it. The answers
 * have addresses, routes and DNS, and never an interface (CNI specification, section 5).
 */

/** ADD: gives addresses. The same container and interface asking twice is refused, as with host-local. */
export function ipamAdd(call: Call, ports: Ports): CniResult {
  const id = attachmentIdOf(call)
  const own = withOwnIpam(call)
  planRanges(own.config.ipam ?? {}, own.config.runtimeConfig?.ipRanges)
  return withAttachmentLock(call, ports, () => {
    const before = soundRecord(ports, id)
    if (before?.leases && before.bootId === ports.kernel.bootId()) throw duplicateOf(before)
    const undo = new UndoStack()
    try {
      const record: AttachmentRecord = { ...id, version: 1, bootId: ports.kernel.bootId(), complete: true }
      const { ips, routes, dns } = acquireAddresses(own, ports, record, undefined, undo)
      const chosen = chooseDns(call.config, dns)
      return {
        interfaces: [],
        ips: ips.map(({ cidr, gateway }) => ({ address: cidr, ...(gateway && { gateway }) })),
        routes,
        ...(chosen && { dns: chosen }),
      }
    } catch (error) {
      undo.unwind()
      throw error
    }
  })
}

/** DEL: frees the addresses, by the record or, without one, by looking at every lease. */
export function ipamDel(call: Call, ports: Ports): void {
  withAttachmentLock(call, ports, () => {
    const id = attachmentIdOf(call)
    const records = recordsOf(ports)
    const record = soundRecord(ports, id)
    const release = () =>
      record?.leases
        ? releaseLeases(ports, record)
        : withPool(ports, id.network, call.config.ipam?.dataDir, (pool) => pool.releaseAll(id))
    throwCollected(collectFaults([release]), id.containerId)
    records.remove(id)
  })
}

/** CHECK: throws a Fault unless the container still holds its addresses. */
export function ipamCheck(call: Call, ports: Ports): void {
  const id = attachmentIdOf(call)
  const leases = soundRecord(ports, id)?.leases
  const held =
    leases !== undefined &&
    withPool(ports, id.network, leases.dataDir, (pool) => pool.held(id, leases.addresses.map(parseAddress)))
  if (held) return
  throw new Fault(`container ${id.containerId} holds no address of network ${id.network}`, {
    code: Code.checkFailed,
    cure: 'Recreate the pod; DEL and ADD of this attachment make everything anew.',
  })
}

/** Whatever name the caller's config knows us by, the pool answers. */
function withOwnIpam(call: Call): Call {
  const { ipam = {} } = call.config
  return { ...call, config: { ...call.config, ipam: { ...ipam, type: 'bowline-ipam' }, ipMasq: false } }
}

function duplicateOf({ containerId, ifName, leases }: AttachmentRecord): Fault {
  return new Fault(`${leases?.addresses.join(', ')} is held by ${containerId} ${ifName}: it asked already`, {
    code: Code.addressInUse,
    cure: 'Call DEL for this container and interface first.',
  })
}
