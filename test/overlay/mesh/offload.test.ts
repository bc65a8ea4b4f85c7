import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../../src/core/address.ts'
import { isOpen, type TrialRound, trialOf, verdictOf } from '../../../src/overlay/mesh/offload.ts'
import { newHealth, recordAnswer, recordLoss } from '../../../src/overlay/mesh/way_health.ts'
import type { Measured } from '../../../src/overlay/mesh/ways.ts'

/** A way of a kind (an index of WAYS), that is answered or silent. */
function way(index: number, path: string, isAnswered: boolean): Measured {
  const health = newHealth()
  if (isAnswered) recordAnswer(health, 300, 0)
  else for (let i = 0; i < 3; i++) recordLoss(health, false)
  return { index, health, way: { destination: parseAddress('192.0.2.2'), path, mtu: 1450 } }
}

const round = (filled: number, left: number): TrialRound => ({ filled, left })

describe('a trial of the checksum offload', () => {
  const silent = [way(0, 'direct', true), way(2, 'vxlan', false)]

  it.each(['auto', 'on'] as const)(
    'is of a tunnel that is silent, answered by the nodes: %s',
    (checksumOffload) => {
      expect(trialOf(silent, { checksumOffload })).toEqual({ way: silent[1], answerWay: 0 })
    },
  )

  it.each<[string, Measured[], 'auto' | 'off']>([
    ['the tunnel answers', [way(0, 'direct', true), way(2, 'vxlan', true)], 'auto'],
    ['the node does not answer at all', [way(0, 'direct', false), way(2, 'vxlan', false)], 'auto'],
    ['the packets are not encapsulated', [way(0, 'direct', true), way(2, 'direct', false)], 'auto'],
    ['the offload is off', silent, 'off'],
  ])('is of no use if %s', (_, measured, checksumOffload) => {
    expect(trialOf(measured, { checksumOffload })).toBeUndefined()
  })

  it.each<[string, TrialRound[], string]>([
    [
      'broken: no packet arrives whose checksum is left, and all others do',
      [round(3, 0), round(3, 0)],
      'broken',
    ],
    ['broken: one of the others was lost by chance', [round(2, 0), round(3, 0)], 'broken'],
    ['works: one packet is proof', [round(3, 0), round(3, 1)], 'works'],
    ['unknown: nothing arrives, as through a closed port', [round(0, 0)], 'unknown'],
    ['unknown: half of everything is lost', [round(3, 0), round(1, 0)], 'unknown'],
    ['unknown: once may be chance', [round(3, 0)], 'unknown'],
  ])('finds it %s', (_, rounds, verdict) => {
    expect(verdictOf(rounds)).toBe(verdict)
  })

  it('goes on only while it may show that the offload is broken', () => {
    expect([[], [round(3, 0)]].map(isOpen)).toEqual([true, true])
    expect([[round(0, 0)], [round(3, 1)], [round(3, 0), round(3, 0)]].map(isOpen)).toEqual([
      false,
      false,
      false,
    ])
  })
})
