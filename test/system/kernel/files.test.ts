import { type ChildProcess, spawn } from 'node:child_process'
import {
  linkSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Code } from '../../../src/core/errors.ts'
import type { Files } from '../../../src/core/files.ts'
import { createLinuxFiles } from '../../../src/kernel/linux/files.ts'
import { describeFilesContract } from '../../contract/files.ts'
import { faultOf } from '../../support/fault_of.ts'
import { enterPrivateNamespaces, run } from '../../support/node/private_namespaces.ts'

const O_CLOEXEC = 0o2000000
const MODES = [{ anonymous: true }, { anonymous: false }]
const bytes = (text: string) => new TextEncoder().encode(text)

beforeAll(enterPrivateNamespaces)

for (const mode of MODES) {
  describeFilesContract(`Linux with ${JSON.stringify(mode)}`, () => {
    const root = mkdtempSync(`${tmpdir()}/bowline-`)
    return {
      files: createLinuxFiles(mode),
      root,
      plantSymlink: (path, target = '/nowhere') => symlinkSync(target, path),
      modeOf: (path) => lstatSync(path).mode & 0o7777,
      dispose: () => rmSync(root, { recursive: true }),
    }
  })
}

const files: Files = createLinuxFiles()
let root: string
let children: ChildProcess[]

beforeEach(() => {
  root = mkdtempSync(`${tmpdir()}/bowline-`)
  children = []
})
afterEach(async () => {
  for (const child of children) await ended(child, 'SIGKILL')
  rmSync(root, { recursive: true, force: true })
})

describe.each(MODES)('a full disk, with %o', (mode) => {
  const own = createLinuxFiles(mode)

  beforeEach(() => {
    run(`mount -t tmpfs -o size=64k,mode=0700 tmpfs ${root}`)
    writeFileSync(`${root}/old`, 'old')
    writeFileSync(`${root}/ballast`, new Uint8Array(60 << 10))
  })
  afterEach(() => {
    run(`umount ${root}`)
  })

  it.each<[string, (path: string) => void]>([
    ['create', (path) => own.create(path, 'x'.repeat(20_000))],
    ['replace', (path) => own.replace(path, 'x'.repeat(20_000))],
    ['writeAt', (path) => own.writeAt(path, 0, new Uint8Array(20_000))],
  ])('makes %s fail with ENOSPC and leaves nothing', (_, write) => {
    const fault = faultOf(() => write(`${root}/new`))
    expect(fault).toMatchObject({ errno: 'ENOSPC', code: Code.io })
    expect(fault.hint).toContain('Free some space')
    expect(readdirSync(root).sort()).toEqual(['ballast', 'old'])
  })

  it('shows when it is probed, also by a directory that is not there yet', () => {
    for (const path of [root, `${root}/a/b`]) expect(errnoOf(() => own.probe(path))).toBe('ENOSPC')
    expect(readdirSync(root).sort()).toEqual(['ballast', 'old'])
  })

  it('leaves the old text when it cannot be replaced', () => {
    expect(errnoOf(() => own.replace(`${root}/old`, 'x'.repeat(20_000)))).toBe('ENOSPC')
    expect(own.read(`${root}/old`)).toBe('old')
  })
})

it('a file in the place of a directory is refused with ENOTDIR, and the hint says what to do', () => {
  writeFileSync(`${root}/file`, '')
  const fault = faultOf(() => files.create(`${root}/file/new`, ''))
  expect(fault).toMatchObject({ errno: 'ENOTDIR', hint: expect.stringContaining(`above ${root}/file/new`) })
})

describe('a disk that cannot be written', () => {
  it('is refused with EROFS, but read', () => {
    writeFileSync(`${root}/file`, 'text')
    run(`mkdir -p ${root}/empty ${root}/full/one`)
    run(`mount --bind ${root} ${root}; mount -o remount,bind,ro ${root}`)
    try {
      expect(files.read(`${root}/file`)).toBe('text')
      expect(errnoOf(() => files.create(`${root}/new`, ''))).toBe('EROFS')
      expect(errnoOf(() => files.replace(`${root}/file`, ''))).toBe('EROFS')
      expect(errnoOf(() => files.writeAt(`${root}/file`, 0, bytes('x')))).toBe('EROFS')
      expect(errnoOf(() => files.remove(`${root}/file`))).toBe('EROFS')
      expect(errnoOf(() => files.ensureDirectory(`${root}/a`))).toBe('EROFS')
      expect(errnoOf(() => files.lock(`${root}/lock`, 0))).toBe('EROFS')
      expect(errnoOf(() => files.probe(`${root}/a/b`))).toBe('EROFS')
      expect(files.remove(`${root}/missing`)).toBe(false)
      expect(files.removeDirectory(`${root}/missing`)).toBe(false)
      expect(files.removeDirectory(`${root}/full`)).toBe(false)
      expect(errnoOf(() => files.removeDirectory(`${root}/empty`))).toBe('EROFS')
    } finally {
      run(`umount ${root}`)
    }
  })

  it('has locks all the same, where the files are there', async () => {
    files.lock(`${root}/lock`, 0).release()
    run(`mount --bind ${root} ${root}; mount -o remount,bind,ro ${root}`)
    try {
      const holder = startHolder(`${root}/lock`)
      await firstLine(holder)
      expect(faultOf(() => files.lock(`${root}/lock`, 0)).code).toBe(Code.tryLater)
      await ended(holder, 'SIGKILL')
      files.lock(`${root}/lock`, 0).release()
    } finally {
      run(`umount ${root}`)
    }
  })
})

