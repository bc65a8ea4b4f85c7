import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createFakeApiServer, type FakeApiServer } from '../../fakes/api_server.ts'
import { AGENT, type AgentProcess, startAgentProcess, writeAccount } from '../../support/node/agent.ts'
import { enterSandbox, runIn } from '../../support/node/sandbox.ts'
import { until } from '../../support/until.ts'

/* bowline-agent as it was built, with the real executable, on a node of its own and against a server that answers as the API does. */
const PORT = 19474
const work = mkdtempSync(join(tmpdir(), 'agent-'))
const conflist = join(work, 'net.d/10-bowline.conflist')

type Line = { readonly level: number; readonly msg: string; readonly hint?: string; readonly reason?: string }
let server: FakeApiServer
let child: AgentProcess
let lines: Line[]

beforeAll(() => {
  enterSandbox()
})
beforeEach(() => {
  server = createFakeApiServer()
  server.setNode('n1', { podCIDRs: ['10.7.0.0/24'] })
  writeAccount(work)
  lines = []
})
afterEach(async () => {
  child.kill()
  await child.exited
  await server.stop()
})
afterAll(() => rmSync(work, { recursive: true }))

function start(env: Record<string, string> = {}): void {
  child = startAgentProcess(server, work, env)
  void collect()
}

async function collect(): Promise<void> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of child.stdout) {
    const parts = (rest + decoder.decode(chunk)).split('\n')
    rest = parts.pop() ?? ''
    lines.push(...parts.map((line) => JSON.parse(line) as Line))
  }
}

const said = (text: string) => lines.find(({ msg }) => msg.includes(text))
const ask = (path: string, host = '127.0.0.1') => fetch(`http://${host}:${PORT}${path}`)

describe('bowline-agent', () => {
  it('installs, tells the scheduler, and answers on loopback', async () => {
    start()
    await until('the patch', () => server.patches.length === 1)
    expect(JSON.parse(readFileSync(conflist, 'utf8'))).toMatchObject({
      plugins: [{ ipam: { ranges: [[{ subnet: '10.7.0.0/24' }]] } }],
    })
    expect(await (await ask('/readyz')).text()).toBe('ready\n')
    expect(await (await ask('/metrics')).text()).toContain('bowline_agent_ready 1\n')
    await runIn(undefined, 'ip', 'address', 'add', '192.0.2.1/32', 'dev', 'lo')
    await expect(ask('/readyz', '192.0.2.1')).rejects.toThrow()
  })

  it.each([
    ['--help', 0, /^bowline-agent \d[\s\S]*bowline status/],
    ['--versio', 2, /unknown option "--versio"/],
  ])('does not start when a person tries %s', (word, exitCode, text) => {
    start()
    const { exitCode: code, stdout, stderr } = Bun.spawnSync([AGENT, word])
    expect([code, `${stdout}${stderr}`]).toEqual([exitCode, expect.stringMatching(text)])
  })

  /** Some 40 MiB more are pages of its program, as many as the page cache has at that time; all agents of a machine share them. */
  it('needs less than 12 MiB of its own', async () => {
    start()
    await until('the patch', () => server.patches.length === 1)
    const rollup = readFileSync(`/proc/${child.pid}/smaps_rollup`, 'utf8')
    expect(Number(/^Private_Dirty: +(\d+) kB/m.exec(rollup)?.[1])).toBeLessThan(12 << 10)
  })

  it('goes on with the token and the authority of after a rotation', async () => {
    start()
    await until('the patch', () => server.patches.length === 1)
    await server.stop()
    server.token = 'second'
    server.start('new')
    await until(
      'the refusal',
      () => said('SELF_SIGNED') !== undefined || lines.some(({ reason }) => reason === 'certificate'),
    )
    writeAccount(work, 'second', 'new')
    await until('a watch', () => server.watches() === 1)
    server.setNode('n1', { podCIDRs: ['10.8.0.0/24'] })
    await until('the new range', () => readFileSync(conflist, 'utf8').includes('10.8.0.0/24'))
    expect(child.exitCode).toBeNull()
  })

  it('goes on without its port, and says who could have it', async () => {
    const other = Bun.serve({ hostname: '127.0.0.1', port: PORT, fetch: () => new Response('mine') })
    try {
      start()
      await until('the patch', () => server.patches.length === 1)
      expect(said(`listen on 127.0.0.1:${PORT}`)?.hint).toContain('BOWLINE_AGENT_PORT')
    } finally {
      await other.stop(true)
    }
  })

  it('says how far the clocks are apart', async () => {
    server.skewMs = 3_600_000
    start()
    await until('the warning', () => said('clock') !== undefined)
    expect(said('clock')?.hint).toContain('NTP')
  })

  it('outlives an executable that cannot be run', async () => {
    start({ BOWLINE_PROGRAM: '/none' })
    await until(
      'a second attempt',
      () => lines.filter(({ msg }) => msg.includes('cannot be started')).length > 1,
    )
    expect(server.patches).toEqual([])
    expect((await ask('/livez')).status).toBe(200)
    expect((await ask('/readyz')).status).toBe(503)
  })

  it('removes nothing without the boot id of its node, says so, and goes on', async () => {
    start({ GC_INTERVAL_SECONDS: '1', BOWLINE_BOOT_ID_FILE: '/none' })
    const refusals = () => lines.filter(({ msg }) => msg.includes('could not look'))
    await until('a second attempt', () => refusals().length > 1)
    expect(refusals()[0]).toMatchObject({
      msg: expect.stringContaining('/none could not be read'),
      hint: 'Mount it as conf/bowline.yaml does.',
    })
    expect(await (await ask('/metrics')).text()).toContain('bowline_agent_gc_runs_total{result="failed"}')
  })

  it('ends when it is told to', async () => {
    start()
    await until('the patch', () => server.patches.length === 1)
    child.kill('SIGTERM')
    expect(await child.exited).toBe(0)
    expect(lines.at(-1)?.msg).toBe('bowline-agent ends; the plugin goes on without it')
  })
})
