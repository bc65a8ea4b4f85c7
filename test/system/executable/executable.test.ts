import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { execaSync } from 'execa'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { cacheDirectory } from '../../../scripts/build/engine.ts'
import { makeExecutable } from '../../../scripts/build/executable.ts'
import { NATIVE } from '../../../scripts/build/targets.ts'
import { BOWLINE, pluginConfigOf, readConflist } from '../../support/node/plugin.ts'
import { createNetns, enterSandbox, type Netns, NOTHING, residue } from '../../support/node/sandbox.ts'

/* The one file: what it needs of a machine, and what it says when it is not what was built. */
const ROOT = resolve(import.meta.dirname, '../../..')
const work = mkdtempSync(join(tmpdir(), 'executable-'))
const VERSION = /^\{"cniVersion":"1\.1\.0","supportedVersions":\[.*\]\}$/

beforeAll(enterSandbox)
afterAll(() => rmSync(work, { recursive: true }))

/** Runs a shell command in which $0 is the executable. */
function shell(command: string, env: Record<string, string> = { CNI_COMMAND: 'VERSION' }, program = BOWLINE) {
  return execaSync('bash', ['-c', command, program], { env, reject: false, stdin: 'ignore', timeout: 20_000 })
}

describe('what the executable needs', () => {
  it.each([
    ['an address space of 256 MB', 'ulimit -v 262144; exec $0'],
    ['a stack of 256 kB', 'ulimit -s 256; exec $0'],
    ['no stderr', 'exec $0 2>&-'],
    ['no stdin', 'exec $0 <&-'],
    ['three file descriptors besides its own', 'ulimit -n 6; exec $0'],
  ])('is %s', (_, command) => {
    const { stdout, exitCode } = shell(command)
    expect([exitCode, VERSION.test(stdout)]).toEqual([0, true])
  })

  it('is a file without libraries, in a root where nothing else is', () => {
    const root = mkdtempSync(join(work, 'root-'))
    copyFileSync(BOWLINE, join(root, 'bowline'))
    const { stdout } = execaSync('chroot', [root, '/bowline'], {
      env: { CNI_COMMAND: 'VERSION' },
      extendEnv: true,
    })
    expect(stdout).toMatch(VERSION)
    expect(execaSync('ldd', [BOWLINE], { reject: false }).stderr).toContain('not a dynamic executable')
  })

  it('is no memory that can be written and executed, as MemoryDenyWriteExecute= forbids it', () => {
    const trace = join(work, 'trace')
    execaSync('strace', ['-f', '-qq', '-e', 'trace=mmap,mprotect,pkey_mprotect', '-o', trace, BOWLINE], {
      env: { CNI_COMMAND: 'VERSION' },
    })
    expect(readFileSync(trace, 'utf8')).not.toMatch(/PROT_EXEC/)
    const segments = execaSync('readelf', ['-lW', BOWLINE]).stdout
    expect(segments).not.toMatch(/RWE/)
  })

  it('is at most 2.6 MB', () => {
    expect(readFileSync(BOWLINE).length).toBeLessThanOrEqual(2_600_000)
  })
})

