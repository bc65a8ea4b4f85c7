import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { HELP, OptionError, PARTS, parseOptions } from '../../scripts/bench/options.ts'

let cwd: string

beforeAll(() => {
  cwd = mkdtempSync(join(tmpdir(), 'bench-'))
  mkdirSync(join(cwd, 'plugins'))
  writeFileSync(join(cwd, 'plugins/ptp'), '')
})

afterAll(() => rmSync(cwd, { recursive: true }))

describe('the command line of the benchmark', () => {
  it('measures everything when it is empty', () => {
    expect(parseOptions([], cwd)).toEqual({
      parts: PARTS,
      quick: false,
      plugins: [],
      help: false,
    })
  })

  it('takes parts in the order in which they run', () => {
    expect(parseOptions(['--only', 'traffic,calls'], cwd).parts).toEqual(['calls', 'traffic'])
  })

  it('takes paths from the directory that it was called in', () => {
    expect(parseOptions(['--svg', 'a.svg'], cwd).svg).toBe(join(cwd, 'a.svg'))
    expect(parseOptions(['--svg', '/b.svg'], cwd).svg).toBe('/b.svg')
  })

  it('takes other plugins', () => {
    const plugin = { directory: join(cwd, 'plugins'), type: 'ptp' }
    const args = ['--plugin', 'plugins:ptp', '--plugin', `${cwd}/plugins:ptp`]
    expect(parseOptions(args, cwd).plugins).toEqual([plugin, plugin])
  })

  it.each([
    [['--onyl', 'calls'], '--help'],
    [['--only', 'call'], 'Use calls, burst, leases, footprint, traffic'],
    [['--rounds', '0'], 'Use 1 to 9999'],
    [['--rounds', '1e3'], 'Use 1 to 9999'],
    [['--plugin', 'ptp'], 'DIR:TYPE'],
    [['--plugin', 'plugins:bridge'], 'DIR:TYPE'],
    [['--svg', 'missing/a.svg'], 'Create it, or name another one'],
  ])('refuses %j and says what to do', (args, hint) => {
    expect(() => parseOptions(args, cwd)).toThrow(OptionError)
    expect(() => parseOptions(args, cwd)).toThrow(hint)
  })

  it('explains every option', () => {
    for (const name of ['quick', 'rounds', 'only', 'plugin', 'svg']) expect(HELP).toContain(`--${name} `)
  })
})
