import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { buildVersion } from '../../support/node/other_version.ts'
import { BOWLINE, pluginConfigOf, readConflist, runPlugin } from '../../support/node/plugin.ts'
import {
  clearNode,
  createNetns,
  createOutside,
  enterSandbox,
  type Netns,
  NOTHING,
  residue,
} from '../../support/node/sandbox.ts'

/* The command install of the real executable, while a runtime calls what it replaces. */
const REPLACEMENTS = 100
const PODS = 4
const SHIPPED = readConflist('10-bowline')
const CONFIG = pluginConfigOf(SHIPPED, { cniVersion: '1.1.0' })

const work = mkdtempSync(join(tmpdir(), 'install-'))
const [binDir, confDir, conf] = [join(work, 'bin'), join(work, 'net.d'), join(work, 'my.conflist')]
const program = join(binDir, 'bowline')
/** Two versions of the executable. */
const versions = [BOWLINE, join(work, 'other')] as const
let pods: Netns[]

beforeAll(() => {
  enterSandbox()
  createOutside()
  writeFileSync(versions[1], buildVersion('9.9.9', work), { mode: 0o755 })
  pods = Array.from({ length: PODS }, (_, i) => createNetns(`pod${i}`))
})
beforeEach(async () => {
  await clearNode()
  for (const directory of [binDir, confDir]) rmSync(directory, { recursive: true, force: true })
  writeFileSync(conf, JSON.stringify(SHIPPED))
})
afterAll(() => rmSync(work, { recursive: true }))

type Printed = { exitCode: number; json: Record<string, unknown> }

function install(executable: string, prefix: readonly string[] = []): Promise<Printed> {
  return runCommand(executable, 'install', prefix)
}

async function runCommand(
  executable: string,
  command: string,
  prefix: readonly string[] = [],
): Promise<Printed> {
  const flags = ['--json', '--bin-dir', binDir, '--conf-dir', confDir, '--conf', conf]
  const child = Bun.spawn([...prefix, executable, command, ...flags], {
    stdout: 'pipe',
    stderr: 'inherit',
    env: { PATH: process.env['PATH'] },
  })
  const [text, exitCode] = await Promise.all([new Response(child.stdout).text(), child.exited])
  return { exitCode, json: JSON.parse(text) as Record<string, unknown> }
}

function installed(executable: string): boolean {
  return readFileSync(program).equals(readFileSync(executable))
}

const filesIn = (directory: string) => readdirSync(directory).sort()

