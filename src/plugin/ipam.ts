import type { AttachmentRecord } from '../attachment/record.ts'
import { teardown } from '../attachment/teardown.ts'
import { chooseDns } from '../cni/runtime_args.ts'
import { parseAddress } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import { UndoStack, withUnwound } from '../core/undo.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { familiesOf } from '../pod/spec.ts'
import { acquireAddresses, planSets } from './addresses.ts'
import type { Ports } from './ports.ts'
import { runtimeMarksOf } from './removal.ts'
import { attachmentIdOf, OWN_IPAM, type Request } from './request.ts'

/*
 * The same store as an IPAM plugin of its own (`bowline-ipam`), for any plugin that delegates to it. The answers
 * have addresses, routes and DNS, and never an interface (CNI specification, section 5).
 */

/**
 * ADD: gives addresses. The same container and interface asking twice is refused, as with host-local, unless the first
 * ADD was killed: then it gets the same again.
 */
export function ipamAdd(request: Request, ports: Ports): void {
  const { kernel, store, locks, pools } = ports
  const id = attachmentIdOf(request)
  const own = withOwnIpam(request)
  planSets(own.config, 'unknown')
  locks.withAttachment(id, () => {
    const bootId = kernel.bootId()
    const before = store.read(id)
    if (before?.complete && before.bootId === bootId) throw duplicateOf(before)
    if (before) {
      teardown(ports, { id, record: before, freeLeases: () => pools.release(before), leavesRecord: true })
    }
    const undo = new UndoStack()
    try {
      const record: AttachmentRecord = {
        ...id,
        version: 1,
        bootId,
        complete: false,
        ...netnsOf(request, kernel),
      }
      const { ips, routes, dns } = acquireAddresses(own, ports, record, before?.leases?.addresses, undo)
      store.complete(record)
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
  const { store, locks, pools } = ports
  const id = attachmentIdOf(request)
  locks.withAttachment(id, () => {
    const record = store.read(id)
    // We once made the interface ourselves, before another plugin replaced us: then all of the attachment goes.
    const isOurs = record?.mode !== undefined && !record.chained
    teardown(ports, {
      id,
      record,
      ...(isOurs ? { runtime: runtimeMarksOf(request) } : { leavesKernel: true }),
      freeLeases: () =>
        record && (isOurs || record.leases)
          ? pools.release(record)
          : pools.releaseAll(id, request.config.ipam?.dataDir),
      // A plugin behind the one that we gave the addresses to has connected the interface; its DEL is still to come.
      rest: record?.chained && withoutLeases(record),
      leavesRecord: !record,
    })
    if (!record) store.remove(id)
  })
}

function withoutLeases({ leases: _, ...rest }: AttachmentRecord): AttachmentRecord {
  return rest
}

/** CHECK: throws a Fault unless the container still holds its addresses. Takes no lock, as it only looks. */
export function ipamCheck(request: Request, { store, pools }: Pick<Ports, 'store' | 'pools'>): void {
  const id = attachmentIdOf(request)
  const leases = store.read(id)?.leases
  const held = leases && pools.view(id.network, leases.dataDir).held(id, leases.addresses.map(parseAddress))
  if (held) return
  throw new Fault(`container ${id.containerId} holds no address of network ${id.network}`, {
    code: Code.checkFailed,
    hint: 'Recreate the pod; DEL and ADD of this attachment make everything anew.',
  })
}

/** Returns the request with our IPAM in its config: the caller may know this program by another name. */
export function withOwnIpam(request: Request): Request {
  const { ipam = {} } = request.config
  return { ...request, config: { ...request.config, ipam: { ...ipam, type: OWN_IPAM } } }
}

/** Returns the pod's namespace, which shows later whether the pod is gone; nothing for a path that is no namespace, as of a VM. */
function netnsOf({ invocation }: Request, kernel: Kernel): Pick<AttachmentRecord, 'netns'> {
  try {
    const netns = kernel.openNetns(invocation.netns)
    netns.close()
    return { netns: { path: invocation.netns, ...netns.identity } }
  } catch (error) {
    if (error instanceof Fault) return {}
    throw error
  }
}

function duplicateOf({ containerId, ifName, leases }: AttachmentRecord): Fault {
  const held = leases ? `${leases.addresses.join(', ')} is held by` : 'there is an attachment of'
  return new Fault(`${held} ${containerId} ${ifName}: it asked already`, {
    code: Code.addressInUse,
    hint: 'Call DEL for this container and interface first.',
  })
}
