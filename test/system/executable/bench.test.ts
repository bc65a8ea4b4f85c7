import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { execa } from 'execa'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { CACHE } from '../../support/node/plugin.ts'
import { enterSandbox, links, NOTHING, residue } from '../../support/node/sandbox.ts'

/** The benchmark itself, in its smallest form. No time is judged: only that each is measured, and nothing is left. */
const BENCH = resolve(import.meta.dirname, '../../../scripts/bench/run')

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
    const { stdout } = await execa(BENCH, ['--quick', '--plugin', `${CACHE}/plugins:ptp`, 'plain'])
    expect(stdout).toMatch(/^reference: bridge and host-local v1\.\d+\.\d+, static/m)
    for (const one of ['ADD, plain', 'DEL, plain'])
      expect(contendersOf(stdout, one), one).toEqual(['reference', 'l3', 'l2', 'ptp'])
    expect(stdout).toMatch(/\d of 4 goals met$/)
    expect(before).toEqual(expect.arrayContaining(workDirectories()))
  })

  it('measures a store with leases, memory and traffic, and draws them', async () => {
    const drawing = `${CACHE}/drawing.svg`
    for (const [word, what] of [
      ['3,000', 'ADD, a /16 with 3,000 leases'],
      ['ADD, dual', 'private dirty, ADD, dual stack'],
      ['two hosts', 'one stream, pods of two hosts'],
    ] as const) {
      const { stdout } = await execa(BENCH, ['--quick', '--svg', drawing, word])
      expect(stdout).not.toMatch(/NaN| 0\.00 /)
      expect(readFileSync(drawing, 'utf8')).toContain(`>${what}<`)
      rmSync(drawing)
    }
  })

  it.each([
    [['--onyl', 'calls'], "Unknown option '--onyl'"],
    [['--plugin', 'plugins:ptp'], 'Use one like /opt/cni/bin:ptp'],
    [['--svg', 'missing/a.svg'], 'no such file or directory'],
  ])('refuses %j', async (words, text) => {
    const { exitCode, stderr } = await execa(BENCH, words, { reject: false })
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining(text)])
  })

  it('ends at once when it is told to, with all its processes and files', async () => {
    const before = workDirectories()
    const running = execa(BENCH, ['plain'], { reject: false })
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
