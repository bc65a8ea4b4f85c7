import { isErrno } from './errors.ts'

/**
 * The files port: everything that Bowline does to a disk. Synchronous; paths are absolute.
 * Every method throws a Fault with an errno and the path when the disk refuses. No method follows a symbolic
 * link at the last component. Files are made with mode 0600, directories with 0700 unless said otherwise.
 */
export interface Files {
  /** Returns the whole text, or undefined if there is no such file. */
  read(path: string): string | undefined
  /**
   * Returns the text of a file that is not ours, such as /etc/resolv.conf: any owner, and links are followed. Undefined if
   * there is none. Throws a Fault if it is not a regular file or is larger than 1 MiB.
   */
  readForeign(path: string): string | undefined
  /** Returns up to `length` bytes from `offset`; fewer at the end of the file, none if there is no such file. */
  readAt(path: string, offset: number, length: number): Uint8Array
  /** The bytes of a file that is not ours, such as a program, read as `readForeign` does; at most 64 MiB. */
  readProgram(path: string): Uint8Array | undefined
  /** The permission bits of a file, by whatever links; undefined if there is none. */
  modeOf(path: string): number | undefined
  /**
   * Makes or replaces a file that other programs read or run: its bytes are on the disk before it has its name, it has this
   * mode whatever the umask, and nobody has it open for writing. One process at a time: the caller holds a lock.
   */
  publish(path: string, bytes: Uint8Array, mode: number): void
  /** Makes or replaces a symbolic link in the same way. */
  publishLink(path: string, target: string): void
  /** Creates a file, whole or not at all. Throws EEXIST if there is one, ENOENT if its directory is missing. */
  create(path: string, text: string): void
  /** Creates or replaces a file, whole or not at all (a temporary name, then a rename). */
  replace(path: string, text: string): void
  /** Writes in place from `offset`. Creates the file if it is missing. */
  writeAt(path: string, offset: number, bytes: Uint8Array): void
  /** Removes a file. Returns false if it was gone already; then removes the temporary files that a crash left beside it. */
  remove(path: string): boolean
  /** Removes an empty directory. Returns false if it is missing or not empty. */
  removeDirectory(path: string): boolean
  /** Creates a directory and its parents; idempotent. */
  ensureDirectory(path: string, mode?: number): void
  /** Returns the names in a directory without `.` and `..`, in no order; none if there is no such directory. */
  list(path: string): string[]
  /**
   * Throws unless a file of a few kilobytes can be created in this directory, or in the nearest existing parent if it is
   * missing. Leaves nothing behind, and takes no lock.
   */
  probe(path: string): void
  /**
   * Takes an advisory lock (flock) on a file, which it creates if missing. The kernel drops the lock when the process
   * dies. Shared locks exclude only an exclusive one (the default). Waits at most `timeoutMs`, then throws a Fault
   * with code 11 (try again later) that names the path.
   */
  lock(path: string, timeoutMs: number, kind?: LockKind): FileLock
}

/** A directory may be removed by another process each time that it was made; not for ever. */
const MAX_ATTEMPTS = 16

/** Runs `work` in a directory that is there nearly always: it is made only when `work` fails for its absence. */
export function ensuringDirectory<T>(
  files: Pick<Files, 'ensureDirectory'>,
  dir: string,
  work: () => T,
  mode?: number,
): T {
  for (let attempt = 1; ; attempt++) {
    try {
      return work()
    } catch (error) {
      if (!isErrno(error, 'ENOENT') || attempt === MAX_ATTEMPTS) throw error
      files.ensureDirectory(dir, mode)
    }
  }
}

export type LockKind = 'exclusive' | 'shared'

/**
 * Returns the lock of `take`, or an empty one where the disk is full or read-only: then no process can create the lock
 * file, so none holds the lock or starts the work that it guards. A removal needs no space, and need not wait for it.
 */
export function lockUnlessUnwritable(take: () => FileLock): FileLock {
  try {
    return take()
  } catch (error) {
    if (!isErrno(error, 'ENOSPC', 'EDQUOT', 'EROFS')) throw error
    return { release() {} }
  }
}

export interface FileLock {
  release(): void
}

/** Why a path that the CNI specification allows is refused. */
export const PATH_RULE = "Bowline's own rule: later processes, in other directories, use the same path"

/** Reports whether a text may be used as a path: absolute, without `..` and without NUL. */
export function isPlainPath(path: unknown): path is string {
  return (
    typeof path === 'string' &&
    path.startsWith('/') &&
    !path.includes('\0') &&
    !path.split('/').includes('..')
  )
}
