import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { HELP, OptionError, PARTS, parseOptions } from '../../scripts/bench/options.ts'
import { fillIn } from '../../scripts/bench/subjects.ts'

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

  it('takes other plugins, with keys in which colons may be', () => {
    const args = ['--plugin', 'plugins:ptp', '--plugin', `${cwd}/plugins:ptp:{"mtu":1400,"a":"b:c"}`]
    expect(parseOptions(args, cwd).plugins).toEqual([
      { directory: join(cwd, 'plugins'), type: 'ptp', keys: {} },
      { directory: join(cwd, 'plugins'), type: 'ptp', keys: { mtu: 1400, a: 'b:c' } },
    ])
  })

  it.each([
    [['--onyl', 'calls'], '--help'],
    [['--only', 'call'], 'Use calls, burst, leases, footprint, traffic'],
    [['--rounds', '0'], 'Use 1 to 9999'],
    [['--rounds', '1e3'], 'Use 1 to 9999'],
    [['--plugin', 'ptp'], 'DIR:TYPE'],
    [['--plugin', 'plugins:bridge'], 'Give the directory that the plugin is in'],
    [['--plugin', 'plugins:ptp:[1]'], 'is no JSON object'],
    [['--plugin', 'plugins:ptp:{mtu:1}'], 'Quote it'],
    [['--svg', 'missing/a.svg'], 'Make it, or name another one'],
  ])('refuses %j and says what to do', (args, hint) => {
    expect(() => parseOptions(args, cwd)).toThrow(OptionError)
    expect(() => parseOptions(args, cwd)).toThrow(hint)
  })

  it('explains every option', () => {
    for (const name of ['quick', 'rounds', 'only', 'plugin', 'svg']) expect(HELP).toContain(`--${name} `)
  })
})

describe('the keys of another plugin', () => {
  const keys = { ranges: ['{subnet4}', '{subnet6}'], deep: { masq: '{masquerade}' }, mtu: 1400 }

  it('get the subnets of what is measured', () => {
    const shape = { masquerade: true, subnet4: '10.1.0.0/24', subnet6: 'fd00::/64' }
    expect(fillIn(keys, shape)).toEqual({
      ranges: ['10.1.0.0/24', 'fd00::/64'],
      deep: { masq: true },
      mtu: 1400,
    })
  })

  it('have no entry for IPv6 where there is none', () => {
    expect(fillIn(keys, { masquerade: false, subnet4: '10.1.0.0/24' })).toEqual({
      ranges: ['10.1.0.0/24'],
      deep: { masq: false },
      mtu: 1400,
    })
  })
})
