import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { BOWLINE } from '../../support/node/plugin.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'

/* The log of the real executable. */
const work = mkdtempSync(join(tmpdir(), 'logs-'))
const logFile = join(work, 'bowline.log')
const LIMIT = 4 << 20
const [pod] = usePods('pod')
const config = (more: object = {}) => ({
  cniVersion: '1.1.0',
  name: 'lab',
  mode: 'l3',
  logFile,
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]] },
  ...more,
})
const ARGS = 'K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1'

afterAll(() => rmSync(work, { recursive: true }))

type Line = Record<string, string | number>

function lines(file = logFile): Line[] {
  return readFileSync(file, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Line)
}

it('has a line for each call, with the pod and the error', async () => {
  const { stdout } = await callFor(pod, 'ADD', config(), { args: ARGS })
  expect(stdout.trimEnd().split('\n')).toHaveLength(1)
  const again = await callFor(pod, 'ADD', config(), { args: ARGS })
  expect(lines().map(({ command, outcome, code }) => [command, outcome, code])).toEqual([
    ['ADD', 'ok', undefined],
    ['ADD', 'failed', 104],
  ])
  expect(lines()[1]).toMatchObject({
    level: 50,
    namespace: 'shop',
    pod: 'web-1',
    ifName: 'eth0',
    network: 'lab',
  })
  expect(Math.abs(Date.now() - Number(lines()[0]?.['time']))).toBeLessThan(60_000)
  expect(JSON.parse(again.stderr)).toEqual({ ...lines()[1], time: expect.any(Number) as number })
  rmSync(logFile)
})

it('tells of no STATUS unless it is asked to, and of each request to the kernel when it is', async () => {
  expectSuccess(await callFor(pod, 'STATUS', config()))
  expect(existsSync(logFile)).toBe(false)
  expectSuccess(await callFor(pod, 'STATUS', config({ logLevel: 'trace' })))
  const requests = lines().filter(({ level }) => level === 10)
  expect(requests.length).toBeGreaterThan(3)
  for (const { msg, ms } of requests)
    expect([typeof ms, msg]).toEqual(['number', expect.stringMatching(/^(host|kernel): \w/)])
  expect(lines().at(-1)).toMatchObject({ msg: 'STATUS ok', level: 20 })
  rmSync(logFile)
})

it('is renamed when it is long, and loses no line of calls in parallel', async () => {
  const filler = `${JSON.stringify({ filler: 'x'.repeat(1000) })}\n`
  writeFileSync(logFile, filler.repeat(Math.floor((LIMIT - 2000) / filler.length)), { mode: 0o600 })
  const before = lines().length
  await Promise.all(Array.from({ length: 24 }, () => callFor(pod, 'CHECK', config())))
  const [old, now] = [lines(`${logFile}.1`), lines()]
  expect(old.length).toBeGreaterThanOrEqual(before)
  expect([...old, ...now].filter(({ command }) => command === 'CHECK')).toHaveLength(24)
  for (const file of [logFile, `${logFile}.1`]) rmSync(file)
})

it.each([
  ['a directory that is missing', '/nowhere/at/all.log'],
  ['a directory', work],
])('that is %s stops no call', async (_, file) => {
  const { exitCode, stderr } = await callFor(pod, 'ADD', config({ logFile: file }))
  expect([exitCode, stderr]).toEqual([0, ''])
})

it('is followed, also when it is renamed', async () => {
  writeFileSync(logFile, '')
  mkdirSync('/etc/cni/net.d', { recursive: true })
  const child = Bun.spawn([BOWLINE, 'logs', '-f', '--json', '--file', logFile], { stdout: 'pipe' })
  try {
    const reader = child.stdout.getReader()
    const next = async () => new TextDecoder().decode((await reader.read()).value)
    appendFileSync(logFile, `{"n":1,"filler":"${'x'.repeat(100)}"}\n`)
    expect(await next()).toContain('"n":1')
    rmSync(logFile)
    writeFileSync(logFile, '{"n":2}\n')
    expect(await next()).toContain('"n":2')
  } finally {
    child.kill()
  }
})
