import { viewPool } from '../../ipam/pool.ts'
import type { AttachmentRecord } from '../../ipam/record.ts'
import { type Address, formatAddress, parseAddress, parseCidr } from '../core/address.ts'
import { Code, collectFaults, Fault } from '../core/errors.ts'
import { type AttachmentId, deriveNames } from '../core/names.ts'
import { leaveBridge, removeLink, returnRoutes } from '../pod/detach.ts'
import { removeMacCheck } from '../pod/mac_check.ts'
import { removeMasquerade, removeUnrecordedMasquerade } from '../pod/masquerade.ts'
import type { Ports } from './ports.ts'
import { claimsOf, recordsOf } from './records.ts'

/**
 * Takes away what an attachment has in the kernel, by its record alone: masquerading and link. Goes on after a failure
 * and returns what failed. Leases and the record itself stay.
 */
export function removeFromKernel(ports: Ports, record: AttachmentRecord): Fault[] {
  return collectFaults([
    // Before the link: the kernel then waits for its readers once for both.
    () => removeMasqueradeOf(ports, record),
    () => removeOwnLink(ports, record),
    // After the link: at no time can the pod send unchecked.
    () => removeMacCheckOf(ports, record),
  ])
}

/**
 * Takes away what an attachment has in the kernel of which nothing is written, by the names that can be derived again.
 * Goes on after a failure; `hadLink` tells whether its link was there.
 */
export function removeDerived({ kernel }: Ports, id: AttachmentId): { hadLink: boolean; faults: Fault[] } {
  const names = deriveNames(id)
  let hadLink = false
  const faults = collectFaults([
    () => {
      hadLink = removeLink(kernel.host(), { name: names.hostIfName })
    },
    () => removeMacCheck(kernel, names),
    () => removeUnrecordedMasquerade(kernel, id),
  ])
  return { hadLink, faults }
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
    cure:
      first.cure ??
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

/**
 * Elements in the kernel live no longer than the boot they were made in. A record is written before the leases are taken,
 * and stays when a DEL fails: it may name addresses that are another pod's by now. Those that nobody holds are for
 * `releaseLeases`, which has the pool's lock.
 */
function removeMasqueradeOf(ports: Ports, record: AttachmentRecord): void {
  if (!record.masquerade || record.bootId !== ports.kernel.bootId()) return
  const addresses = record.masquerade.map((text) => parseCidr(text).address)
  removeMasquerade(ports.kernel, record.network, addresses.filter(ownedBy(ports, record)))
}

/** By its lease; of an address that another IPAM plugin has given, as long as no other record claims it. */
function ownedBy(ports: Ports, record: AttachmentRecord): (address: Address) => boolean {
  const { leases, network } = record
  if (leases) {
    const pool = viewPool(ports.files, { dataDir: leases.dataDir, network })
    return (address) => pool.held(record, [address])
  }
  const { key } = deriveNames(record)
  const others = recordsOf(ports)
    .list(network)
    .filter((one) => one.bootId === record.bootId && deriveNames(one).key !== key)
  const claims = claimsOf(others)
  return (address) => !claims.has(formatAddress(address))
}

function removeMacCheckOf(ports: Ports, record: AttachmentRecord): void {
  if (!record.macspoofchk || record.bootId !== ports.kernel.bootId()) return
  const { key, hostIfName } = deriveNames(record)
  removeMacCheck(ports.kernel, { key, hostIfName: record.hostIfName ?? hostIfName })
}

/** The interface of an earlier plugin is its own to remove: it only stops being a port of our bridge. */
function removeOwnLink(ports: Ports, record: AttachmentRecord): void {
  const host = ports.kernel.host()
  const { chained, bridge } = record
  if (!chained) removeLink(host, { name: deriveNames(record).hostIfName })
  else if (chained.joined && bridge && record.bootId === ports.kernel.bootId()) {
    returnRoutes(host, chained.ifIndex, bridge, chained.addresses.map(parseAddress))
    leaveBridge(host, chained.ifIndex, bridge)
  }
}
