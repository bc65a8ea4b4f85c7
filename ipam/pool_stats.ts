import { type Address, formatAddress } from '../src/core/address.ts'
import type { Files } from '../src/core/files.ts'
import { attachmentsByLease, type Evidence, holderOf, readAdopted } from './lease_owner.ts'
import { leasedAddresses, leasePath } from './leases.ts'
import { isUntouched, parseCursor, readCursor, readOrder } from './order.ts'
import type { Holdings } from './pool_errors.ts'
import { refuseBadPlace } from './pool_view.ts'
import { addressAt, capacityOf, isGateway, type RangeSet, rangeOf, sizeOf } from './range_set.ts'
import { leaseDirOf, type PoolPlace, stateDirOf } from './reconcile.ts'

/** How full one range set is. */
export type PoolStats = {
  readonly set: RangeSet
  /** Addresses that can be handed out, without gateways. */
  readonly total: bigint
  /** Addresses that the next ADD can't have. */
  readonly held: number
  /** By whom, of a set that looked full. */
  readonly holdings?: Holdings
  /** Those of the others that are the node's own. */
  readonly own: readonly Address[]
}

/** With more free addresses than this a set is not full, though the node itself may have some of them. */
const FEW = 64n
/** In a larger set than this the free addresses are not searched for. */
const LARGE_SET = 1n << 16n

/**
 * Returns how full the sets are, without the pool's lock, by one listing of the directory. Reads the leases of a set that
 * looks full: those of another boot and of dead attachments do not count, because the next ADD frees them, and there
 * would be no next ADD if a STATUS counted them. `ownOf` returns those of a few free addresses that are the node's.
 */
export function poolStats(
  files: Files,
  place: PoolPlace,
  sets: readonly RangeSet[],
  ownOf: (addresses: readonly Address[]) => readonly Address[] = () => [],
): PoolStats[] {
  refuseBadPlace(place)
  const dir = leaseDirOf(place)
  const leased = leasedAddresses(files, dir)
  let evidence: Evidence | undefined
  return sets.map((set) => {
    const inSet = leased.filter((address) => rangeOf(set, address) && !isGateway(set, address))
    const total = capacityOf(set)
    const isNearlyFull = total - BigInt(inSet.length) <= FEW && sizeOf(set) <= LARGE_SET
    const own = isNearlyFull ? ownOf(freeIn(set, inSet)) : []
    const taken = inSet.length + own.length
    if (BigInt(taken) < total) return { set, total, held: taken, own }
    evidence ??= gather(files, place, sets)
    const known = evidence
    const holders = inSet.map((address) => holderOf(address, files.read(leasePath(dir, address)), known))
    const holdings = {
      attachments: holders.filter(
        (holder) => holder.by === 'attachment' && !place.attachments.isDead(holder.attachment),
      ).length,
      unrecorded: holders.filter(({ by }) => by === 'unrecorded').length,
    }
    return { set, total, held: holdings.attachments + holdings.unrecorded + own.length, holdings, own }
  })
}

function freeIn(set: RangeSet, leased: readonly Address[]): Address[] {
  const names = new Set(leased.map(formatAddress))
  const free: Address[] = []
  for (let position = 0n; position < sizeOf(set); position++) {
    const address = addressAt(set, position)
    if (!isGateway(set, address) && !names.has(formatAddress(address))) free.push(address)
  }
  return free
}

/** What was adopted in another boot, and what a power failure took, counts under the same condition as for the next ADD. */
function gather(files: Files, place: PoolPlace, sets: readonly RangeSet[]): Evidence {
  const order = readOrder(files, stateDirOf(place))
  const cursors = sets.map(({ index }) => parseCursor(readCursor(files, leaseDirOf(place), index)))
  const written = place.attachments.readAll()
  return {
    bootId: place.bootId,
    attachments: attachmentsByLease(written.attachments),
    isLost: order?.bootId === place.bootId ? () => false : written.isLost,
    adopted: isUntouched(order, cursors) ? readAdopted(files, stateDirOf(place)) : undefined,
  }
}
