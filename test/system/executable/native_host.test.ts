import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { execaSync } from 'execa'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { buildHost, buildSanitizedHost, compileProgram } from '../../../scripts/build/host.ts'
import { NATIVE } from '../../../scripts/build/targets.ts'
import { RUNTIME_CASES } from '../../contract/runtime.ts'
import { pluginConfigOf, readConflist, runPlugin } from '../../support/node/plugin.ts'
import { createNetns, enterSandbox } from '../../support/node/sandbox.ts'

/* The host of the engine in C, without a stored heap: as it is built, and with the compiler's sanitizers. */
const ROOT = resolve(import.meta.dirname, '../../..')
const work = mkdtempSync(join(tmpdir(), 'native-host-'))

beforeAll(enterSandbox)
afterAll(() => rmSync(work, { recursive: true }))

/** Runs a TypeScript program on a host; returns what it printed, as JSON. */
function runOn(host: string, program: string, ...args: string[]): unknown {
  const compiled = compileProgram(ROOT, mkdtempSync(join(work, 'program-')), program)
  const { stdout } = execaSync(host, ['run', compiled, ...args], { stdin: 'ignore', env: LEAKS_ARE_FINE })
  return JSON.parse(stdout)
}

/** The process ends with all that it has: nothing is freed before. */
const LEAKS_ARE_FINE = { ASAN_OPTIONS: 'detect_leaks=0' }

describe.each([
  ['as it is built', () => buildHost(NATIVE, ROOT, mkdtempSync(join(work, 'plain-')))],
  ['with sanitizers', () => buildSanitizedHost(ROOT, mkdtempSync(join(work, 'sanitized-')))],
])('the native host %s', (_, build) => {
  let host: string
  let seen: Record<string, unknown>
  beforeAll(() => {
    host = build()
    seen = runOn(host, 'test/contract/runtime_program.ts') as Record<string, unknown>
  })

  it.each(RUNTIME_CASES)('keeps the contract of a runtime: $name', ({ name, expected }) => {
    expect(seen[name]).toEqual(expected)
  })

  it.each([1, 2, 3])('outlives hostile arguments, seed %d', (seed) => {
    const outcome = runOn(host, 'test/contract/hostile_program.ts', `${seed}`)
    expect(outcome).toEqual({ rounds: 20_000, someWereRefused: true })
  })

  it('serves ADD, CHECK and DEL', async () => {
    const directory = mkdtempSync(join(work, 'plugin-'))
    const program = join(directory, 'bowline')
    writeFileSync(program, `#!/bin/sh\nexec ${host} run ${compileProgram(ROOT, directory)}\n`)
    chmodSync(program, 0o755)
    const { path: netns, name } = createNetns(`native-${directory.slice(-6).toLowerCase()}`)
    const config = { ...(pluginConfigOf(readConflist('10-bowline')) as object), ipMasq: true }
    const call = { containerId: name, netns, program, env: LEAKS_ARE_FINE }
    const added = await runPlugin({ ...call, command: 'ADD', config })
    expect(added, added.stderr).toMatchObject({ exitCode: 0, stderr: '' })
    for (const command of ['CHECK', 'DEL'] as const) {
      const answer = await runPlugin({ ...call, command, config: { ...config, prevResult: added.output } })
      expect(answer, answer.stderr).toMatchObject({ exitCode: 0, stdout: '', stderr: '' })
    }
  })
})

describe('the sanitizers', () => {
  it('would have spoken', () => {
    const source = join(work, 'fault.c')
    writeFileSync(
      source,
      'int main(int n, char **v) { (void)v; char *p = __builtin_malloc(1); p[n] = 1; return p[n]; }\n',
    )
    execaSync('gcc', ['-g', '-fsanitize=address,undefined', source, '-o', join(work, 'fault')])
    const { exitCode, stderr } = execaSync(join(work, 'fault'), { reject: false })
    expect([exitCode, stderr.includes('heap-buffer-overflow')]).toEqual([1, true])
  })
})

describe('an exception that nobody caught', () => {
  const FAULTS: [string, string, RegExp, RegExp][] = [
    [
      'of our own',
      'function inner() { throw new Error("boom \\"x\\"") }\n export function main() { inner() }',
      /Error: boom "x"/,
      /at inner \(faulty\.ts:1\)/,
    ],
    [
      'for want of memory',
      'export function main() { for (const a = [];;) a.push(new Uint8Array(1 << 20).fill(1)) }',
      /out of memory/,
      /./,
    ],
    ['for want of stack', 'export function main() { return 1 + main() }', /stack|recursion/i, /at main/],
    ['that is no error', 'export function main() { throw null }', /null/, /^$/],
    ['while the modules are evaluated', 'throw new Error("early")', /early/, /./],
  ]

  let host: string
  let compiler: string
  beforeAll(() => {
    const directory = mkdtempSync(join(work, 'faulty-'))
    compileProgram(ROOT, directory)
    compiler = join(directory, 'compile')
    host = buildHost(NATIVE, ROOT, directory)
  })

  it.each(FAULTS)('%s is one JSON object on stdout, and exit code 1', (_, text, msg, details) => {
    const directory = mkdtempSync(join(work, 'faulty-'))
    writeFileSync(`${directory}/faulty.ts`, text)
    execaSync(compiler, ['faulty.ts', 'program'], { cwd: directory })
    const limited = ['-c', `ulimit -v 400000; exec ${host} run program`]
    const { exitCode, stdout } = execaSync('bash', limited, {
      cwd: directory,
      reject: false,
      stdin: 'ignore',
    })
    const error = JSON.parse(stdout)
    expect([exitCode, error.code, stdout.trim().split('\n').length]).toEqual([1, 999, 1])
    expect(error.msg).toMatch(msg)
    expect(error.details).toMatch(details)
  })
})