describe('directories on a disk', () => {
  it('get the mode that was asked for under any umask, parents too', () => {
    const before = process.umask(0o077)
    files.ensureDirectory(`${root}/a/b`, 0o755)
    process.umask(before)
    expect([`${root}/a`, `${root}/a/b`].map((path) => lstatSync(path).mode & 0o7777)).toEqual([0o755, 0o755])
  })

  it('leave no parents when the last one cannot be made', () => {
    expect(errnoOf(() => files.ensureDirectory(`${root}/a/b/${'x'.repeat(300)}`))).toBe('ENAMETOOLONG')
    expect(readdirSync(root)).toEqual([])
  })

  it('list names beyond ASCII as they are', () => {
    writeFileSync(`${root}/Überlänge-日本`, '')
    writeFileSync(`${root}/plain`, '')
    expect(files.list(root).sort()).toEqual(['plain', 'Überlänge-日本'])
  })

  it('hold nothing when another process removes them while they are listed', async () => {
    const other = start(`console.log('go')
      const files = createLinuxFiles()
      for (;;) { files.ensureDirectory('${root}/a'); files.removeDirectory('${root}/a') }`)
    await firstLine(other)
    for (let i = 0; i < 20_000; i++) expect(files.list(`${root}/a`)).toEqual([])
  })

  it('do not show what a crash has left, and can be removed in spite of it', () => {
    files.ensureDirectory(`${root}/a`)
    writeFileSync(`${root}/a/.bowline-tmp.file`, 'torn')
    writeFileSync(`${root}/a/.bowline-tmp.file.new`, 'torn')
    expect(files.list(`${root}/a`)).toEqual([])
    expect(files.removeDirectory(`${root}/a`)).toBe(true)
  })
})

describe.each(MODES)('writers that compete or die, with %o', (mode) => {
  const own = createLinuxFiles(mode)
  const options = JSON.stringify(mode)

  it('never show a reader half a text', async () => {
    const path = `${root}/file`
    own.replace(path, 'z'.repeat(30_000))
    const writers = ['a', 'b', 'c'].map((letter) =>
      start(
        `for (let i = 0; i < 300; i++) createLinuxFiles(${options}).replace('${path}', '${letter}'.repeat(30_000))`,
      ),
    )
    const exits = Promise.all(writers.map((writer) => ended(writer)))
    let done = false
    exits.finally(() => {
      done = true
    })
    while (!done) {
      const text = own.read(path) ?? ''
      expect(text).toBe((text[0] ?? '-').repeat(30_000))
      await Bun.sleep(0)
    }
    expect(await exits).toEqual([0, 0, 0])
    expect(readdirSync(root)).toEqual(['file'])
  })

  it('create a file once, however many try', async () => {
    const creators = Array.from({ length: 4 }, () =>
      start(`const files = createLinuxFiles(${options})
        let made = 0
        for (let i = 0; i < 200; i++) {
          try { files.create('${root}/' + i, String(process.pid)); made++ } catch (error) { if (error.errno !== 'EEXIST') throw error }
        }
        console.log(made)`),
    )
    const made = await Promise.all(creators.map(output))
    expect(made.reduce((sum, line) => sum + Number(line), 0)).toBe(200)
    expect(readdirSync(root)).toHaveLength(200)
  })

  it('leave a whole file when they are killed, and nothing that stays in the way', async () => {
    const path = `${root}/file`
    for (let round = 0; round < 12; round++) {
      const writer = start(
        `console.log('go'); for (;;) createLinuxFiles(${options}).replace('${path}', 'x'.repeat(100_000))`,
      )
      await firstLine(writer)
      await Bun.sleep(round)
      await ended(writer, 'SIGKILL')
      expect(own.read(path) ?? '').toMatch(/^(x{100000})?$/)
    }
    own.replace(path, 'new')
    expect(own.list(root)).toEqual(['file'])
    expect(own.read(path)).toBe('new')
    own.remove(path)
    expect(own.removeDirectory(root)).toBe(true)
  })

  it('take the place of what a crash has left under the temporary names', () => {
    writeFileSync(`${root}/.bowline-tmp.file`, 'torn')
    writeFileSync(`${root}/.bowline-tmp.file.new`, 'torn')
    own.replace(`${root}/file`, 'whole')
    expect(own.read(`${root}/file`)).toBe('whole')
  })
})

