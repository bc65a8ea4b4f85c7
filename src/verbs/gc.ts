import type { AttachmentRecord } from '../../ipam/record.ts'
import { isDamaged } from '../../ipam/records.ts'
import { type ValidAttachments, validAttachments } from '../cni/valid_attachments.ts'
import { collectFaults, type Fault } from '../core/errors.ts'
import { removeUnusedMacFrame } from '../pod/mac_check.ts'
import { type HostLinks, hostLinksOf } from '../pod/own_interface.ts'
import { type Call, delegateOf, runDelegate } from './call.ts'
import { forgetRecord } from './forget.ts'
import {
  freeStrayLeases,
  removeDamaged,
  removeStrayLinks,
  removeStrayMacChecks,
  removeStrayMasquerade,
} from './gc_strays.ts'
import type { Ports } from './ports.ts'
import { recordsOf } from './records.ts'
import { removeWithDelegated } from './remove.ts'
import { throwCollected } from './unmake.ts'

/**
 * GC: removes everything of this network that does not belong to a valid attachment. Goes on after a failure and
 * reports all at the end. An attachment whose lock is held is in the middle of an ADD or DEL: it is left alone.
 */
export function gc(call: Call, ports: Ports): void {
  const valid = validAttachments(call.config)
  const network = call.config.name
  const type = delegateOf(call.config)
  const strayLinks = collectFaults([() => removeStrayLinks(ports, network, valid)])
  const faults = [
    ...collectStale(call, ports, valid, () => true),
    ...strayLinks,
    ...removeDamaged(ports, network, valid),
    ...collectFaults([
      // Without a word on addresses in the config, leases of this name are another plugin's. Those of links stay held.
      () => call.config.ipam && !type && strayLinks.length === 0 && freeStrayLeases(call, ports, valid),
      () => removeStrayMasquerade(ports, network, valid),
      () => removeStrayMacChecks(ports),
      () => type && runDelegate(call, ports, type, 'GC'),
      () => recordsOf(ports).removeUnused(network) && removeUnusedMacFrame(ports.kernel),
    ]),
  ]
  throwCollected(faults, `network ${network}`, 'GC')
}

/** GC as an IPAM plugin: frees the addresses that no valid attachment holds. Interfaces are for those who made them. */
export function ipamGc(call: Call, ports: Ports): void {
  const valid = validAttachments(call.config)
  const faults = [
    ...collectStale(call, ports, valid, ({ mode }) => mode === undefined),
    ...collectFaults([
      () => freeStrayLeases(call, ports, valid),
      () => recordsOf(ports).removeUnused(call.config.name),
    ]),
  ]
  throwCollected(faults, `network ${call.config.name}`, 'GC')
}

function collectStale(
  call: Call,
  ports: Ports,
  valid: ValidAttachments,
  isMeant: (record: AttachmentRecord) => boolean,
): Fault[] {
  const stale = recordsOf(ports)
    .list(call.config.name)
    .filter((record) => isMeant(record) && !valid.has(record.containerId, record.ifName))
  const hostLinks = hostLinksOf(ports.kernel)
  return collectFaults(stale.map((record) => () => collect(call, ports, record, hostLinks)))
}

/** Read again under the lock: meanwhile it may have gone, or come back. */
function collect(call: Call, ports: Ports, stale: AttachmentRecord, hostLinks: HostLinks): void {
  const lock = recordsOf(ports).tryLock(stale)
  if (!lock) return
  try {
    const record = recordsOf(ports).read(stale)
    if (!record || isDamaged(record)) return
    throwCollected(removeWithDelegated(call, ports, record, hostLinks), record.containerId, 'GC')
    forgetRecord(ports, record)
  } finally {
    lock.release()
  }
}