describe('install', () => {
  it('keeps a link to a conflist that says the same, and refuses to replace one that does not', async () => {
    const [file, target] = [join(confDir, '10-bowline.conflist'), join(work, 'managed.conflist')]
    mkdirSync(confDir)
    symlinkSync(target, file)
    writeFileSync(target, JSON.stringify(SHIPPED))
    expect(await install(BOWLINE)).toMatchObject({ exitCode: 0, json: { conflist: 'unchanged' } })
    writeFileSync(target, JSON.stringify({ ...SHIPPED, disableCheck: true }))
    expect(await install(BOWLINE)).toMatchObject({
      exitCode: 1,
      json: { error: { message: `${file} is a symbolic link, and what it leads to does not say the same` } },
    })
    expect([readlinkSync(file), JSON.parse(readFileSync(target, 'utf8'))]).toEqual([
      target,
      { ...SHIPPED, disableCheck: true },
    ])
  })

  it('makes three files, from which a pod gets its network', async () => {
    expect(await install(BOWLINE)).toMatchObject({
      exitCode: 0,
      json: { program: 'installed', conflist: 'installed' },
    })
    expect([filesIn(binDir), filesIn(confDir)]).toEqual([
      ['bowline', 'bowline-ipam'],
      ['10-bowline.conflist'],
    ])
    expect([installed(BOWLINE), readlinkSync(join(binDir, 'bowline-ipam'))]).toEqual([true, 'bowline'])
    for (const command of ['ADD', 'DEL'] as const)
      expect(
        await runPlugin({ command, config: CONFIG, program, containerId: 'a', netns: pods[0]?.path ?? '' }),
      ).toMatchObject({ exitCode: 0 })
    expect(await install(BOWLINE)).toMatchObject({ json: { program: 'unchanged', conflist: 'unchanged' } })
  })

  it('is undone by uninstall, but not while a pod is attached', async () => {
    await install(BOWLINE)
    const call = (command: 'ADD' | 'DEL') =>
      runPlugin({ command, config: CONFIG, program, containerId: 'a', netns: pods[0]?.path ?? '' })
    await call('ADD')
    expect(await runCommand(BOWLINE, 'uninstall')).toMatchObject({
      exitCode: 1,
      json: { error: { message: expect.stringContaining(': 1') } },
    })
    expect(installed(BOWLINE)).toBe(true)
    await call('DEL')
    expect(await runCommand(program, 'uninstall')).toMatchObject({
      exitCode: 0,
      json: { program: 'removed', conflist: 'removed' },
    })
    expect([filesIn(binDir), filesIn(confDir)]).toEqual([[], []])
  })

  it(`replaces the program ${REPLACEMENTS} times under ADDs and DELs, none of which fails`, async () => {
    await install(BOWLINE)
    let isOver = false
    let calls = 0
    const faults: string[] = []
    const call = async (command: 'ADD' | 'DEL', pod: Netns) => {
      const answer = await runPlugin({
        command,
        config: CONFIG,
        program,
        containerId: pod.name,
        netns: pod.path,
      })
      calls++
      if (answer.exitCode !== 0) faults.push(`${command}: ${answer.stdout}${answer.stderr}`)
    }
    const runtime = Promise.all(
      pods.map(async (pod) => {
        while (!isOver) for (const command of ['ADD', 'DEL'] as const) await call(command, pod)
      }),
    )
    const outcomes: unknown[] = []
    for (let i = 1; i <= REPLACEMENTS; i++)
      outcomes.push((await install(versions[i % 2] as string)).json['program'])
    isOver = true
    await runtime
    expect(faults).toEqual([])
    expect(calls).toBeGreaterThan(REPLACEMENTS)
    expect(outcomes).toEqual(Array.from({ length: REPLACEMENTS }, () => 'installed'))
    expect(await residue()).toEqual(NOTHING)
    expect(filesIn(binDir)).toEqual(['bowline', 'bowline-ipam'])
  })

  it('by many at once leaves one of them, whole', async () => {
    const outcomes = await Promise.all(
      Array.from({ length: 10 }, (_, i) => install(versions[i % 2] as string)),
    )
    expect(outcomes.flatMap(({ json }) => json['error'] ?? [])).toEqual([])
    expect(versions.filter(installed)).toHaveLength(1)
    expect(readConflistFile()).toEqual(SHIPPED)
    expect(filesIn(binDir)).toEqual(['bowline', 'bowline-ipam'])
  })

  it('can be run from the place where it is installed', async () => {
    mkdirSync(binDir)
    copyFileSync(BOWLINE, program)
    expect(await install(program)).toMatchObject({ exitCode: 0, json: { program: 'installed' } })
    expect(await install(program)).toMatchObject({ exitCode: 0, json: { program: 'unchanged' } })
  })

  it('refuses a subnet that the node reaches in another way, and touches nothing', async () => {
    const [plugin] = SHIPPED.plugins
    const ipam = { type: 'bowline-ipam', ranges: [[{ subnet: '192.0.2.0/24' }]] }
    writeFileSync(conf, JSON.stringify({ ...SHIPPED, plugins: [{ ...plugin, ipam }] }))
    const { exitCode, json } = await install(BOWLINE)
    expect([exitCode, json]).toEqual([
      1,
      { error: { code: 50, hint: expect.any(String), message: expect.stringContaining('192.0.2.') } },
    ])
    expect(() => readdirSync(binDir)).toThrow('ENOENT')
  })

  it('in a container with a read-only /proc/sys does not doubt what the runtime can write', async () => {
    const off =
      'echo 0 >/proc/sys/net/ipv4/ip_forward; mount --bind /proc/sys /proc/sys; mount -o remount,bind,ro /proc/sys'
    const container = ['unshare', '-m', 'sh', '-c', `${off}; exec "$@"`, 'sh']
    expect(await install(BOWLINE, container)).toMatchObject({ exitCode: 0 })
  })
})

function readConflistFile(): unknown {
  return JSON.parse(readFileSync(join(confDir, '10-bowline.conflist'), 'utf8'))
}
