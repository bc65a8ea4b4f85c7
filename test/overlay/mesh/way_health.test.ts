import { describe, expect, it } from 'vitest'
import {
  isSearching,
  isUndecided,
  lossOf,
  newHealth,
  nextSize,
  recordAnswer,
  recordHint,
  recordLoss,
  recordSize,
  stateOf,
  type WayHealth,
} from '../../../src/overlay/mesh/way_health.ts'

/** What becomes of a way after these probes: `.` is answered, `x` lost, `r` refused. */
function probed(probes: string, health: WayHealth = newHealth()): WayHealth {
  for (const probe of probes) {
    if (probe === '.') recordAnswer(health, 300, 1000)
    else recordLoss(health, probe === 'r')
  }
  return health
}

describe('the state of a way', () => {
  it.each([
    ['', 'unmeasured'],
    ['x', 'unmeasured'],
    ['xxx', 'silent'],
    ['.', 'ok'],
    ['.x', 'ok'],
    ['.xx', 'ok'],
    ['.xxx', 'silent'],
    ['....x.x.x', 'lossy'],
    ['....x.x.', 'ok'],
    ['r', 'unmeasured'],
    ['.rr', 'ok'],
    ['rrr', 'noAgent'],
    ['..xxxr', 'noAgent'],
    ['rrr.', 'ok'],
    // An outage that is over is no loss of packets.
    ['....xxxxx.', 'ok'],
    ['xx.', 'ok'],
    // Only the last 16 count.
    ['x.x.x.................', 'ok'],
  ])('%j is %s', (probes, state) => {
    expect(stateOf(probed(probes))).toBe(state)
  })

  it('is undecided while a loss may be an accident', () => {
    expect(['', '.', '.x', '.xx', '.xxx', 'r'].map((probes) => isUndecided(probed(probes)))).toEqual([
      false,
      false,
      true,
      true,
      false,
      true,
    ])
  })

  it('counts losses, and smooths the round trip', () => {
    const health = probed('...x')
    expect(lossOf(health)).toBe(0.25)
    recordAnswer(health, 1100, 2000)
    expect(health).toMatchObject({ rttUs: 400, lastSeenMs: 2000, sent: 5, lost: 1 })
    expect(probed('xxx', health).rttUs).toBeUndefined()
  })
})

describe('the search for the largest packet', () => {
  /** Sends packets over a way that carries so much, and returns the sizes. */
  function search(health: WayHealth, carries: number, full: number, packets: number): number[] {
    return Array.from({ length: packets }, () => {
      const size = nextSize(health.size, full, 480)
      recordSize(health.size, size, size <= carries)
      return size
    })
  }

  it('is over at once where the full size arrives', () => {
    const health = probed('.')
    expect(search(health, 1500, 1500, 2)).toEqual([1500, 1500])
    expect(stateOf(health)).toBe('ok')
    expect(isSearching(health.size)).toBe(false)
  })

  it.each([1400, 1280, 1452, 1499])('finds %d to within 8 bytes in ten packets', (carries) => {
    const health = probed('.')
    search(health, carries, 1500, 10)
    expect(stateOf(health)).toBe('small')
    expect(health.size.passes).toBeLessThanOrEqual(carries)
    expect(carries - health.size.passes).toBeLessThanOrEqual(8)
  })

  it('takes the word of a router, and tries it', () => {
    const health = probed('.')
    recordSize(health.size, nextSize(health.size, 1500, 480), false)
    recordHint(health.size, 1400)
    expect(search(health, 1400, 1500, 8)).not.toContain(1401)
    expect(health.size).toMatchObject({ fails: 1401 })
    expect(1400 - health.size.passes).toBeLessThanOrEqual(8)
  })

  it('believes no router that says nonsense', () => {
    const health = probed('.')
    search(health, 1500, 1500, 1)
    for (const mtu of [0, 68, 1500, 9000]) recordHint(health.size, mtu)
    expect(health.size.fails).toBeUndefined()
  })

  it('forgets a packet that was lost by accident, and sees a way that has become wider', () => {
    const health = probed('.')
    recordSize(health.size, nextSize(health.size, 1500, 480), false)
    expect(stateOf(health)).toBe('ok')
    search(health, 1500, 1500, 12)
    expect(stateOf(health)).toBe('ok')
    search(health, 1300, 1500, 12)
    expect(stateOf(health)).toBe('small')
    search(health, 1500, 1500, 12)
    expect(stateOf(health)).toBe('ok')
  })

  it('begins anew when this node sends packets of another size', () => {
    const health = probed('.')
    search(health, 1400, 1500, 10)
    expect(search(health, 1400, 1400, 1)).toEqual([1400])
    expect(stateOf(health)).toBe('ok')
  })
})
