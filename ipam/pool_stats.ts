import type { Files } from '../src/core/files.ts'
import { type Evidence, holderOf, readAdopted, recordsByLease } from './holders.ts'
import { leasedAddresses, leasePath } from './leases.ts'
import { capacityOf, formatRangeSet, isGateway, type RangeSet, rangeOf } from './range_set.ts'
import { leaseDirOf, type PoolPlace, stateDirOf } from './survey.ts'

/** How full one range set is. */
export type PoolStats = {
  /** `10.0.0.1-10.0.0.254`, several with commas. */
  readonly range: string
  /** Addresses that can be handed out, without gateways. */
  readonly total: bigint
  /** Addresses that the next ADD can't have. */
  readonly held: number
}

/**
 * How full the sets are, without the pool's lock: one listing of the directory. Only for a set that looks full the
 * leases are read, for those of another boot and of dead attachments are no reason to refuse pods: the next ADD frees
 * them, and there would be no next ADD if a STATUS counted them.
 */
export function poolStats(files: Files, place: PoolPlace, sets: readonly RangeSet[]): PoolStats[] {
  const dir = leaseDirOf(place)
  const leased = leasedAddresses(files, dir)
  let evidence: Evidence | undefined
  return sets.map((set) => {
    const inSet = leased.filter((address) => rangeOf(set, address) && !isGateway(set, address))
    const total = capacityOf(set)
    const range = formatRangeSet(set)
    if (BigInt(inSet.length) < total) return { range, total, held: inSet.length }
    evidence ??= gather(files, place)
    const known = evidence
    const lasting = inSet.filter((address) => {
      const holder = holderOf(address, files.read(leasePath(dir, address)), known)
      if (holder.by === 'attachment') return place.reaper?.isDead(holder.record) !== true
      return holder.by === 'unrecorded'
    })
    return { range, total, held: lasting.length }
  })
}

function gather(files: Files, place: PoolPlace): Evidence {
  return {
    bootId: place.bootId,
    records: recordsByLease(place.records.list(place.network)),
    adopted: readAdopted(files, stateDirOf(place)),
  }
}
