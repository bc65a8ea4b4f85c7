import { Code, Fault } from '../../src/core/errors.ts'
import type { FileLock, Files, LockKind } from '../../src/core/files.ts'

/**
 * One call of the port, as the hook sees it: before it takes effect, after, and for those that write whole files also
 * midway, when the new text stands under its temporary name.
 */
export type FileOperation = {
  readonly name: string
  readonly path: string
  /** Counts the operations from 1. */
  readonly sequence: number
  readonly phase: 'before' | 'midway' | 'after'
}

export type FakeFilesOptions = {
  /** Default true. False: a file system on which every file has a name, so that `create` has a temporary one too. */
  readonly anonymous?: boolean
}

/** The Files port in memory, with the errnos of Linux, a hook at every operation and a process that can be killed. */
export interface FakeFiles extends Files {
  /** Called at each phase of each operation. What it throws comes out of it; `Killed` ends the process. */
  onOperation: ((operation: FileOperation) => void) | undefined
  /** The operations so far. */
  readonly operations: number
  /** The milliseconds that calls would have waited for locks. */
  readonly waitedMs: number
  /** The next process: locks of the killed one are dropped, as the kernel does, and operations work again. */
  revive(): void
  /** Every file with its bytes as latin1 text, every directory as `path/`, in order of path. */
  dump(): Record<string, string>
  /** Puts a symbolic link there, which no operation but `readForeign` follows. */
  plantSymlink(path: string, target?: string): void
}

/**
 * Stands for SIGKILL: thrown by a hook to stop the process at that point. Not a Fault, so nothing that expects an errno
 * takes it for one. From then on everything that a fake is asked throws it, until its `revive`.
 */
export class Killed extends Error {
  constructor(what = '') {
    super(what ? `killed at: ${what}` : 'killed')
    this.name = 'Killed'
  }
}

type FileNode = { readonly kind: 'file'; bytes: Uint8Array; readonly mode: number }
type DirectoryNode = { readonly kind: 'directory'; readonly names: Set<string>; readonly mode: number }
type Symlink = { readonly kind: 'symlink'; readonly target: string; readonly mode: number }
type Node = FileNode | DirectoryNode | Symlink

/** What a crash can leave, as the real adapter has it: such names are not listed and keep no directory. */
const TEMPORARY = '.bowline-tmp.'

export function createFakeFiles(options: FakeFilesOptions = {}): FakeFiles {
  return new MemoryFiles(options)
}

class MemoryFiles implements FakeFiles {
  onOperation: ((operation: FileOperation) => void) | undefined
  operations = 0
  waitedMs = 0
  #killed = false
  #locked = new Map<string, { readonly kind: LockKind; readonly holders: Set<object> }>()
  readonly #nodes = new Map<string, Node>([['/', { kind: 'directory', names: new Set(), mode: 0o755 }]])
  readonly #anonymous: boolean

  constructor({ anonymous = true }: FakeFilesOptions) {
    this.#anonymous = anonymous
  }

