import { leasedAddresses } from '../../ipam/leases.ts'
import {
  capacityOf,
  formatRangeSet,
  gatewaysOf,
  isGateway,
  type RangeSet,
  rangeOf,
} from '../../ipam/range_set.ts'
import { leaseDirOf } from '../../ipam/reconcile.ts'
import { type Address, formatAddress, formatCidr } from '../core/address.ts'
import { planSets, poolUseOf } from '../plugin/addresses.ts'
import { OWN_IPAM } from '../plugin/request.ts'
import type { CommandContext } from './command.ts'
import type { NetworkFile } from './networks.ts'
import type { NodeView } from './node_view.ts'

/**
 * What an address is to its pool. `stale`: leased to a pod that is gone. `unrecorded`: leased, and no record says to whom, as
 * by host-local.
 */
export type AddressState = (typeof STATES)[number]

export const STATES = ['used', 'stale', 'unrecorded', 'reserved'] as const

/** One range set of a network: which of its addresses are not free. */
export type PoolUsage = {
  readonly set: RangeSet
  readonly total: bigint
  readonly states: ReadonlyMap<bigint, AddressState>
}

/** Returns how the pool of a network is used; nothing where another plugin gives the addresses. */
export function poolUsage(
  { files, ports }: CommandContext,
  { config }: NetworkFile,
  view: NodeView,
): PoolUsage[] {
  if (config?.ipam?.type !== OWN_IPAM) return []
  const place = { network: config.name, dataDir: ports.pools.dirOf(config.ipam.dataDir) }
  const leased = leasedAddresses(files, leaseDirOf(place))
  const holders = new Map(
    view.attachments
      .filter(({ record }) => record.network === config.name)
      .flatMap(({ record, stale }) =>
        (record.leases?.addresses ?? []).map((address) => [address, stale ? 'stale' : 'used'] as const),
      ),
  )
  return planSets(config, poolUseOf({ mode: config.mode ?? 'l2' })).map((set) => {
    const stateOf = (address: Address): AddressState => holders.get(formatAddress(address)) ?? 'unrecorded'
    const inSet = leased.filter((address) => rangeOf(set, address) && !isGateway(set, address))
    const reserved = gatewaysOf(set).filter((address) => rangeOf(set, address))
    return {
      set,
      total: capacityOf(set),
      states: new Map([
        ...inSet.map((address) => [address.value, stateOf(address)] as const),
        ...reserved.map(({ value }) => [value, 'reserved'] as const),
      ]),
    }
  })
}

export function countOf({ states }: PoolUsage, ...wanted: AddressState[]): number {
  return [...states.values()].filter((state) => wanted.includes(state)).length
}

/** Returns how many of its addresses nobody else can get. */
export function heldOf(pool: PoolUsage): number {
  return countOf(pool, 'used', 'stale', 'unrecorded')
}

export function freeOf(pool: PoolUsage): bigint {
  return pool.total - BigInt(heldOf(pool))
}

/** Returns a pool for programs. Above 2^53 a count is the nearest number that JavaScript has. */
export function plainPool(pool: PoolUsage) {
  return {
    range: formatRangeSet(pool.set),
    subnets: pool.set.ranges.map(({ subnet }) => formatCidr(subnet)),
    total: Number(pool.total),
    free: Number(freeOf(pool)),
    ...Object.fromEntries(STATES.map((state) => [state, countOf(pool, state)])),
  }
}

/** Returns a number of addresses; of very many, the power of two. */
export function formatCount(count: bigint): string {
  if (count < 1n << 24n) return String(count)
  return `2^${(count + (count >> 8n)).toString(2).length - 1}`
}
