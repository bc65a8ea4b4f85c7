import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { parseName } from '../support/conformance/names.ts'
import { formatTable, type NamedOutcome } from '../support/conformance/table.ts'

const CASES = new URL('../conformance/', import.meta.url)

/** The ids in the sources without the letters at their ends: `id: '12b'` and `id: \`12${…}\`` are of 12. */
function numbersInSources(): Set<string> {
  const texts = readdirSync(CASES).map((name) => readFileSync(new URL(name, CASES), 'utf8'))
  const ids = texts.flatMap((text) =>
    [...text.matchAll(/\bid: ['`](G?\d+)/g)].map(([, number = '']) => number),
  )
  return new Set(ids)
}

describe('the conformance suite', () => {
  it('has a case for each of the 46 that the reference suites make, and for each of their 18 gaps', () => {
    const upTo = (last: number, prefix: string): string[] =>
      Array.from({ length: last }, (_, i) => `${prefix}${i + 1}`)
    expect([...numbersInSources()].toSorted()).toEqual([...upTo(46, ''), ...upTo(18, 'G')].toSorted())
  })
})

describe('the table', () => {
  const passed = (name: string): NamedOutcome => ({ name, state: 'passed' })

  function linesOf(...outcomes: NamedOutcome[]): string[] {
    return formatTable(outcomes, { all: true })
      .split('\n')
      .map((line) => line.replace(/ +/g, ' '))
  }

  it('has a line for each case, in the order of their numbers', () => {
    const names = ['10: ten', '9b: nine b', '9: nine', 'G1: gap'].map((name) => `${name} (bowline)`)
    const rows = linesOf(...names.map(passed)).slice(1, 5)
    expect(rows.map((row) => row.split(' ')[0])).toEqual(['9', '9b', '10', 'G1'])
  })

  it('counts what passed and what failed as it was declared', () => {
    const lines = linesOf(
      passed('1: one (bowline, CNI 1.0.0)'),
      passed('1: one (bowline, CNI 1.1.0)'),
      passed('1: one (reference, CNI 1.0.0) fails: no luck'),
      passed('1: one (reference, CNI 1.1.0) fails: no luck'),
    )
    expect(lines).toContain('1 | one | passes ×2 | fails ×2: no luck')
    expect(lines).toContain(' bowline: passes 1, fails as declared 0, not so 0, in the VM 0 (2 runs)')
    expect(lines).toContain(' reference: passes 0, fails as declared 1, not so 0, in the VM 0 (2 runs)')
  })

  it('calls a case "not so" of which one version failed', () => {
    const lines = linesOf(
      passed('1: one (bowline, CNI 1.0.0)'),
      { name: '1: one (bowline, CNI 1.1.0)', state: 'failed' },
      passed('1: one (reference)'),
    )
    expect(lines).toContain('1 | one | NOT SO (1 of 2) | passes')
    expect(lines).toContain(' bowline: passes 0, fails as declared 0, not so 1, in the VM 0 (2 runs)')
  })

  it('never counts as passed what is run in a VM only, or was not run', () => {
    const lines = linesOf(
      { name: '19: vlan (bowline)', state: 'elsewhere' },
      { name: '19: vlan (reference)', state: 'elsewhere' },
      passed('20: other (reference)'),
    )
    expect(lines).toContain('19 | vlan | in the VM | in the VM')
    expect(lines).toContain('20 | other | not run | passes')
    expect(lines).toContain(
      ' bowline: passes 0, fails as declared 0, not so 0, in the VM 1, not run 1 (0 runs)',
    )
  })

  it('has only the cases that failed unless all are asked for', () => {
    const outcomes: NamedOutcome[] = [
      passed('1: one (bowline)'),
      passed('2: two (reference) fails: no luck'),
      { name: '3: three (bowline)', state: 'failed' },
    ]
    const text = formatTable(outcomes)
    expect(text).not.toMatch(/one|two/)
    expect(text).toMatch(/three .*NOT SO/)
    expect(text).toContain('conformance: 3 cases')
    expect(formatTable(outcomes.slice(0, 2))).toMatch(/^conformance: 2 cases/)
  })

  it('refuses two cases of one id', () => {
    expect(() => linesOf(passed('1: one (bowline)'), passed('1: two (bowline)'))).toThrow(/called 1/)
  })

  it('passes over the tests that are no cases', () => {
    expect(parseName('a kernel without VLAN filtering: ADD is refused and leaves nothing')).toBeUndefined()
  })
})
