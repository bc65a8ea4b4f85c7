import {
  chmodSync,
  chownSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Code } from '../../../src/core/errors.ts'
import type { Files } from '../../../src/core/files.ts'
import { createLinuxFiles } from '../../../src/kernel/linux/files.ts'
import { faultOf } from '../../support/fault_of.ts'
import { BOWLINE, runPlugin } from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import {
  createNetns,
  enterSandbox,
  filesBelow,
  type Netns,
  NOTHING,
  residue,
} from '../../support/node/sandbox.ts'

/*
 * Somebody has put things where we keep our state: links to files of the system, FIFOs, directories, files of other
 * users. First the adapter alone, then the plugin: nothing outside is read, written or waited for.
 */

const NOBODY = 65534
const MODES = [{ anonymous: true }, { anonymous: false }]
const bytes = (text: string) => new TextEncoder().encode(text)
const errnoOf = (work: () => unknown) => faultOf(work).errno
const files: Files = createLinuxFiles()

let root: string

beforeAll(enterSandbox)
beforeEach(() => {
  root = mkdtempSync(`${tmpdir()}/bowline-`)
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

describe('what somebody planted, to the files port', () => {
  it('behind a symbolic link is neither read nor written', () => {
    writeFileSync(`${root}/secret`, 'secret')
    symlinkSync(`${root}/secret`, `${root}/link`)
    expect(errnoOf(() => files.read(`${root}/link`))).toBe('ELOOP')
    expect(errnoOf(() => files.writeAt(`${root}/link`, 0, bytes('x')))).toBe('ELOOP')
    files.replace(`${root}/link`, 'ours')
    expect(readFileSync(`${root}/secret`, 'utf8')).toBe('secret')
    expect(files.read(`${root}/link`)).toBe('ours')
  })

  it('as a FIFO is refused at once instead of waited for', () => {
    run(`mkfifo ${root}/fifo`)
    expect(errnoOf(() => files.read(`${root}/fifo`))).toBe('EINVAL')
    expect(errnoOf(() => files.writeAt(`${root}/fifo`, 0, bytes('x')))).toBe('ENXIO')
    expect(errnoOf(() => files.lock(`${root}/fifo`, 0))).toBe('EINVAL')
  })

  it('as a file of another user is refused, and says whose it is', () => {
    writeFileSync(`${root}/file`, 'theirs')
    chownSync(`${root}/file`, NOBODY, NOBODY)
    const attempts = [
      () => files.read(`${root}/file`),
      () => files.writeAt(`${root}/file`, 0, bytes('x')),
      () => files.lock(`${root}/file`, 0),
    ]
    for (const attempt of attempts) {
      expect(faultOf(attempt)).toMatchObject({ errno: 'EPERM', code: Code.io })
      expect(faultOf(attempt).message).toContain(`${root}/file: it belongs to user ${NOBODY}`)
    }
    expect(readFileSync(`${root}/file`, 'utf8')).toBe('theirs')
  })

  it('as a second name of a file is not written, but can be replaced and removed', () => {
    writeFileSync(`${root}/secret`, 'secret')
    linkSync(`${root}/secret`, `${root}/file`)
    expect(errnoOf(() => files.writeAt(`${root}/file`, 0, bytes('x')))).toBe('EMLINK')
    files.replace(`${root}/file`, 'ours')
    files.writeAt(`${root}/file`, 0, bytes('O'))
    expect([files.read(`${root}/file`), files.read(`${root}/secret`)]).toEqual(['Ours', 'secret'])
    linkSync(`${root}/secret`, `${root}/other`)
    expect(files.remove(`${root}/other`)).toBe(true)
    expect(readFileSync(`${root}/secret`, 'utf8')).toBe('secret')
  })

  it.each([
    ['belongs to another user', () => chownSync(root, NOBODY, NOBODY), `belongs to user ${NOBODY}`],
    ['every user may write', () => chmodSync(root, 0o757), 'can be written by every user'],
    [
      'a group may write',
      () => {
        chownSync(root, 0, NOBODY)
        chmodSync(root, 0o770)
      },
      `can be written by group ${NOBODY}`,
    ],
  ])('in a directory that %s is nothing that we would work with', (_, spoil, why) => {
    spoil()
    const fault = faultOf(() => files.lock(`${root}/lock`, 0))
    expect(fault).toMatchObject({ errno: 'EPERM', code: Code.io })
    expect(fault.message).toBe(`lock below ${root}: the directory ${why}`)
    expect(fault.hint).toContain(`chmod go-w ${root}`)
  })

  it.each([0o700, 0o755, 0o775])('in a directory of root with mode %o is ours', (mode) => {
    chmodSync(root, mode)
    expect(() => files.lock(`${root}/lock`, 0).release()).not.toThrow()
  })

  it('as a FIFO, a device or a file of a gigabyte in the place of a file of the system is refused at once', () => {
    run(`mkfifo ${root}/fifo; mknod ${root}/zero c 1 5; truncate -s 1G ${root}/large`)
    expect(errnoOf(() => files.readForeign(`${root}/fifo`))).toBe('EINVAL')
    expect(errnoOf(() => files.readForeign(`${root}/zero`))).toBe('EINVAL')
    expect(errnoOf(() => files.readForeign(`${root}/large`))).toBe('EFBIG')
  })

  it('as a file of the system that another user owns is read', () => {
    writeFileSync(`${root}/file`, 'theirs')
    chownSync(`${root}/file`, NOBODY, NOBODY)
    symlinkSync(`${root}/file`, `${root}/link`)
    expect(files.readForeign(`${root}/link`)).toBe('theirs')
  })

  it('as a link in the place of a directory is refused', () => {
    mkdirSync(`${root}/elsewhere`)
    symlinkSync(`${root}/elsewhere`, `${root}/link`)
    expect(errnoOf(() => files.ensureDirectory(`${root}/link`))).toBe('ENOTDIR')
    expect(errnoOf(() => files.list(`${root}/link`))).toBe('ENOTDIR')
  })

  it('as a link further up is followed, for there it is the choice of the administrator', () => {
    mkdirSync(`${root}/elsewhere`)
    symlinkSync(`${root}/elsewhere`, `${root}/link`)
    for (const { anonymous } of MODES)
      createLinuxFiles({ anonymous }).create(`${root}/link/${anonymous}`, 'text')
    files.ensureDirectory(`${root}/link/a/b`)
    expect(readdirSync(`${root}/elsewhere`).sort()).toEqual(['a', 'false', 'true'])
  })

  it('as a path that libc would cut short is refused', () => {
    expect(errnoOf(() => files.read(`${root}/a\0b`))).toBe('EINVAL')
    expect(errnoOf(() => files.create('relative', ''))).toBe('EINVAL')
  })
})

const STATE = '/var/lib/cni'
/** A file of the system, on the file system of the state. */
const SECRET = '/var/lib/secret'
const TEXT = 'the secret of the system'
const RECORDS = `${STATE}/bowline/net`
const LEASES = `${STATE}/networks/net`
const ORDER = `${STATE}/networks/.bowline/net`
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bowline',
  mode: 'l3',
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/29' }]] },
}

/** What is put in the place of a file. */
const PLANTS: Record<string, (path: string) => void> = {
  'a link to a file': (path) => symlinkSync(SECRET, path),
  'a link to nowhere': (path) => symlinkSync('/nowhere/at/all', path),
  'a link to a directory': (path) => symlinkSync('/etc', path),
  'a second name of a file': (path) => linkSync(SECRET, path),
  'a FIFO': (path) => void run(`mkfifo ${path}`),
  'a device': (path) => void run(`mknod ${path} c 1 5`),
  'a directory': (path) => mkdirSync(path),
  'a file of another user': (path) => {
    writeFileSync(path, 'c1\r\neth0')
    chownSync(path, NOBODY, NOBODY)
  },
  'a file of a gigabyte that is all holes': (path) => void run(`truncate -s 1G ${path}`),
}

describe('what somebody planted, to the plugin', () => {
  let pod: Netns
  const call = (command: 'ADD' | 'DEL' | 'GC', more: object = {}) =>
    runPlugin({
      command,
      config: { ...CONFIG, ...more },
      containerId: 'c1',
      netns: pod.path,
      timeoutMs: 20_000,
    })

  beforeAll(() => {
    pod = createNetns('planted')
  })
  beforeEach(async () => {
    run(
      `rm -rf ${STATE}; mkdir -p ${STATE}; ip -n planted link show eth0 && ip -n planted link del eth0 || true`,
    )
    // Makes all that an attachment needs, and the key of its record known.
    await call('ADD')
    writeFileSync(SECRET, TEXT)
  })

  const places: [string, () => string][] = [
    ['the record', () => `${RECORDS}/${filesBelow(RECORDS)[0]}`],
    ['the lease', () => `${LEASES}/10.1.0.2`],
    ['the lock of the pool', () => `${LEASES}/lock`],
    [
      'the lock of the attachment',
      () => `${STATE}/bowline/.locks/${filesBelow(`${STATE}/bowline/.locks`)[0]}`,
    ],
    ['the order', () => `${ORDER}/order`],
    ['the cursor', () => `${LEASES}/last_reserved_ip.0`],
    ['a temporary name', () => `${LEASES}/.bowline-tmp.last_reserved_ip.0`],
  ]
  const matrix = places.flatMap(([place, path]) =>
    Object.entries(PLANTS).map(([what, plant]) => ({ place, path, what, plant })),
  )

  it.each(matrix)(
    'as $what in the place of $place hangs nothing and reaches nothing',
    async ({ path, plant }) => {
      const place = path()
      rmSync(place, { force: true })
      plant(place)
      const outcomes = [await call('DEL'), await call('GC', VALID_NONE), await call('ADD')]
      for (const { exitCode, signal, output } of outcomes) {
        expect(signal).toBeUndefined()
        if (exitCode !== 0)
          expect(output).toMatchObject({ code: expect.any(Number), msg: expect.any(String) })
        expect(output.code).not.toBe(999)
        expect(JSON.stringify(output)).not.toContain(TEXT)
      }
      expect(readFileSync(SECRET, 'utf8')).toBe(TEXT)
      run(`rm -rf ${place}`)
      expect(await call('DEL')).toMatchObject({ exitCode: 0 })
      expect(await residue()).toEqual(NOTHING)
      expect(await call('ADD')).toMatchObject({ exitCode: 0 })
    },
  )
})

const VALID_NONE = { 'cni.dev/valid-attachments': [] }

describe('what we make ourselves', () => {
  it.each(['000', '022', '077'])(
    'is for its owner only under umask %s, but for the directory of the leases',
    async (umask) => {
      const pod = createNetns(`umask${umask}`)
      run(`rm -rf ${STATE}; mkdir -p ${STATE}`)
      const program = `${root}/bowline`
      writeFileSync(program, `#!/bin/sh\numask ${umask}\nexec ${BOWLINE}\n`, { mode: 0o755 })
      for (const command of ['ADD', 'STATUS'] as const) {
        const answer = await runPlugin({
          command,
          config: CONFIG,
          containerId: pod.name,
          netns: pod.path,
          program,
        })
        expect(answer).toMatchObject({ exitCode: 0 })
      }
      const modes = run(`cd ${STATE}; find . -mindepth 1 -printf '%y %m %P\\n' | sort`).split('\n')
      const isRight = (line: string) => /^(f 600|d 700) |^d 755 networks(\/net)?$/.test(line)
      expect(modes.filter((line) => !isRight(line))).toEqual([])
      expect(modes.length).toBeGreaterThan(8)
    },
  )
})

describe('a file of the system that the configuration names', () => {
  it('is read though another user owns it and a link leads there, as with systemd-resolved', async () => {
    const pod = createNetns('resolver')
    mkdirSync(`${root}/run`)
    writeFileSync(`${root}/run/stub-resolv.conf`, 'nameserver 127.0.0.53\nsearch example.org\n')
    chownSync(`${root}/run/stub-resolv.conf`, NOBODY, NOBODY)
    symlinkSync('run/stub-resolv.conf', `${root}/resolv.conf`)
    const config = { ...CONFIG, ipam: { ...CONFIG.ipam, resolvConf: `${root}/resolv.conf` } }
    const { output } = await runPlugin({ command: 'ADD', config, containerId: pod.name, netns: pod.path })
    expect(output.dns).toEqual({ nameservers: ['127.0.0.53'], search: ['example.org'] })
  })
})