describe('a closed or full stdout', () => {
  let pod: Netns
  const config = JSON.stringify(pluginConfigOf(readConflist('10-bowline')))
  beforeAll(() => {
    pod = createNetns('pod')
    writeFileSync(join(work, 'config'), config)
  })

  const ADD = () => ({
    CNI_COMMAND: 'ADD',
    CNI_CONTAINERID: 'c1',
    CNI_IFNAME: 'eth0',
    CNI_NETNS: pod.path,
    CNI_PATH: '/none',
  })
  const add = (command: string, program = BOWLINE) =>
    shell(`C=${join(work, 'config')}; ${command}`, ADD(), program)

  it.each([
    ['on a full disk', 'exec $0 <$C >/dev/full', 'ENOSPC'],
    ['that is closed', 'exec $0 <$C >&-', 'EBADF'],
    ['that can only be read', 'exec $0 <$C 1</dev/null', 'EBADF'],
    ['that nobody reads any more', 'set -o pipefail; (sleep 0.2; exec $0 <$C) | true', 'EPIPE'],
    ['in a file that may not grow', 'ulimit -f 0; exec $0 <$C >$C.out', 'EFBIG'],
  ])('%s undoes an ADD, which says so on stderr', async (_, command, errno) => {
    const { exitCode, stderr } = add(command)
    expect(exitCode).toBe(1)
    expect(stderr).toContain(`bowline: write standard output: ${errno}`)
    expect(await residue()).toEqual(NOTHING)
  })

  it('frees the address that the IPAM plugin has taken', async () => {
    const ipam = join(work, 'bowline-ipam')
    symlinkSync(BOWLINE, ipam)
    expect(add('exec $0 <$C >/dev/full', ipam).exitCode).toBe(1)
    expect(await residue()).toEqual(NOTHING)
  })

  it('fails VERSION too', () => {
    expect(shell('exec $0 >/dev/full').exitCode).toBe(1)
  })
})

describe('an executable that is not as it was built', () => {
  function changed(change: (path: string) => void): ReturnType<typeof shell> {
    const path = join(mkdtempSync(join(work, 'changed-')), 'bowline')
    copyFileSync(BOWLINE, path)
    chmodSync(path, 0o755)
    change(path)
    return shell('exec $0', { CNI_COMMAND: 'VERSION' }, path)
  }

  it.each(['strip', 'objcopy'])('is not made by %s, which refuses it', (tool) => {
    const copy = join(work, `copy-${tool}`)
    copyFileSync(BOWLINE, copy)
    execaSync(tool, [copy], { reject: false })
    expect(readFileSync(copy).equals(readFileSync(BOWLINE))).toBe(true)
  })

  const SIZE = readFileSync(BOWLINE).length
  it.each([0.45, 0.6, 0.8, 0.95])('says so when it was cut off at %d of its length', (part) => {
    const { stdout, exitCode } = changed((path) => truncateSync(path, Math.floor(SIZE * part)))
    expect(exitCode).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ code: 999, msg: expect.stringContaining('damaged') })
  })

  it('says so when a range of its heap was overwritten', () => {
    const { stdout, exitCode } = changed((path) => {
      const bytes = readFileSync(path)
      bytes.fill(0x41, Math.floor(SIZE * 0.42), Math.floor(SIZE * 0.97))
      writeFileSync(path, bytes)
    })
    expect(exitCode).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ code: 999, msg: expect.stringContaining('damaged') })
  })

  it('has the heap of another build: it says so', () => {
    const { stdout, exitCode } = changed((path) => {
      const bytes = readFileSync(path)
      // The image begins with it, at the beginning of a page.
      const pages = Array.from({ length: Math.floor(SIZE / 4096) }, (_, i) => 4096 * i)
      const magic = pages.find((at) => bytes.toString('latin1', at, at + 8) === 'bowline\0') ?? 0
      bytes.writeBigUInt64LE(bytes.readBigUInt64LE(magic + 8) + 16n, magic + 8)
      writeFileSync(path, bytes)
    })
    expect(exitCode).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ code: 999, msg: expect.stringContaining('damaged') })
  })
})

describe('two builds', () => {
  it('can be equal on two machines: no path of this one is in them', () => {
    const bytes = readFileSync(BOWLINE)
    expect([cacheDirectory(), ROOT].filter((path) => bytes.includes(path))).toEqual([])
  })

  it('of the same sources, in other directories, give the same bytes', () => {
    const [one, two] = ['one', 'another-longer-name'].map((name) => {
      mkdirSync(join(work, name))
      return makeExecutable(NATIVE, `${ROOT}/`, join(work, name))
    })
    expect(Buffer.from(one ?? []).equals(Buffer.from(two ?? []))).toBe(true)
  })
})
