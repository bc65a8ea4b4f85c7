import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type PluginPath, readPluginPath } from '../../scripts/plugin_path.ts'

const ROOT = new URL('../..', import.meta.url).pathname.replace(/\/$/, '')
// Every pod start pays for each module and each byte (about 1 ms for 100 kB of bytecode and 100 modules). The first
// version had 83 modules and 108 kB; these are some more. Raise them on purpose, after measuring `VERSION`: between 92
// modules with 124 kB and 99 with 146 kB it shows no difference.
const MAX_MODULES = 120
const MAX_BYTES = 200_000

/** Bundles in memory as scripts/build.ts does, and says what is loaded for a call of the plugin. */
async function bundle(entry: string, root = ROOT): Promise<PluginPath> {
  const { metafile } = await Bun.build({
    entrypoints: [entry],
    target: 'bun',
    format: 'esm',
    minify: true,
    splitting: true,
    metafile: true,
  })
  if (!metafile) throw new Error('no metadata of the build')
  return readPluginPath(metafile, { root, base: process.cwd(), entry })
}

/** Modules that are not our own source, and imports from outside that are not `bun:ffi`. */
function foreign({ modules, externals }: PluginPath): string[] {
  const own = (path: string) => /^(src|ipam)\//.test(path) && !path.includes('node_modules')
  return [...modules.filter((path) => !own(path)), ...externals.filter((name) => name !== 'bun:ffi')]
}

describe('a call of the plugin', () => {
  let path: PluginPath
  beforeAll(async () => {
    path = await bundle(join(ROOT, 'src/main.ts'))
  })

  it('loads the verbs and the Linux adapters', () => {
    expect(path.modules).toEqual(
      expect.arrayContaining(['src/main.ts', 'src/verbs/add.ts', 'src/kernel/linux/kernel.ts']),
    )
    expect(path.externals).toEqual(['bun:ffi'])
  })

  it('loads nothing but our own code and bun:ffi', () => {
    expect(foreign(path)).toEqual([])
  })

  it('does not load the command line, the schemas, a fake, or CHECK', () => {
    const others = /\/cli\/|\/fake|schema\.ts$|\/check\.ts$|\/compare/
    expect(path.modules.filter((one) => others.test(one))).toEqual([])
  })

  it(`loads at most ${MAX_MODULES} modules and ${MAX_BYTES} bytes`, () => {
    expect(path.modules.length).toBeLessThanOrEqual(MAX_MODULES)
    expect(path.bytes).toBeLessThanOrEqual(MAX_BYTES)
  })
})

describe('the check of the bundle', () => {
  const base = mkdtempSync(join(tmpdir(), 'bundle-'))
  afterAll(() => rmSync(base, { recursive: true }))

  /** What a small program of these files loads; `src/main.ts` is the entry. Bun remembers folders: each is new. */
  async function planted(files: Record<string, string>): Promise<PluginPath> {
    const root = mkdtempSync(join(base, 'program-'))
    for (const [name, text] of Object.entries(files)) await Bun.write(join(root, name), text)
    return bundle(join(root, 'src/main.ts'), root)
  }

  it('sees a module of Node (Bun leaves out the "node:"), also one that a module below imports', async () => {
    const found = await planted({
      'src/main.ts': "import { b } from './b.ts'\nconsole.log(b)\n",
      'src/b.ts': "import { readFileSync } from 'node:fs'\nexport const b = readFileSync('/dev/null')\n",
    })
    expect(foreign(found)).toEqual(['fs'])
  })

  it('sees a package, with all that it brings', async () => {
    const found = await planted({
      'src/main.ts': "import { parse } from 'tiny'\nconsole.log(parse())\n",
      'node_modules/tiny/package.json': '{"name":"tiny","main":"index.js","type":"module"}',
      'node_modules/tiny/index.js': "export { parse } from './parse.js'\n",
      'node_modules/tiny/parse.js': 'export const parse = () => Math.random()\n',
    })
    expect(foreign(found)).toContain('node_modules/tiny/parse.js')
  })

  it('sees files of ours that are neither in src nor in ipam', async () => {
    const found = await planted({
      'src/main.ts': "import { x } from '../test/x.ts'\nconsole.log(x)\n",
      'test/x.ts': 'export const x = Math.random()\n',
    })
    expect(foreign(found)).toEqual(['test/x.ts'])
  })

  it('leaves out what is imported only when it is needed, and what that imports', async () => {
    const found = await planted({
      'src/main.ts': "const { run } = await import('./cli.ts')\nrun()\n",
      'src/cli.ts': "import { hostname } from 'node:os'\nexport const run = () => console.log(hostname())\n",
    })
    expect(found).toMatchObject({ modules: ['src/main.ts'], externals: [] })
  })

  it('follows a chunk that the entry shares with what is imported later', async () => {
    const found = await planted({
      'src/main.ts':
        "import { big } from './shared.ts'\nconsole.log(big())\nawait (await import('./cli.ts')).run()\n",
      'src/cli.ts': "import { big } from './shared.ts'\nexport const run = () => console.log(big(), 'cli')\n",
      'src/shared.ts':
        "import { hostname } from 'node:os'\nexport const big = () => hostname() + Math.random()\n",
    })
    expect(found.modules).toEqual(['src/main.ts', 'src/shared.ts'])
    expect(foreign(found)).toEqual(['os'])
  })

  it('counts the bytes of the code that is loaded', async () => {
    const files = { 'src/main.ts': "import { b } from './b.ts'\nconsole.log(b)\n" }
    const small = await planted({ ...files, 'src/b.ts': "export const b = ['b', Math.random()]\n" })
    const large = await planted({
      ...files,
      'src/b.ts': `export const b = ['${'b'.repeat(5000)}', Math.random()]\n`,
    })
    expect(large.bytes - small.bytes).toBe(4999)
  })
})
