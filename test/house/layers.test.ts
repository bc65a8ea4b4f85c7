import { describe, expect, it } from 'vitest'
import { checkLayers, explain, RULES, type Rule, readSources } from '../support/layers.ts'

const ROOT = new URL('../..', import.meta.url).pathname

describe('the source code', () => {
  const sources = readSources(ROOT, ['src', 'ipam'])
  const findings = checkLayers(sources)

  it('was read', () => {
    const paths = sources.map(({ path }) => path)
    expect(paths).toEqual(expect.arrayContaining(['src/core/errors.ts', 'src/main.ts', 'ipam/pool.ts']))
  })

  it.each(Object.entries(RULES))('keeps the rule "%s": %s', (rule) => {
    expect(findings.filter((finding) => finding.rule === rule).map(explain)).toEqual([])
  })
})

/** The rules that these files break, given as path and text. */
function broken(...files: readonly [path: string, text: string][]): Rule[] {
  return checkLayers(files.map(([path, text]) => ({ path, text }))).map(({ rule }) => rule)
}

const empty = (path: string): [string, string] => [path, 'export const x = 1\n']

describe('the layer check', () => {
  it('accepts imports of the own folder, of folders below, and of packages', () => {
    expect(
      broken(
        [
          'src/plugin/add.ts',
          "import './del.ts'\nimport '../pod/plan.ts'\nimport '../../ipam/pool.ts'\nimport 'zod'\n",
        ],
        empty('src/plugin/del.ts'),
        empty('src/pod/plan.ts'),
        empty('ipam/pool.ts'),
      ),
    ).toEqual([])
  })

  it.each([
    ['up', 'src/core/a.ts', '../cni/b.ts', 'src/cni/b.ts'],
    ['up out of ipam', 'ipam/a.ts', '../src/pod/b.ts', 'src/pod/b.ts'],
    ['sideways', 'src/cni/a.ts', '../kernel/b.ts', 'src/kernel/b.ts'],
    ['sideways from ipam', 'ipam/a.ts', '../src/cni/b.ts', 'src/cni/b.ts'],
    ['up to the attachments', 'ipam/a.ts', '../src/attachment/b.ts', 'src/attachment/b.ts'],
  ])('refuses an import that goes %s', (_, from, specifier, to) => {
    expect(broken([from, `import { x } from '${specifier}'\n`], empty(to))).toEqual(['layer'])
  })

  it.each([
    ['static', "import '../cni/b.ts'"],
    ['type', "import type { X } from '../cni/b.ts'"],
    ['inline type', "import { type X } from '../cni/b.ts'"],
    ['dynamic', "const b = await import('../cni/b.ts')"],
    ['of a type in place', "export type Y = import('../cni/b.ts').X"],
    ['as re-export', "export { x } from '../cni/b.ts'"],
    ['as re-export of all', "export * from '../cni/b.ts'"],
    ['as re-export of types', "export type { X } from '../cni/b.ts'"],
    ['by require', "import b = require('../cni/b.ts')"],
  ])('sees an import: %s', (_, text) => {
    expect(broken(['src/core/a.ts', text], empty('src/cni/b.ts'))).toEqual(['layer'])
  })

  it('does not take a comment or a string for an import', () => {
    const text = '// import "../cni/b.ts"\nexport const x = "import \'../cni/b.ts\'"\n'
    expect(broken(['src/core/a.ts', text], empty('src/cni/b.ts'))).toEqual([])
  })

  it('lets only the composition root import the Linux adapters', () => {
    const linux = empty('src/kernel/linux/kernel.ts')
    expect(broken(['src/main.ts', "import './kernel/linux/kernel.ts'"], linux)).toEqual([])
    expect(broken(['src/kernel/linux/a.ts', "import './kernel.ts'"], linux)).toEqual([])
    expect(broken(['src/cli/a.ts', "import '../kernel/linux/kernel.ts'"], linux)).toEqual(['layer', 'linux'])
    expect(broken(['src/kernel/a.ts', "import './linux/kernel.ts'"], linux)).toEqual(['layer', 'linux'])
  })

  it('lets Linux adapters import the port and what is below', () => {
    const text = "import '../kernel.ts'\nimport '../../cni/b.ts'\n"
    expect(
      broken(['src/kernel/linux/a.ts', text], empty('src/kernel/kernel.ts'), empty('src/cni/b.ts')),
    ).toEqual([])
  })

  it('lets nothing in the product import a fake, or anything else of the tests', () => {
    const fake = empty('test/fakes/kernel.ts')
    expect(broken(['src/pod/a.ts', "import '../../test/fakes/kernel.ts'"])).toEqual(['double'])
    expect(broken(['src/main.ts', "await import('../test/support/node.ts')"])).toEqual(['double'])
    expect(broken(['ipam/a.ts', "import type { X } from '../test/fakes/kernel.ts'"], fake)).toContain(
      'double',
    )
  })

  it('finds a cycle between files, even one of types, and names it once', () => {
    const files = ['a', 'b', 'c'].map((name) => ({
      path: `src/core/${name}.ts`,
      text: `import type { X } from './${{ a: 'b', b: 'c', c: 'a' }[name]}.ts'\n`,
    }))
    const findings = checkLayers(files)
    expect(findings.map(({ rule }) => rule)).toEqual(['cycle'])
    expect(findings[0]?.what).toBe('cycle src/core/a.ts -> src/core/b.ts -> src/core/c.ts -> src/core/a.ts')
  })

  it('refuses imports of files that are not there, that lack their ending, or that are computed', () => {
    for (const text of ["import './none.ts'", "import './b'", 'await import(name)']) {
      expect(broken(['src/core/a.ts', text], empty('src/core/b.ts'))).toEqual(['unresolved'])
    }
  })

  it.each([
    ['a module of Node', "import { readFileSync } from 'node:fs'\nexport const x = readFileSync"],
    ['a module of Bun', "import { dlopen } from 'bun:ffi'\nexport const x = dlopen"],
    ['Bun', 'export const x = Bun.nanoseconds()'],
    ['process', "export const x = process.env['A']"],
  ])('lets only the runtime for Bun name %s', (_, text) => {
    expect(broken(['src/core/a.ts', text])).toEqual(expect.arrayContaining(['runtime']))
    expect(broken(['src/runtime/bun.ts', text])).toEqual([])
  })

  it('refuses a folder without a rank', () => {
    expect(broken(empty('src/extras/a.ts'))).toEqual(['unranked'])
  })

  it('allows a file of 400 lines and refuses one of 401, unless it was generated', () => {
    const text = (lines: number) => 'export {}\n'.repeat(lines)
    expect(broken(['src/core/a.ts', text(400)])).toEqual([])
    expect(broken(['src/core/a.ts', text(401)])).toEqual(['fileLength'])
    expect(broken(['src/core/a.gen.ts', text(401)])).toEqual([])
  })

  it.each([
    ['function', (body: string) => `function f() {${body}}`],
    ['arrow function', (body: string) => `const f = () => {${body}}`],
    ['method', (body: string) => `class A { m() {${body}} }`],
    ['nested function', (body: string) => `const a = { m: { f() {${body}} } }`],
  ])('allows a %s of 70 lines and refuses one of 71', (_, make) => {
    expect(broken(['src/core/a.ts', make('\n'.repeat(69))])).toEqual([])
    expect(broken(['src/core/a.ts', make('\n'.repeat(70))])).toEqual(['functionLength'])
  })

  it('refuses an index, at whatever depth', () => {
    expect(broken(empty('src/core/index.ts'))).toEqual(['index'])
    expect(broken(empty('ipam/index.ts'))).toEqual(['index'])
  })

  it('refuses default exports in every form', () => {
    expect(broken(['src/core/a.ts', 'export default 1'])).toEqual(['defaultExport'])
    expect(broken(['src/core/a.ts', 'const x = 1\nexport { x as default }'])).toEqual(['defaultExport'])
  })

  it('refuses names that say nothing, of files, folders and things', () => {
    expect(broken(empty('src/core/utils.ts'))).toEqual(['name'])
    expect(broken(empty('src/core/common/text.ts'))).toEqual(['name'])
    expect(broken(empty('src/core/string_helpers.ts'))).toEqual(['name'])
    expect(broken(['src/core/a.ts', 'export class LinkManager {}'])).toEqual(['name'])
    expect(broken(['src/core/a.ts', 'export const commonPrefixLength = 1'])).toEqual(['name'])
    expect(broken(['src/core/a.ts', 'export const uncommon = 1\nexport const management = 2'])).toEqual([])
  })

  it('prints the reason of a rule with each finding', () => {
    const [finding] = checkLayers([{ path: 'src/core/index.ts', text: '' }])
    expect(finding && explain(finding)).toBe(`src/core/index.ts: is an index (index: ${RULES.index})`)
  })
})
