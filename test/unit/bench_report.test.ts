import { describe, expect, it } from 'vitest'
import { drawingOf } from '../../scripts/benchmark/drawing.ts'
import { type Contender, runExperiment, type Series, turns } from '../../scripts/benchmark/experiment.ts'
import { findingsOf } from '../../scripts/benchmark/findings.ts'
import { goBuildOf } from '../../scripts/benchmark/machine.ts'
import { timeText } from '../../scripts/benchmark/progress.ts'
import { aligned, goalTable, machineTable, number, tableOf } from '../../scripts/benchmark/tables.ts'

const machine = { kernel: 'Linux 6.1', processors: '2 x <Fast> & "Cheap"' }

/** ADD on a plain network: 10 ms for the reference, and these for l3. */
function plainAdd(...l3: number[]): Series {
  const samples = (values: number[]) => values.map((value) => ({ value, cpuMs: value / 2 }))
  return {
    experiment: 'plain',
    metric: 'ADD',
    unit: 'ms',
    contenders: [
      { name: 'l3', base: 'reference', samples: samples(l3) },
      { name: 'reference', samples: samples(l3.map(() => 10)) },
    ],
  }
}

describe('the rounds of an experiment', () => {
  const contender = (name: string, calls: string[], every = 1): Contender => ({
    name,
    every,
    measure: () => {
      calls.push(name)
      return { ADD: { value: calls.length } }
    },
  })
  const run = (calls: string[], options: { rounds: number; warmUps: number }, remove = () => {}) =>
    runExperiment(
      {
        ...options,
        title: 'plain',
        unit: 'ms',
        secondsPerRound: 1,
        prepare: () => ({ contenders: [contender('a', calls), contender('b', calls, 2)], remove }),
      },
      () => {},
    )

  it('measure everyone in turns, and begin with another one each time', () => {
    const three = ['a', 'b', 'c'].map((name) => contender(name, []))
    const orders = [0, 1, 2, 3].map((round) =>
      turns(three, round)
        .map(({ name }) => name)
        .join(''),
    )
    expect(orders).toEqual(['abc', 'bca', 'cab', 'abc'])
  })

  it('keep each measurement at the number of its round, and no warm-up', () => {
    const calls: string[] = []
    const [series] = run(calls, { rounds: 3, warmUps: 1 })
    expect(calls).toEqual(['b', 'a', 'a', 'b', 'a', 'a', 'b'])
    expect(series?.contenders.map(({ samples }) => samples.map((one) => one?.value))).toEqual([
      [3, 5, 6],
      [4, undefined, 7],
    ])
  })

  it('take away what they were prepared with, also after a failure', () => {
    let removed = 0
    const failing = {
      name: 'a',
      measure: () => {
        throw new Error('refused')
      },
    }
    const experiment = {
      title: 'plain',
      unit: 'ms' as const,
      rounds: 1,
      warmUps: 0,
      secondsPerRound: 1,
      prepare: () => ({ contenders: [failing], remove: () => void removed++ }),
    }
    expect(() => runExperiment(experiment, () => {})).toThrow('refused')
    run([], { rounds: 1, warmUps: 0 }, () => void removed++)
    expect(removed).toBe(2)
  })
})