describe('a lock among processes', () => {
  it('lets one in at a time', async () => {
    writeFileSync(`${root}/count`, '0')
    const counters = Array.from({ length: 4 }, () =>
      start(`const files = createLinuxFiles()
        for (let i = 0; i < 100; i++) {
          const lock = files.lock('${root}/lock', 20_000)
          files.replace('${root}/count', String(Number(files.read('${root}/count')) + 1))
          lock.release()
        }`),
    )
    expect(await Promise.all(counters.map((counter) => ended(counter)))).toEqual([0, 0, 0, 0])
    expect(files.read(`${root}/count`)).toBe('400')
  })

  it('is made for its owner only', () => {
    files.lock(`${root}/lock`, 0).release()
    expect(lstatSync(`${root}/lock`).mode & 0o7777).toBe(0o600)
  })

  it('makes a waiter give up after its time, saying how long it waited', async () => {
    await firstLine(startHolder(`${root}/lock`))
    const start = performance.now()
    const fault = faultOf(() => files.lock(`${root}/lock`, 150))
    const waited = performance.now() - start
    expect(fault.code).toBe(Code.tryLater)
    expect(fault.message).toMatch(/lock: another process holds it; waited \d{3} ms$/)
    expect(waited).toBeGreaterThanOrEqual(150)
    expect(waited).toBeLessThan(1000)
  })

  it('is free as soon as its holder is killed', async () => {
    const holder = startHolder(`${root}/lock`)
    await firstLine(holder)
    expect(faultOf(() => files.lock(`${root}/lock`, 0)).code).toBe(Code.tryLater)
    await ended(holder, 'SIGKILL')
    files.lock(`${root}/lock`, 0).release()
  })

  it('is not inherited by a program that we start', () => {
    const lock = files.lock(`${root}/lock`, 0)
    const fd = readdirSync('/proc/self/fd').find((name) => targetOf(name) === `${root}/lock`)
    const flags = /^flags:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '0'
    lock.release()
    expect(Number.parseInt(flags, 8) & O_CLOEXEC).toBe(O_CLOEXEC)
  })

  it('holds for the file of that name, also when it was removed and made anew while somebody waited', async () => {
    const path = `${root}/lock`
    const old = files.lock(path, 0)
    const waiter = start(
      `console.log('waiting'); createLinuxFiles().lock('${path}', 20_000); console.log('got it')`,
    )
    const text = collect(waiter)
    await firstLine(waiter)
    await Bun.sleep(100)
    linkSync(path, `${root}/kept`)
    files.remove(path)
    const renewed = files.lock(path, 0)
    old.release()
    await Bun.sleep(200)
    expect(text()).toBe('waiting\n')
    renewed.release()
    await ended(waiter)
    expect(text()).toBe('waiting\ngot it\n')
  })
})

/** What a descriptor of this process is open on; undefined if it was closed meanwhile. */
function targetOf(fd: string): string | undefined {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`)
  } catch {
    return undefined
  }
}

/** Another process of ours, with the files port at hand. */
function start(script: string): ChildProcess {
  const module = new URL('../../../src/kernel/linux/files.ts', import.meta.url).pathname
  const child = spawn(process.execPath, ['-e', `import { createLinuxFiles } from '${module}'\n${script}`], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  return child
}

function startHolder(path: string): ChildProcess {
  return start(`createLinuxFiles().lock('${path}', 0); console.log('held'); setTimeout(() => {}, 60_000)`)
}

/** The exit code, after a signal if one is given; null if a signal ended it. */
async function ended(child: ChildProcess, signal?: NodeJS.Signals): Promise<number | null> {
  if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
  const exit = new Promise<number | null>((exited) => child.once('exit', exited))
  if (signal) child.kill(signal)
  return exit
}

function firstLine(child: ChildProcess): Promise<unknown> {
  return new Promise((line) => child.stdout?.once('data', line))
}

function collect(child: ChildProcess): () => string {
  let text = ''
  child.stdout?.on('data', (part) => {
    text += part
  })
  return () => text
}

async function output(child: ChildProcess): Promise<string> {
  const text = collect(child)
  await new Promise((closed) => child.once('close', closed))
  return text()
}

function errnoOf(work: () => unknown): string | undefined {
  return faultOf(work).errno
}
