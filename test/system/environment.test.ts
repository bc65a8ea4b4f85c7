import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { execa } from 'execa'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { BOWLINE, runPlugin } from '../support/plugin.ts'
import { createNetns, enterSandbox, type Netns } from '../support/sandbox.ts'

/*
 * What of its surroundings can make the executable do something else than its own code. The runtime reads variables and
 * files of its own; those that run other code, or stop ours, are taken away when we build. Left is what every dynamically linked
 * program trusts (LD_PRELOAD and the like), and the tuning of the engine (BUN_JSC_…), which can stop it but run nothing.
 */

const BUN = resolve(import.meta.dirname, '../../node_modules/.bin/bun')
const VERSION = { cniVersion: '1.1.0', supportedVersions: expect.arrayContaining(['1.1.0']) }

let directory: string
let evidence: string

beforeAll(enterSandbox)
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bowline-'))
  evidence = join(directory, 'evidence')
  const script = `require('node:fs').writeFileSync(${JSON.stringify(evidence)}, 'ran')`
  writeFileSync(join(directory, 'evil.js'), script)
  writeFileSync(join(directory, 'bunfig.toml'), `preload = [${JSON.stringify(join(directory, 'evil.js'))}]`)
})
afterEach(() => rmSync(directory, { recursive: true }))

/** Runs a program where the hostile files are, with these variables and no others. */
async function runThere(program: string, env: Record<string, string>, ...args: string[]) {
  const options = {
    cwd: directory,
    env,
    extendEnv: false,
    input: '',
    reject: false,
    timeout: 10_000,
  } as const
  return execa(program, args, options)
}

describe('a variable that the runtime takes orders from', () => {
  const orders: [string, () => string][] = [
    ['BUN_OPTIONS', () => `--preload ${directory}/evil.js`],
    ['BUN_OPTIONS', () => `--config=${directory}/bunfig.toml`],
    ['BUN_OPTIONS', () => '--version'],
    ['BUN_BE_BUN', () => '1'],
    ['BUN_INSPECT', () => 'ws://127.0.0.1:0/?wait=1'],
    ['BUN_INSPECT_CONNECT_TO', () => `${directory}/debugger`],
    ['BUN_INSPECT_PRELOAD', () => `${directory}/evil.js`],
    ['NODE_OPTIONS', () => `--require ${directory}/evil.js`],
    ['NODE_PATH', () => directory],
  ]

  it.each(orders)('%s does not keep the plugin from its own work', async (name, value) => {
    const { stdout, exitCode } = await runThere(BOWLINE, { CNI_COMMAND: 'VERSION', [name]: value() })
    expect(JSON.parse(stdout)).toEqual(VERSION)
    expect([exitCode, existsSync(evidence)]).toEqual([0, false])
  })

  it('would do so in a runtime as it comes', async () => {
    await runThere(BUN, { BUN_OPTIONS: `--preload ${directory}/evil.js` }, '-e', '0')
    expect(readFileSync(evidence, 'utf8')).toBe('ran')
  })

  it('BUN_JSC_useJIT=0 stops the plugin before it has begun, and it says so', async () => {
    const { exitCode, stdout, stderr } = await runThere(BOWLINE, {
      CNI_COMMAND: 'VERSION',
      BUN_JSC_useJIT: '0',
    })
    expect([exitCode, stdout]).toEqual([1, ''])
    expect(stderr).toContain('JIT')
  })
})

describe('a file in the directory that the runtime was started in', () => {
  it.each<[string, () => string]>([
    ['bunfig.toml', () => `preload = ["./evil.js"]\n[run]\npreload = ["./evil.js"]`],
    ['.env', () => `CNI_COMMAND=VERSION\nBUN_OPTIONS=--preload ./evil.js`],
    [
      'package.json',
      () => '{"type":"commonjs","imports":{"#*":"./evil.js"},"scripts":{"bowline":"./evil.js"}}',
    ],
    [
      'tsconfig.json',
      () => `{"compilerOptions":{"paths":{"bun:ffi":["${directory}/evil.js"],"*":["./evil.js"]}}}`,
    ],
  ])('%s is not read', async (name, text) => {
    writeFileSync(join(directory, name), text())
    const called = await runThere(BOWLINE, { CNI_COMMAND: 'VERSION' })
    expect(JSON.parse(called.stdout)).toEqual(VERSION)
    const uncalled = await runThere(BOWLINE, {})
    expect(uncalled.stderr + uncalled.stdout).toContain('bowline is a CNI plugin')
    expect(existsSync(evidence)).toBe(false)
  })
})

describe('a plugin that we delegate to', () => {
  let pod: Netns
  beforeAll(() => {
    pod = createNetns('pod')
  })

  it('gets the environment as it came, but for the command, and the configuration to the byte', async () => {
    const seen = join(directory, 'seen')
    mkdirSync(seen)
    writeFileSync(
      join(directory, 'nosy'),
      `#!/bin/sh\ncat /proc/$$/environ >${seen}/env.$CNI_COMMAND; cat >${seen}/stdin.$CNI_COMMAND\nexit 1\n`,
    )
    chmodSync(join(directory, 'nosy'), 0o755)
    const config = ` {"cniVersion":"1.1.0", "name":"net","type":"bowline","mode":"l3","ipam":{"type":"nosy"},"é":1e3}\n`
    const odd = {
      BUN_OPTIONS: '--preload x',
      LD_SOMETHING: 'a  b',
      'A.B': "q'uote$(x)",
      EMPTY: '',
      LANG: 'é',
    }
    await runPlugin({
      command: 'ADD',
      config,
      containerId: 'c1',
      netns: pod.path,
      cniPath: directory,
      env: odd,
    })
    const env = (command: string) =>
      readFileSync(join(seen, `env.${command}`), 'utf8')
        .split('\0')
        .filter(Boolean)
    for (const command of ['ADD', 'DEL']) {
      const wanted = { ...odd, CNI_COMMAND: command, CNI_CONTAINERID: 'c1', CNI_IFNAME: 'eth0', CNI_ARGS: '' }
      const given = { ...wanted, CNI_NETNS: pod.path, CNI_PATH: directory, PATH: process.env['PATH'] }
      expect(env(command).toSorted()).toEqual(
        Object.entries(given)
          .map((pair) => pair.join('='))
          .toSorted(),
      )
      expect(readFileSync(join(seen, `stdin.${command}`), 'utf8')).toBe(config)
    }
  })
})
