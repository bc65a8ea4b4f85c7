import { describe, expect, it } from 'vitest'
import { drawingOf } from '../../scripts/bench/drawing.ts'
import type { Series, Unit } from '../../scripts/bench/rounds.ts'
import { aligned, findingsOf, number, tableOf, verdictOf } from '../../scripts/bench/tables.ts'

/** 10 for the reference, and these for l3. */
function measured(what: string, l3: number[], unit: Unit = 'ms'): Series {
  return {
    what,
    unit,
    contenders: [
      { name: 'l3', base: 'reference', values: l3 },
      { name: 'reference', values: l3.map(() => 10) },
    ],
  }
}

describe('a table', () => {
  it('shows the base first, then what is compared with it, its ratio and its goal', () => {
    const [heading, base, ours] = tableOf(findingsOf(measured('ADD, plain', [4, 5, 6]))).split('\n')
    expect(heading).toMatch(/plugin +median +p10–p90 +ratio +goal/)
    expect(base).toMatch(/^ADD, plain +reference +10\.0 ms +10\.0–10\.0$/)
    expect(ours).toMatch(/^ +l3 +5\.00 ms +4\.20–5\.80 +0\.50 +≤ 0\.36 +NOT MET$/)
  })

  it('says how many goals are met, and what was reached in place of the others', () => {
    const memory = measured('private dirty, of an ADD, dual stack + ipMasq', [0.7], 'MB')
    const found = [measured('ADD, plain', [3.6]), measured('DEL, plain', [9]), memory].flatMap(findingsOf)
    expect(verdictOf(found).split('\n')).toEqual([
      'NOT MET: DEL, plain, l3: 0.90, and the goal is 0.75',
      'NOT MET: private dirty, of an ADD, dual stack + ipMasq, l3: 0.70 MB, and the goal is 0.6',
      '1 of 3 goals met',
    ])
  })

  it('writes numbers with three digits that count', () => {
    const shown = [0.4567, 5.368, 24.06, 133.4, 29700.2].map(number)
    expect(shown).toEqual(['0.46', '5.37', '24.1', '133', '29,700'])
  })

  it('aligns columns by what is seen, not by bytes', () => {
    const rows = [
      ['≤ 1', 'a'],
      ['x', 'b'],
    ]
    expect(aligned(rows)).toBe('≤ 1  a\nx    b')
  })
})

describe('the drawing', () => {
  const machine = '2 x <Fast> & "Cheap", Linux 6.1\nmore'
  const bars = (text: string) => [...text.matchAll(/<rect class="l3" x="(\d+)" y="\d+" width="([\d.]+)"/g)]

  it('has a bar for each ratio to the reference, as long as the ratio', () => {
    const found = [measured('ADD, plain', [5]), measured('DEL, plain', [10])].flatMap(findingsOf)
    const text = drawingOf(found, machine)
    const [, half, whole] = bars(text).map(([, , width]) => Number(width))
    expect(whole).toBeCloseTo(2 * (half ?? 0), 0)
    expect(text).toContain('0.50 (5.00 of 10.0 ms)')
    expect(text).toContain('>ADD, plain<')
    expect(text).not.toContain('Traffic')
  })

  it('is XML whatever the machine is called', () => {
    const text = drawingOf(findingsOf(measured('ADD, plain', [5])), machine)
    expect(text).toContain('2 x &#60;Fast&#62; &#38; &#34;Cheap&#34;, Linux 6.1')
    expect(text.replace(/<[^<>]*>/g, '')).not.toMatch(/[<>]/)
  })

  it('cuts off a bar that would leave the drawing', () => {
    const [, bar] = bars(drawingOf(findingsOf(measured('ADD, plain', [1000])), machine))
    expect(Number(bar?.[1]) + Number(bar?.[2])).toBeLessThan(632)
  })
})
