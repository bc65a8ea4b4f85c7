import type { AttachmentRecord } from '../attachment/record.ts'
import { type Teardown, teardown } from '../attachment/teardown.ts'
import { ipamPartOf } from './chained.ts'
import type { Pools } from './pools.ts'
import type { Ports } from './ports.ts'
import { runtimeMarksOf, unrecordedTeardown } from './removal.ts'
import { attachmentIdOf, delegateOf, OWN_IPAM, type Request, runDelegate } from './request.ts'

/**
 * DEL: removes all that ADD made, as far as it is shown to be this attachment's (see `src/attachment/identity.ts`). Works
 * from the record; without one, from the derived names, the namespace and the lease files. Succeeds when there is nothing
 * left to do, and as often as it is called.
 */
export function del(request: Request, ports: Ports): void {
  const { store, locks, pools, plugins } = ports
  const id = attachmentIdOf(request)
  locks.withAttachment(id, () => {
    const record = store.read(id)
    // Of an attachment that we made the record says who gave the addresses, whatever the config names by now.
    const type = record?.mode ? record.delegate : (record?.delegate ?? delegateOf(request.config))
    const what = record ? ownTeardown(request, record, pools) : unrecordedRemoval(request, pools)
    teardown(ports, { ...what, callDelegate: () => type && runDelegate(request, plugins, type, 'DEL') })
  })
}

function ownTeardown(request: Request, record: AttachmentRecord, pools: Pools): Teardown {
  const what = { id: record, record }
  // Our IPAM gave addresses to another plugin of the list, which still has them.
  if (!record.mode && request.config.ipam?.type !== OWN_IPAM) {
    return { ...what, leavesKernel: true, leavesRecord: true }
  }
  if (record.chained) return { ...what, rest: ipamPartOf(record) }
  // Without a mode our IPAM served another plugin, which we have replaced: the interface is known by its addresses.
  return { ...what, runtime: runtimeMarksOf(request), freeLeases: () => pools.release(record) }
}

function unrecordedRemoval(request: Request, pools: Pools): Teardown {
  const what = unrecordedTeardown(request, pools)
  const { ipam } = request.config
  // A config without `ipam` gives no addresses: leases of this name are another plugin's.
  if (!ipam || delegateOf(request.config)) return what
  return { ...what, freeLeases: () => pools.releaseAll(what.id, ipam.dataDir) }
}
