import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Contender, pairedRatio, quantile, runExperiment } from '../../scripts/bench/rounds.ts'

const values = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 60 })

describe('a quantile', () => {
  it('is between two measurements where none is in the middle', () => {
    expect(quantile([9, 1, 5], 0.5)).toBe(5)
    expect(quantile([1, 2, 3, 10], 0.5)).toBe(2.5)
    expect(
      quantile(
        Array.from({ length: 11 }, (_, i) => i),
        0.1,
      ),
    ).toBe(1)
  })

  it('does not depend on the order, and stays inside', () => {
    fc.assert(
      fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (list, share) => {
        const found = quantile(list, share)
        expect(quantile(list.toReversed(), share)).toBe(found)
        expect(found).toBeGreaterThanOrEqual(Math.min(...list) * (1 - 1e-9))
        expect(found).toBeLessThanOrEqual(Math.max(...list) * (1 + 1e-9))
      }),
    )
  })

  it('of nothing is an error', () => {
    expect(() => quantile([], 0.5)).toThrow('nothing was run')
  })
})

describe('the ratio of two contenders', () => {
  it('is the median of the ratios of each round, whatever the machine does from round to round', () => {
    expect(pairedRatio([1, 10, 100], [2, 20, 200])).toBe(0.5)
    // The ratio of the medians would be 10 / 2.
    expect(pairedRatio([1, 10, 12], [2, 20, 1])).toBe(0.5)
  })
})

describe('the rounds of an experiment', () => {
  const experiment = (contenders: Contender[], remove = () => {}) => ({
    title: 'plain',
    unit: 'ms' as const,
    rounds: 2,
    warmUps: 1,
    prepare: () => ({ contenders, remove }),
  })

  it('keep what was measured, and no warm-up', async () => {
    let calls = 0
    const contender = (name: string): Contender => ({ name, measure: () => ({ ADD: ++calls }) })
    const [series] = await runExperiment(experiment([contender('a'), contender('b')]))
    expect(series?.what).toBe('ADD, plain')
    expect(series?.contenders.map(({ values: found }) => found)).toEqual([
      [4, 5],
      [3, 6],
    ])
  })

  it('take away what they were prepared with, also after a failure', async () => {
    let removed = 0
    const failing: Contender = {
      name: 'a',
      measure: () => {
        throw new Error('refused')
      },
    }
    await expect(runExperiment(experiment([failing], () => void removed++))).rejects.toThrow('refused')
    expect(removed).toBe(1)
  })
})
