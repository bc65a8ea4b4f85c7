import { lastErrno, libc } from './libc.ts'

/*
 * The calls of libc that touch a disk. Each returns what the call returns, or a negative errno number: most callers
 * expect one errno or the other, and an exception for each would cost more than the call.
 */
const ARM = process.arch === 'arm64'
/** Flags of open. Directory and no-follow differ between x86-64 and arm64. Source: fcntl.h of both. */
const O_DIRECTORY = ARM ? 0o40000 : 0o200000
const O_NOFOLLOW = ARM ? 0o100000 : 0o400000
/** Every open: not inherited by plugins that we start, never through a link, never waiting for a FIFO's other end. */
const ALWAYS = 0o2000000 | O_NOFOLLOW | 0o4000

/** The errno numbers that callers of this file expect. */
export const Errno = {
  ENOENT: 2,
  EINTR: 4,
  EAGAIN: 11,
  EEXIST: 17,
  EISDIR: 21,
  EROFS: 30,
  ENOTEMPTY: 39,
  EOPNOTSUPP: 95,
} as const

/** Ways to open; `|` joins them. */
export const Open = {
  read: 0,
  write: 1,
  readWrite: 2,
  create: 0o100,
  createNew: 0o100 | 0o200,
  directory: O_DIRECTORY,
  /** A file without a name in the directory that is opened. */
  anonymous: 0o20000000 | O_DIRECTORY,
} as const

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_SYMLINK_FOLLOW = 0x400
const AT_EMPTY_PATH = 0x1000
const STATX_BASIC_STATS = 0x7ff
const LOCK_NB = { shared: 1 | 4, exclusive: 2 | 4 }

export type FileKind = 'file' | 'directory' | 'link' | 'other'

export type FileStatus = {
  readonly kind: FileKind
  /** Permission bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** How many names the file has. */
  readonly links: number
  /** Bytes. */
  readonly size: number
  /** Equal for two descriptors or paths exactly when they are the same file. */
  readonly identity: string
}

const status = new DataView(new ArrayBuffer(256))

/** The user that files must belong to. */
export function effectiveUid(): number {
  uid ??= libc.geteuid()
  return uid
}

let uid: number | undefined

/** The descriptor. `mode` counts only when the file is made. */
export function open(path: string, flags: number, mode = 0): number {
  return result(libc.open(path, flags | ALWAYS, mode))
}

/** Opens a file that is not ours for reading, by whatever links lead there. */
export function openForeign(path: string): number {
  return result(libc.open(path, (Open.read | ALWAYS) & ~O_NOFOLLOW, 0))
}

export function close(fd: number): void {
  libc.close(fd)
}

/** One attempt; the number of bytes read, 0 at the end of the file. */
export function readOnce(fd: number, bytes: Uint8Array, offset: number): number {
  return result(libc.pread(fd, bytes, bytes, offset))
}

/** One attempt; the number of bytes written. */
export function writeOnce(fd: number, bytes: Uint8Array, offset: number): number {
  return result(libc.pwrite(fd, bytes, bytes, offset))
}

/** The status of an open file, or a negative errno number. */
export function statusOf(fd: number): FileStatus | number {
  return readStatus(libc.statx(fd, '', AT_EMPTY_PATH, STATX_BASIC_STATS, status))
}

/** The status of what is at `path` itself, not of what a link points to, or a negative errno number. */
export function statusAt(path: string): FileStatus | number {
  return readStatus(libc.statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS, status))
}

/** The status of what is at the end of the links at `path`, or a negative errno number. */
export function statusBehind(path: string): FileStatus | number {
  return readStatus(libc.statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, status))
}

/** A read-only disk refuses to remove what is not there in the same words as what is. */
export function isMissing(path: string): boolean {
  return statusAt(path) === -Errno.ENOENT
}

/** Gives an anonymous file a name. By way of /proc, as naming a descriptor itself takes CAP_DAC_READ_SEARCH. */
export function linkAnonymous(fd: number, to: string): number {
  return result(libc.linkat(AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, to, AT_SYMLINK_FOLLOW))
}

export function rename(from: string, to: string): number {
  return result(libc.rename(from, to))
}

export function unlink(path: string): number {
  return result(libc.unlink(path))
}

export function removeEmptyDirectory(path: string): number {
  return result(libc.rmdir(path))
}

export function makeDirectory(path: string, mode: number): number {
  return result(libc.mkdir(path, mode))
}

export function setMode(fd: number, mode: number): number {
  return result(libc.fchmod(fd, mode))
}

/** Directory entries as the kernel packs them (struct linux_dirent64); the number of bytes, 0 at the end. */
export function readDirectory(fd: number, bytes: Uint8Array): number {
  return result(libc.getdents64(fd, bytes, bytes))
}

/** Takes a lock if nobody holds one that is in its way. */
export function tryLock(fd: number, kind: 'shared' | 'exclusive'): number {
  return result(libc.flock(fd, LOCK_NB[kind]))
}

export function sleepMicroseconds(duration: number): void {
  libc.usleep(duration)
}

/** errno is read straight after the call, before anything else of ours can run. */
function result(returned: number | bigint): number {
  return returned < 0 ? -lastErrno() : Number(returned)
}

function readStatus(returned: number): FileStatus | number {
  if (returned < 0) return result(returned)
  const mode = status.getUint16(28, true)
  const device = `${status.getUint32(136, true)}:${status.getUint32(140, true)}`
  return {
    kind: KINDS[mode >> 12] ?? 'other',
    mode: mode & 0o7777,
    links: status.getUint32(16, true),
    uid: status.getUint32(20, true),
    gid: status.getUint32(24, true),
    size: status.getUint32(40, true) + 2 ** 32 * status.getUint32(44, true),
    identity: `${device}:${status.getBigUint64(32, true)}`,
  }
}

/** The upper four bits of a mode. */
const KINDS: Record<number, FileKind> = { 4: 'directory', 8: 'file', 10: 'link' }
