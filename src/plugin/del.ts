import type { AttachmentRecord } from '../attachment/record.ts'
import { collectFaults } from '../core/errors.ts'
import { ipamPartOf } from './chained.ts'
import { forgetRecord, forgetUnrecorded, keepOnly } from './forget.ts'
import type { Ports } from './ports.ts'
import { soundRecord, withAttachmentLock } from './records.ts'
import { releaseUnrecorded, removeRecorded } from './remove.ts'
import { attachmentIdOf, delegateOf, OWN_IPAM, type Request, runDelegate } from './request.ts'
import { type Removal, removeFromKernel, removeUnrecorded, throwCollected } from './teardown.ts'

/**
 * DEL: takes away all that ADD made, as far as it is shown to be this attachment's (see `src/attachment/identity.ts`).
 * Works from the record; without one, from the derived names, the namespace and the lease files. Succeeds when there is
 * nothing left to do, and as often as it is called.
 */
export function del(request: Request, ports: Ports): void {
  const id = attachmentIdOf(request)
  withAttachmentLock(request, ports, () => {
    const record = soundRecord(ports, id)
    // Of an attachment that we made the record says who gave the addresses, whatever the config names by now.
    const type = record?.mode ? record.delegate : (record?.delegate ?? delegateOf(request.config))
    const { faults, isLinkGone } = record
      ? removeOwn(request, ports, record)
      : removeWithoutRecord(request, ports)
    const more = type && isLinkGone ? collectFaults([() => runDelegate(request, ports, type, 'DEL')]) : []
    throwCollected([...faults, ...more], id.containerId)
    if (!record) forgetUnrecorded(request, ports)
    else if (isOnlyIpamOfAnother(request, record)) return
    else if (record.chained) keepOnly(ports, record, ipamPartOf(record))
    else forgetRecord(ports, record)
  })
}

/** What the record says that this plugin made. Addresses that we gave to another plugin of the list stay with it. */
function removeOwn(request: Request, ports: Ports, record: AttachmentRecord): Removal {
  if (record.chained) return removeFromKernel(ports, record)
  if (isOnlyIpamOfAnother(request, record)) return { faults: [], isLinkGone: true }
  // Without a mode our IPAM served another plugin, which we have replaced: the interface is known by its addresses.
  return removeRecorded(ports, record, { request: request })
}

function isOnlyIpamOfAnother({ config }: Request, { mode }: AttachmentRecord): boolean {
  return !mode && config.ipam?.type !== OWN_IPAM
}

/** An attachment of which nothing is written: made by another plugin, or its record is lost. */
function removeWithoutRecord(request: Request, ports: Ports): Removal {
  const { faults, isLinkGone } = removeUnrecorded(ports, request)
  // Without a word on addresses in the config, leases of this name are another plugin's.
  const givesAddresses = isLinkGone && request.config.ipam && !delegateOf(request.config)
  const more = givesAddresses ? collectFaults([() => releaseUnrecorded(request, ports)]) : []
  return { faults: [...faults, ...more], isLinkGone }
}
