import { assertNextHops, type PoolUse, planRanges } from '../../ipam/config.ts'
import type { RangeSet } from '../../ipam/range_set.ts'
import { decodeConfig } from '../../src/cni/config.ts'

/** The keys of one range as a configuration writes them. */
export type RangeJson = { subnet: string; rangeStart?: string; rangeEnd?: string; gateway?: string }

type IpamJson = Partial<RangeJson> & { ranges?: RangeJson[][]; routes?: { dst: string; gw?: string }[] }

/** Plans the range sets of a configuration that is written as JSON. */
export function plannedRanges(ipam: IpamJson, ipRanges: RangeJson[][] = [], use?: PoolUse): RangeSet[] {
  const json = { name: 'net', ipam: { type: 'bowline-ipam', ...ipam }, runtimeConfig: { ipRanges } }
  const { ipam: decoded = {}, runtimeConfig } = decodeConfig(JSON.stringify(json))
  const sets = planRanges(decoded, runtimeConfig?.ipRanges, use)
  assertNextHops(decoded.routes, sets)
  return sets
}
