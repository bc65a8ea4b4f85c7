import { describe, expect, it } from 'vitest'
import { planRanges } from '../../ipam/config.ts'
import { capacityOf } from '../../ipam/range_set.ts'
import { drawPool } from '../../src/cli/pool_map.ts'
import type { AddressState } from '../../src/cli/pool_usage.ts'
import { parseAddress, parseCidr } from '../../src/core/address.ts'

function draw(
  subnet: string,
  states: Record<string, AddressState>,
  columns = Number.POSITIVE_INFINITY,
): string[] {
  const [set] = planRanges({ ranges: [[{ subnet: parseCidr(subnet) }]] })
  if (!set) throw new Error('no set')
  const found = Object.entries(states).map(([text, state]) => [parseAddress(text).value, state] as const)
  return drawPool({ set, total: capacityOf(set), states: new Map(found) }, (_, text) => text, columns)
}

describe('the map of a pool', () => {
  it('has a sign for each address, in rows of 64', () => {
    expect(
      draw('10.0.0.0/25', {
        '10.0.0.1': 'reserved',
        '10.0.0.2': 'used',
        '10.0.0.17': 'stale',
        '10.0.0.126': 'unrecorded',
      }),
    ).toEqual([
      '10.0.0.0    R■············· ·✗·············· ················ ················',
      '10.0.0.64  ················ ················ ················ ··············?',
    ])
  })

  it('has shorter rows on a terminal of 80 characters with long addresses', () => {
    const states = { '10.244.128.1': 'reserved', '10.244.128.33': 'used' } as const
    expect(draw('10.244.128.0/25', states, 80)).toEqual([
      '10.244.128.0    R·············· ················',
      '10.244.128.32  ·■·············· ················',
      '10.244.128.64  ················ ················',
      '10.244.128.96  ················ ···············',
    ])
  })

  it('counts rows of a large range that are free', () => {
    expect(draw('10.0.0.0/16', { '10.0.0.2': 'used', '10.0.9.1': 'used' })).toEqual([
      expect.stringMatching(/^10\.0\.0\.0 +·■·/),
      '…         2240 free',
      expect.stringMatching(/^10\.0\.9\.0 +·■·/),
      '…         63167 free',
    ])
  })

  it('is as small for a range of 2^64 addresses', () => {
    expect(draw('fd00::/64', { 'fd00::2': 'used' })).toEqual([
      expect.stringMatching(/^fd00:: +·■·/),
      expect.stringMatching(/^… +2\^64 free$/),
    ])
  })

  it('shows how full blocks are where very many addresses are used', () => {
    const states = Object.fromEntries(
      Array.from({ length: 4096 }, (_, i) => [
        `10.${Math.floor(i / 16) % 256}.0.${(i % 16) + 1}`,
        'used' as const,
      ]),
    )
    const lines = draw('10.0.0.0/8', states)
    expect(lines.length).toBeLessThanOrEqual(20)
    expect(lines[0]).toMatch(/^10\.0\.0\.0 +░/)
    expect(lines.at(-1)).toBe('one character is 16384 addresses: ░ some, ▒ ▓ █ by quarters')
  })
})
