import { describe, expect, it } from 'vitest'
import { Code } from '../../src/core/errors.ts'
import { readSources } from '../support/layers.ts'
import { findUnmade } from '../support/union_members.ts'

const SOURCES = readSources(new URL('../..', import.meta.url).pathname, ['src', 'ipam'])

describe('the source code', () => {
  it('makes each member of its string unions somewhere', () => {
    expect(findUnmade(SOURCES)).toEqual([])
  })

  it('answers with each of its error codes somewhere', () => {
    const texts = SOURCES.map(({ text }) => text).join('\n')
    expect(Object.keys(Code).filter((name) => !new RegExp(`\\bCode\\.${name}\\b`).test(texts))).toEqual([])
  })
})

describe('the check of unions', () => {
  const unmade = (text: string): string[] => findUnmade([{ path: 'a.ts', text }])

  it('finds a member that nothing makes, in a union and as the mark of a variant', () => {
    expect(unmade("type A = 'x' | 'y'\nconst a: A = 'x'")).toEqual(["a.ts:1: 'y'"])
    expect(unmade("type A = { op: 'x' } |\n { op: 'y' }\nconst a: A = { op: 'y' }")).toEqual(["a.ts:1: 'x'"])
  })

  it.each([
    ['a comparison', "if (a === 'y') f()"],
    ['a case', "switch (a) { case 'y': f() }"],
    ['a row of a table', "const t = { y: 1, 'y': 2 }"],
    ['an import', "import 'y'"],
    ['a type that picks', "type B = Extract<A, 'y'> | T['y']"],
  ])('does not take %s for making it', (_, text) => {
    expect(unmade(`type A = 'y'\n${text}`)).toEqual(["a.ts:1: 'y'"])
  })

  it.each([
    ['a value', "const a: A = 'y'"],
    ['a template', 'const a: A = `y`'],
    ['an argument', "f('y')"],
    ['a row that yields it', "const t = { 1: 'y' }"],
  ])('takes %s for making it', (_, text) => {
    expect(unmade(`type A = 'y'\n${text}`)).toEqual([])
  })
})
