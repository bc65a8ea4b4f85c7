import { type HostLinks, hostLinksOf } from '../attachment/identity.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { isDamaged } from '../attachment/store.ts'
import { type ValidAttachments, validAttachments } from '../cni/valid_attachments.ts'
import { collectFaults, type Fault } from '../core/errors.ts'
import { removeUnusedMacFrame } from '../pod/mac_check.ts'
import { forgetRecord } from './forget.ts'
import {
  freeStrayLeases,
  removeDamaged,
  removeStrayLinks,
  removeStrayMacChecks,
  removeStrayMasquerade,
} from './orphans.ts'
import type { Ports } from './ports.ts'
import { recordsOf } from './records.ts'
import { removeWithDelegated } from './remove.ts'
import { delegateOf, type Request, runDelegate } from './request.ts'
import { throwCollected } from './teardown.ts'

/**
 * GC: removes everything of this network that does not belong to a valid attachment. Goes on after a failure and
 * reports all at the end. An attachment whose lock is held is in the middle of an ADD or DEL: it is left alone.
 */
export function gc(request: Request, ports: Ports): void {
  const valid = validAttachments(request.config)
  const network = request.config.name
  const type = delegateOf(request.config)
  const strayLinks = collectFaults([() => removeStrayLinks(ports, network, valid)])
  const faults = [
    ...collectStale(request, ports, valid, () => true),
    ...strayLinks,
    ...removeDamaged(ports, network, valid),
    ...collectFaults([
      // Without a word on addresses in the config, leases of this name are another plugin's. Those of links stay held.
      () => request.config.ipam && !type && strayLinks.length === 0 && freeStrayLeases(request, ports, valid),
      () => removeStrayMasquerade(ports, network, valid),
      () => removeStrayMacChecks(ports),
      () => type && runDelegate(request, ports, type, 'GC'),
      () => recordsOf(ports).removeUnused(network) && removeUnusedMacFrame(ports.kernel),
    ]),
  ]
  throwCollected(faults, `network ${network}`, 'GC')
}

/** GC as an IPAM plugin: frees the addresses that no valid attachment holds. Interfaces are for those who made them. */
export function ipamGc(request: Request, ports: Ports): void {
  const valid = validAttachments(request.config)
  const faults = [
    ...collectStale(request, ports, valid, ({ mode }) => mode === undefined),
    ...collectFaults([
      () => freeStrayLeases(request, ports, valid),
      () => recordsOf(ports).removeUnused(request.config.name),
    ]),
  ]
  throwCollected(faults, `network ${request.config.name}`, 'GC')
}

function collectStale(
  request: Request,
  ports: Ports,
  valid: ValidAttachments,
  isMeant: (record: AttachmentRecord) => boolean,
): Fault[] {
  const stale = recordsOf(ports)
    .list(request.config.name)
    .filter((record) => isMeant(record) && !valid.has(record.containerId, record.ifName))
  const hostLinks = hostLinksOf(ports.kernel)
  return collectFaults(stale.map((record) => () => collect(request, ports, record, hostLinks)))
}

/** Read again under the lock: meanwhile it may have gone, or come back. */
function collect(request: Request, ports: Ports, stale: AttachmentRecord, hostLinks: HostLinks): void {
  const lock = recordsOf(ports).tryLock(stale)
  if (!lock) return
  try {
    const record = recordsOf(ports).read(stale)
    if (!record || isDamaged(record)) return
    throwCollected(removeWithDelegated(request, ports, record, hostLinks), record.containerId, 'GC')
    forgetRecord(ports, record)
  } finally {
    lock.release()
  }
}
