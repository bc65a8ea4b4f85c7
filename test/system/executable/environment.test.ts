import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { execaSync } from 'execa'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { BOWLINE, runPlugin } from '../../support/node/plugin.ts'
import { createNetns, enterSandbox, type Netns } from '../../support/node/sandbox.ts'

/*
 * Nothing of its surroundings makes the executable do something else than its own code: it reads no file of its own accord, it has no
 * dynamic linker that could be told to load one, and of the environment only the variables of the protocol.
 */
const VERSION = { cniVersion: '1.1.0', supportedVersions: expect.arrayContaining(['1.1.0']) }

let directory: string

beforeAll(enterSandbox)
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'bowline-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

describe('a variable that other programs take orders from', () => {
  it.each([
    ['LD_PRELOAD', '/none/such.so'],
    ['LD_LIBRARY_PATH', '/none'],
    ['GLIBC_TUNABLES', 'glibc.malloc.check=3'],
    ['MALLOC_PERTURB_', '165'],
    ['LD_SHOW_AUXV', '1'],
    ['QUICKJS_OPTIONS', '--eval throw'],
    ['LANG', 'tr_TR.UTF-8'],
    ['TZ', '/dev/zero'],
    ['__proto__', 'x'],
  ])('%s changes nothing', (name, value) => {
    const options = {
      cwd: directory,
      env: { CNI_COMMAND: 'VERSION', [name]: value },
      extendEnv: false,
    } as const
    const { stdout, stderr } = execaSync(BOWLINE, options)
    expect(JSON.parse(stdout)).toEqual(VERSION)
    expect(stderr).toBe('')
  })
})

describe('a file', () => {
  it('is not opened by a call that needs none', () => {
    const trace = join(directory, 'trace')
    const env = { CNI_COMMAND: 'VERSION' }
    execaSync('strace', ['-qq', '-e', 'trace=open,openat,openat2', '-o', trace, BOWLINE], {
      cwd: directory,
      env,
    })
    expect(readFileSync(trace, 'utf8')).toBe('')
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
      OPTIONS: '--preload x',
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