describe('a table', () => {
  it('shows the base first, then what is compared with it, its ratio and its goal', () => {
    const [heading, base, ours] = tableOf(findingsOf(plainAdd(4, 5, 6))).split('\n')
    expect(heading).toMatch(/plugin +median +p10–p90 +processor +ratio +goal/)
    expect(base).toMatch(/^ADD, plain +reference +10\.0 ms +10\.0–10\.0 +5\.00 ms$/)
    expect(ours).toMatch(/^ +l3 +5\.00 ms +4\.20–5\.80 +2\.50 ms +0\.50 +0\.50 +≤ 0\.48 +NOT MET$/)
  })

  it('says which goals are met, those that are not first', () => {
    const findings = [...findingsOf(plainAdd(4.8)), ...findingsOf({ ...plainAdd(9), metric: 'DEL' })]
    expect(goalTable(findings)).toBe(
      [
        'NOT MET  DEL, plain  l3  0.90 to reference  ≤ 0.8',
        'met      ADD, plain  l3  0.48 to reference  ≤ 0.48',
        '',
        '1 of 2 goals met',
      ].join('\n'),
    )
  })

  it('judges memory by itself, and traffic by what is more', () => {
    const memory = { ...plainAdd(3.9), experiment: 'ADD, dual stack + ipMasq', metric: 'private dirty' }
    expect(findingsOf(memory).at(-1)).toMatchObject({ ratio: 0.39, isMet: true })
    const traffic = { ...plainAdd(12), experiment: 'pods of one node', metric: 'round trips' }
    expect(findingsOf(traffic).at(-1)).toMatchObject({ ratio: 1.2, isMet: false })
  })

  it('writes numbers with three digits that count', () => {
    expect([0.4567, 5.368, 24.06, 133.4, 29700.2].map(number)).toEqual([
      '0.46',
      '5.37',
      '24.1',
      '133',
      '29,700',
    ])
    expect([59.6, 200].map(timeText)).toEqual(['1 min 0 s', '3 min 20 s'])
  })

  it('aligns columns by what is seen, not by bytes', () => {
    expect(
      aligned([
        ['≤ 1', 'a'],
        ['x', 'b'],
      ]),
    ).toBe('≤ 1  a\nx    b')
  })

  it('warns on a machine that is busy', () => {
    expect(machineTable(machine, false)).not.toContain('busy')
    expect(machineTable(machine, true)).toContain('busy with other things')
  })
})

describe('the drawing', () => {
  const bars = (text: string) => [...text.matchAll(/<rect class="l3" x="(\d+)" y="\d+" width="([\d.]+)"/g)]

  it('has a bar for each ratio to the reference, as long as the ratio', () => {
    const text = drawingOf(
      [...findingsOf(plainAdd(5)), ...findingsOf({ ...plainAdd(10), metric: 'DEL' })],
      machine,
    )
    const [, half, whole] = bars(text).map(([, , width]) => Number(width))
    expect(whole).toBeCloseTo(2 * (half ?? 0), 0)
    expect(text).toContain('0.50 (5.00 of 10.0 ms)')
    expect(text).toContain('>ADD, plain<')
  })

  it('is XML whatever the machine is called', () => {
    const text = drawingOf(findingsOf(plainAdd(5)), machine)
    expect(text).toContain('2 x &lt;Fast&gt; &amp; &quot;Cheap&quot;; Linux 6.1')
    expect(text.replace(/<[^<>]*>/g, '')).not.toMatch(/[<>]/)
  })

  it('cuts off a bar that would leave the drawing', () => {
    const [, bar] = bars(drawingOf(findingsOf(plainAdd(1000)), machine))
    expect(Number(bar?.[1]) + Number(bar?.[2])).toBeLessThan(860)
  })

  it('draws no chart of what was not measured', () => {
    expect(drawingOf(findingsOf(plainAdd(5)), machine)).not.toContain('Traffic')
  })
})

describe('a Go program', () => {
  it('tells which Go built it from which version', () => {
    const modules = 'path\texample.com/x\nmod\texample.com/x\tv1.9.1\th1:abc=\n'
    const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)])
    const info = Buffer.concat([
      Buffer.from('\xff Go buildinf:\x08\x02', 'latin1'),
      Buffer.alloc(16),
      text('go1.26.8'),
      text(modules),
    ])
    expect(goBuildOf(Buffer.concat([Buffer.alloc(100), info]))).toEqual({ go: 'go1.26.8', version: '1.9.1' })
  })

  it('is not every program', () => {
    expect(goBuildOf(Buffer.from('#!/bin/sh'))).toEqual({
      go: 'an unknown Go',
      version: 'of an unknown version',
    })
  })
})
