import { hostLinksOf } from '../attachment/identity.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { teardown, throwCollected } from '../attachment/teardown.ts'
import { type ValidAttachments, validAttachments } from '../cni/valid_attachments.ts'
import { collectFaults, type Fault } from '../core/errors.ts'
import { Orphans } from './orphans.ts'
import type { Ports } from './ports.ts'
import { recordedTeardown } from './removal.ts'
import { delegateOf, type Request, runDelegate } from './request.ts'

/**
 * GC: removes everything of this network that does not belong to a valid attachment. Goes on after a failure and
 * reports all at the end. An attachment whose lock is held is in the middle of an ADD or DEL: it is left alone.
 */
export function gc(request: Request, ports: Ports): void {
  const { name, ipam } = request.config
  const { store, plugins, features } = ports
  const valid = validAttachments(request.config)
  const orphans = new Orphans(ports, name, valid)
  const validIds = valid.all.map((one) => ({ ...one, network: name }))
  const type = delegateOf(request.config)
  const links = collectFaults([() => orphans.removeLinks()])
  // A config without `ipam` gives no addresses: leases of this name are another plugin's. Those of a link stay held.
  const freesLeases = ipam && !type && links.length === 0
  const faults = [
    ...removeStale(request, ports, valid, () => true),
    ...links,
    ...collectFaults([
      () => orphans.removeDamaged(),
      () => freesLeases && orphans.freeLeases(ipam.dataDir),
      ...features.map((feature) => () => feature.removeOrphans?.(name, validIds)),
      () => type && runDelegate(request, plugins, type, 'GC'),
      () => store.removeUnused(name),
    ]),
  ]
  throwCollected(faults, `network ${name}`, 'GC')
}

/** GC as an IPAM plugin: frees the addresses that no valid attachment holds. Interfaces are left to the plugins that made them. */
export function ipamGc(request: Request, ports: Ports): void {
  const { name, ipam } = request.config
  const valid = validAttachments(request.config)
  const faults = [
    ...removeStale(request, ports, valid, ({ mode }) => mode === undefined),
    ...collectFaults([
      () => new Orphans(ports, name, valid).freeLeases(ipam?.dataDir),
      () => ports.store.removeUnused(name),
    ]),
  ]
  throwCollected(faults, `network ${name}`, 'GC')
}

/** Tears down the recorded attachments that are not valid. Reads each again under its lock: it may have gone, or come back. */
function removeStale(
  request: Request,
  ports: Ports,
  valid: ValidAttachments,
  isMeant: (record: AttachmentRecord) => boolean,
): Fault[] {
  const { kernel, store, locks } = ports
  const hostLinks = hostLinksOf(kernel)
  const stale = store
    .list(request.config.name)
    .filter((record) => isMeant(record) && !valid.has(record.containerId, record.ifName))
  return collectFaults(
    stale.map((seen) => () => {
      locks.whenIdle(seen, () => {
        const now = store.read(seen)
        if (!now || request.mayRemove?.(now) === false) return
        teardown(ports, { ...recordedTeardown(request, now, ports), hostLinks, again: 'GC' })
      })
    }),
  )
}