  read(path: string): string | undefined {
    return this.#operate('read', path, () => {
      const file = this.#file(path, 'read')
      return file && new TextDecoder().decode(file.bytes)
    })
  }

  readForeign(path: string): string | undefined {
    return this.#operate('readForeign', path, () => {
      const node = this.#at(path, 'read')
      const file = this.#file(node?.kind === 'symlink' ? this.#resolve(path, node.target) : path, 'read')
      return file && new TextDecoder().decode(file.bytes)
    })
  }

  readAt(path: string, offset: number, length: number): Uint8Array {
    return this.#operate('readAt', path, () => {
      const file = this.#file(path, 'read')
      return file ? file.bytes.slice(offset, offset + length) : new Uint8Array()
    })
  }

  readProgram(path: string): Uint8Array | undefined {
    return this.#operate('readProgram', path, () => {
      const node = this.#at(path, 'read')
      return this.#file(
        node?.kind === 'symlink' ? this.#resolve(path, node.target) : path,
        'read',
      )?.bytes.slice()
    })
  }

  publish(path: string, bytes: Uint8Array, mode: number): void {
    this.#operate('publish', path, (midway) => {
      if (this.#at(path, 'install')?.kind === 'directory') throw refusal('install', path, 'EISDIR')
      const file: FileNode = { kind: 'file', bytes: bytes.slice(), mode }
      this.#passThrough(`${temporaryName(path)}.published`, file, 'install', midway)
      this.#put(path, file, 'install')
    })
  }

  publishLink(path: string, target: string): void {
    this.#operate('publishLink', path, () => {
      if (this.#at(path, 'link')?.kind === 'directory') throw refusal('install', path, 'EISDIR')
      this.#put(path, { kind: 'symlink', target, mode: 0o777 }, 'link')
    })
  }

  create(path: string, text: string): void {
    this.#operate('create', path, (midway) => {
      if (this.#at(path, 'create')) throw refusal('create', path, 'EEXIST')
      const file = wholeFile(text)
      if (!this.#anonymous) this.#passThrough(`${temporaryName(path)}.new`, file, 'create', midway)
      this.#put(path, file, 'create')
    })
  }

  replace(path: string, text: string): void {
    this.#operate('replace', path, (midway) => {
      if (this.#at(path, 'replace')?.kind === 'directory') throw refusal('replace', path, 'EISDIR')
      const file = wholeFile(text)
      const beside = () => this.#passThrough(temporaryName(path), file, 'replace', midway)
      if (this.#anonymous) beside()
      else this.#passThrough(`${temporaryName(path)}.new`, file, 'replace', beside)
      this.#put(path, file, 'replace')
    })
  }

  writeAt(path: string, offset: number, bytes: Uint8Array): void {
    this.#operate('writeAt', path, () => {
      const file = this.#fileOrNew(path, 'write')
      const grown = Math.max(file.bytes.length, offset + bytes.length)
      if (grown > file.bytes.length) {
        const longer = new Uint8Array(grown)
        longer.set(file.bytes)
        file.bytes = longer
      }
      file.bytes.set(bytes, offset)
    })
  }

  remove(path: string): boolean {
    return this.#operate('remove', path, () => {
      const node = this.#at(path, 'remove')
      if (node?.kind === 'directory') throw refusal('remove', path, 'EISDIR')
      this.#drop(path)
      if (!node) for (const name of temporariesOf(path)) this.#drop(name)
      return node !== undefined
    })
  }

  removeDirectory(path: string): boolean {
    return this.#operate('removeDirectory', path, () => {
      const node = this.#at(path, 'remove')
      if (!node) return false
      if (node.kind !== 'directory') throw refusal('remove directory', path, 'ENOTDIR')
      if (![...node.names].every(isTemporary)) return false
      for (const name of node.names) this.#drop(`${path}/${name}`)
      this.#drop(path)
      return true
    })
  }

  ensureDirectory(path: string, mode = 0o700): void {
    this.#operate('ensureDirectory', path, () => {
      const parts = path.split('/').filter(Boolean)
      for (let depth = 1; depth <= parts.length; depth++) {
        const one = `/${parts.slice(0, depth).join('/')}`
        const node = this.#nodes.get(one)
        if (node && node.kind !== 'directory') throw refusal('make directory', path, 'ENOTDIR')
        if (!node) this.#put(one, { kind: 'directory', names: new Set(), mode }, 'make directory')
      }
    })
  }

  list(path: string): string[] {
    return this.#operate('list', path, () => {
      const node = this.#at(path, 'list')
      if (node && node.kind !== 'directory') throw refusal('list', path, 'ENOTDIR')
      return node ? [...node.names].filter((name) => !isTemporary(name)) : []
    })
  }

  probe(path: string): void {
    this.#operate('probe', path, () => {
      const node = this.#at(path, 'probe')
      if (node && node.kind !== 'directory') throw refusal('probe', path, 'ENOTDIR')
    })
  }

  lock(path: string, timeoutMs: number, kind: LockKind = 'exclusive'): FileLock {
    return this.#operate('lock', path, () => {
      this.#fileOrNew(path, 'lock')
      const there = this.#locked.get(path)
      if (there && (kind === 'exclusive' || there.kind === 'exclusive')) {
        this.waitedMs += timeoutMs
        throw new Fault(`lock ${path}: another process still holds it after ${timeoutMs} ms`, {
          code: Code.tryLater,
          errno: 'EWOULDBLOCK',
          hint: 'Try again; if it stays so, look for a process that hangs with this file open.',
        })
      }
      const holder = {}
      this.#locked.set(path, { kind, holders: new Set([...(there?.holders ?? []), holder]) })
      return { release: () => this.#unlock(path, holder) }
    })
  }

  revive(): void {
    this.#killed = false
    this.#locked.clear()
  }

  dump(): Record<string, string> {
    const latin1 = new TextDecoder('latin1')
    const entries = [...this.#nodes].map(([path, node]): [string, string] =>
      node.kind === 'file' ? [path, latin1.decode(node.bytes)] : [`${path}/`.replace('//', '/'), ''],
    )
    return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)))
  }

  modeOf(path: string): number | undefined {
    const node = this.#nodes.get(path)
    return node?.kind === 'symlink' ? this.#nodes.get(this.#resolve(path, node.target))?.mode : node?.mode
  }

  plantSymlink(path: string, target = '/nowhere'): void {
    this.#put(path, { kind: 'symlink', target, mode: 0o777 }, 'link')
  }

  #operate<T>(name: string, path: string, work: (midway: () => void) => T): T {
    if (this.#killed) throw new Killed()
    const sequence = ++this.operations
    const notify = (phase: FileOperation['phase']) => this.onOperation?.({ name, path, sequence, phase })
    try {
      notify('before')
      const result = work(() => notify('midway'))
      notify('after')
      return result
    } catch (error) {
      if (error instanceof Killed) this.#killed = true
      throw error
    }
  }

  /** Lets a new file stand under another name for a moment. Only a kill in that moment leaves it there. */
  #passThrough(path: string, file: FileNode, action: string, midway: () => void): void {
    this.#put(path, file, action)
    try {
      midway()
    } catch (error) {
      if (!(error instanceof Killed)) this.#drop(path)
      throw error
    }
    this.#drop(path)
  }

  #unlock(path: string, holder: object): void {
    const holders = this.#locked.get(path)?.holders
    if (this.#killed || !holders?.delete(holder)) return
    if (holders.size === 0) this.#locked.delete(path)
  }

  /** What is at `path`, or undefined. Throws ENOTDIR when the path leads through a file. */
  #at(path: string, action: string): Node | undefined {
    const parent = this.#nodes.get(parentOf(path))
    if (parent && parent.kind !== 'directory') throw refusal(action, path, 'ENOTDIR')
    return this.#nodes.get(path)
  }

  #resolve(path: string, target: string): string {
    return target.startsWith('/') ? target : `${parentOf(path)}/${target}`
  }

  #file(path: string, action: string): FileNode | undefined {
    const node = this.#at(path, action)
    if (node?.kind === 'directory') throw refusal(action, path, 'EISDIR')
    if (node?.kind === 'symlink') throw refusal(action, path, 'ELOOP')
    return node
  }

  #fileOrNew(path: string, action: string): FileNode {
    const existing = this.#file(path, action)
    if (existing) return existing
    const made: FileNode = { kind: 'file', bytes: new Uint8Array(), mode: 0o600 }
    this.#put(path, made, action)
    return made
  }

  #put(path: string, node: Node, action: string): void {
    const parent = this.#nodes.get(parentOf(path))
    if (parent?.kind !== 'directory') throw refusal(action, path, 'ENOENT')
    parent.names.add(path.slice(path.lastIndexOf('/') + 1))
    this.#nodes.set(path, node)
  }

  #drop(path: string): void {
    const parent = this.#nodes.get(parentOf(path))
    if (parent?.kind === 'directory') parent.names.delete(path.slice(path.lastIndexOf('/') + 1))
    this.#nodes.delete(path)
  }
}

function wholeFile(text: string): FileNode {
  return { kind: 'file', bytes: new TextEncoder().encode(text), mode: 0o600 }
}

function temporaryName(path: string): string {
  const slash = path.lastIndexOf('/') + 1
  return path.slice(0, slash) + TEMPORARY + path.slice(slash)
}

/** The names under which a crash can leave a file. */
function temporariesOf(path: string): string[] {
  return [temporaryName(path), `${temporaryName(path)}.new`]
}

function isTemporary(name: string): boolean {
  return name.startsWith(TEMPORARY)
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf('/')) || '/'
}

function refusal(action: string, path: string, errno: string): Fault {
  return new Fault(`${action} ${path}: ${errno}`, { code: Code.io, errno })
}
