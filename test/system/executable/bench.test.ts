import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { CACHE } from '../../support/node/plugin.ts'
import { enterSandbox, links, NOTHING, residue } from '../../support/node/sandbox.ts'

/** The benchmark itself, in its smallest form. No time is judged: only that each is measured, and nothing is left. */
const BENCH = resolve(import.meta.dirname, '../../../scripts/bench/run')
const SMALL = ['--only', 'calls', '--rounds', '1', '--plugin', `${CACHE}/plugins:ptp`]
const CASES = [
  'VERSION, the start',
  ...['plain', 'ipMasq', 'dual stack + ipMasq'].flatMap((one) => [`ADD, ${one}`, `DEL, ${one}`]),
]

function workDirectories(): string[] {
  return readdirSync(CACHE).filter((name) => name.startsWith('bench'))
}

/** Processes of this process namespace that run the benchmark. */
function benchProcesses(): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => commandOf(pid).includes('scripts/bench/bench.ts'))
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

/** The names of the contenders below a heading of the table. */
function contendersOf(table: string, heading: string): string[] {
  const lines = table.split('\n')
  const start = lines.findIndex((line) => line.startsWith(heading))
  const rest = lines.slice(start + 1)
  const end = rest.findIndex((line) => !line.startsWith(' '))
  return [lines[start]?.slice(heading.length) ?? '', ...rest.slice(0, end)].map(
    (line) => /^\s*(\S.*?)\s+[\d.,]+ ms/.exec(line)?.[1] ?? line,
  )
}

beforeAll(() => enterSandbox())

afterEach(async () => {
  expect(await residue()).toEqual(NOTHING)
  expect((await links()).map(({ ifname }) => ifname)).toEqual(['lo'])
})

describe('the benchmark', () => {
  it('measures each call of ours and of the reference, says what the machine is, and leaves nothing', async () => {
    const before = workDirectories()
    const { stdout } = await execa(BENCH, SMALL)
    expect(stdout).toMatch(/^reference: bridge and host-local v1\.\d+\.\d+, static/m)
    for (const one of CASES) expect(contendersOf(stdout, one), one).toEqual(['reference', 'l3', 'l2', 'ptp'])
    expect(stdout).toMatch(/\d+ of 14 goals met$/)
    expect(before).toEqual(expect.arrayContaining(workDirectories()))
  })

  it('measures leases, footprint and traffic, and draws them', async () => {
    const drawing = `${CACHE}/drawing.svg`
    const rest = ['--only', 'leases,footprint,traffic', '--quick', '--rounds', '1', '--svg', drawing]
    const { stdout } = await execa(BENCH, rest)
    for (const what of ['ADD, with leases', 'ADD, the first', 'private dirty', 'round trips', 'one stream'])
      expect(stdout).toContain(`\n${what}`)
    expect(readFileSync(drawing, 'utf8')).toContain('>round trips, pods of one node<')
    rmSync(drawing)
  })

  it('ends at once when it is told to, with all its processes and files', async () => {
    const before = workDirectories()
    const running = execa(BENCH, [...SMALL, '--rounds', '20'], { reject: false })
    await new Promise<void>((told) => {
      running.stderr.on('data', (bytes: Buffer) => bytes.toString().includes('plain') && told())
    })
    // Not SIGINT, though it is treated the same: below a shell's background job, as here, it is ignored.
    running.kill('SIGTERM')
    expect((await running).exitCode).toBe(130)
    for (let looks = 0; looks < 100 && benchProcesses().length > 0; looks++) await sleep(20)
    expect(benchProcesses()).toEqual([])
    expect(before).toEqual(expect.arrayContaining(workDirectories()))
  })
})
