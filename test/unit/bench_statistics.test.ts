import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { pairedRatio, quantile, summarize } from '../../scripts/benchmark/statistics.ts'

const values = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 60 })

describe('the summary of measurements', () => {
  it('takes the middle one, and between two the middle', () => {
    expect(summarize([9, 1, 5])).toMatchObject({ median: 5, count: 3 })
    expect(summarize([1, 2, 3, 10]).median).toBe(2.5)
  })

  it('says between which values four of five are', () => {
    expect(summarize(Array.from({ length: 11 }, (_, i) => i))).toMatchObject({ p10: 1, p90: 9 })
  })

  it('is not moved by a single measurement that went wrong', () => {
    expect(summarize([10, 10, 11, 11, 5000]).median).toBe(11)
  })

  it('does not depend on the order, and stays inside', () => {
    fc.assert(
      fc.property(values, (list) => {
        const { median, p10, p90 } = summarize(list)
        expect(summarize(list.toReversed())).toEqual(summarize(list))
        expect(Math.min(...list)).toBeLessThanOrEqual(p10)
        expect(p10).toBeLessThanOrEqual(median)
        expect(median).toBeLessThanOrEqual(p90)
        expect(p90).toBeLessThanOrEqual(Math.max(...list))
      }),
    )
  })

  it('refuses to summarize nothing', () => {
    expect(() => quantile([], 0.5)).toThrow('nothing was run')
  })
})

describe('the ratio of two contenders', () => {
  it('is the median of the ratios of each round, whatever the machine does from round to round', () => {
    expect(pairedRatio([1, 10, 100], [2, 20, 200])).toBe(0.5)
    // The ratio of the medians would be 10 / 2.
    expect(pairedRatio([1, 10, 12], [2, 20, 1])).toBe(0.5)
  })

  it('passes over rounds that one of them sat out', () => {
    expect(pairedRatio([1, 2, 3, 4], [2, undefined, 6])).toBe(0.5)
    expect(pairedRatio([1], [undefined])).toBeUndefined()
  })
})
