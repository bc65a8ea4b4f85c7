import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { drawingOf } from '../../scripts/bench/drawing.ts'
import {
  type Finding,
  findingsOf,
  type Metric,
  measureRounds,
  number,
  quantile,
  tableOf,
  verdictOf,
} from '../../scripts/bench/results.ts'

/** 10 ms for the reference in each round, and these for l3. */
function found(key: string, l3: number[], metric: Partial<Metric> = {}): Finding[] {
  const rounds = (values: number[]) => values.map((value) => ({ [key]: value }))
  const measured = new Map([
    ['reference', rounds(l3.map(() => 10))],
    ['l3', rounds(l3)],
  ])
  return findingsOf('plain', { [key]: { unit: 'ms', ...metric } }, measured)
}

describe('the figures', () => {
  it('a quantile is between two measurements where none is in the middle', () => {
    expect(quantile([9, 1, 5], 0.5)).toBe(5)
    expect(quantile([1, 2, 3, 10], 0.5)).toBe(2.5)
    expect(quantile([10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0], 0.1)).toBe(1)
    expect(() => quantile([], 0.5)).toThrow('nothing was run')
  })

  it('a quantile does not depend on the order, and stays inside', () => {
    const values = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 60 })
    fc.assert(
      fc.property(values, fc.double({ min: 0, max: 1, noNaN: true }), (list, share) => {
        const one = quantile(list, share)
        expect(quantile(list.toReversed(), share)).toBe(one)
        expect(one).toBeGreaterThanOrEqual(Math.min(...list) * (1 - 1e-9))
        expect(one).toBeLessThanOrEqual(Math.max(...list) * (1 + 1e-9))
      }),
    )
  })

  it('a ratio is the median of the ratios of each round, whatever the machine does from round to round', () => {
    const rounds = (values: number[]) => values.map((ADD) => ({ ADD }))
    const measured = new Map([
      ['reference', rounds([2, 20, 1])],
      ['l3', rounds([1, 10, 12])],
    ])
    // The ratio of the medians would be 10 / 2.
    expect(findingsOf('', { ADD: { unit: 'ms' } }, measured)[1]?.ratio).toBe(0.5)
  })

  it('the rounds begin with another plugin each, and leave out warm-ups', async () => {
    let calls = 0
    const contender = (name: string) => ({ name, measure: () => ({ ADD: ++calls }) })
    const measured = await measureRounds([contender('a'), contender('b')], 2, 1)
    expect([...measured]).toEqual([
      ['a', [{ ADD: 4 }, { ADD: 5 }]],
      ['b', [{ ADD: 3 }, { ADD: 6 }]],
    ])
  })
})

describe('the table', () => {
  it('shows the reference first, then what is compared with it, its ratio and its goal', () => {
    const [heading, base, ours] = tableOf(found('ADD', [4, 5, 6], { ratio: [0.36, 0.6] })).split('\n')
    expect(heading).toMatch(/plugin +median +p10–p90 +ratio +goal/)
    expect(base).toMatch(/^ADD, plain +reference +10\.0 ms +10\.0–10\.0$/)
    expect(ours).toMatch(/^ +l3 +5\.00 ms +4\.20–5\.80 +0\.50 +≤ 0\.36 NOT MET$/)
  })

  it('says how many goals are met, and what was reached in place of the others', () => {
    const all = [
      found('A', [3], { ratio: 0.4 }),
      found('B', [9], { ratio: 0.75 }),
      found('C', [0.7], { max: 0.6 }),
    ]
    expect(verdictOf(all.flat()).split('\n')).toEqual([
      'NOT MET: B, plain, l3: 0.90, 9.00 ms, and the goal is ≤ 0.75',
      'NOT MET: C, plain, l3: 0.07, 0.70 ms, and the goal is ≤ 0.6 ms',
      '1 of 3 goals met',
    ])
  })

  it('writes numbers with three digits that count', () => {
    const shown = [0.4567, 5.368, 24.06, 133.4, 29700.2].map(number)
    expect(shown).toEqual(['0.46', '5.37', '24.1', '133', '29,700'])
  })
})

describe('the drawing', () => {
  const machine = '2 x <Fast> & "Cheap", Linux 6.1\nmore'
  const bars = (text: string) => [...text.matchAll(/<rect class="l3" x="(\d+)" y="\d+" width="([\d.]+)"/g)]

  it('has a bar for each ratio to the reference, as long as the ratio', () => {
    const text = drawingOf([...found('ADD', [5]), ...found('DEL', [10])], machine)
    const [, half, whole] = bars(text).map(([, , width]) => Number(width))
    expect(whole).toBeCloseTo(2 * (half ?? 0), 0)
    expect(text).toContain('0.50 (5.00 of 10.0 ms)')
    expect(text).toContain('>ADD, plain<')
    expect(text).not.toContain('Traffic')
  })

  it('is XML whatever the machine is called', () => {
    const text = drawingOf(found('ADD', [5]), machine)
    expect(text).toContain('2 x &#60;Fast&#62; &#38; &#34;Cheap&#34;, Linux 6.1')
    expect(text.replace(/<[^<>]*>/g, '')).not.toMatch(/[<>]/)
  })

  it('cuts off a bar that would leave the drawing', () => {
    const [, bar] = bars(drawingOf(found('ADD', [1000]), machine))
    expect(Number(bar?.[1]) + Number(bar?.[2])).toBeLessThan(632)
  })
})
