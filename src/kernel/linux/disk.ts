import { runtime } from '#runtime'
import { readText } from '../../core/text.ts'
import { numbersOf } from '../../runtime/numbers.ts'
import { readString } from '../netlink/message.ts'
import { Errno } from './errno.ts'

/*
 * The system calls that touch a disk. Each returns what the kernel returns, or a negative errno number: most callers
 * expect one errno or the other, and an exception for each would cost more than the call.
 */
const { syscall } = runtime
const number = numbersOf(runtime.arch)
const ARM = runtime.arch === 'arm64'
/** Flags of open. Directory and no-follow differ between x86-64 and arm64. Source: fcntl.h of both. */
const O_DIRECTORY = ARM ? 0o40000 : 0o200000
const O_NOFOLLOW = ARM ? 0o100000 : 0o400000
/** Flags of every open: not inherited by plugins, no link is followed, no wait for the other end of a FIFO. */
const ALWAYS = 0o2000000 | O_NOFOLLOW | 0o4000

/** Flags of `open`, to be joined with `|`. */
export const Open = {
  read: 0,
  write: 1,
  readWrite: 2,
  create: 0o100,
  createNew: 0o100 | 0o200,
  append: 0o2000,
  directory: O_DIRECTORY,
  /** A file without a name in the directory that is opened. */
  anonymous: 0o20000000 | O_DIRECTORY,
} as const

const AT_FDCWD = -100
const AT_SYMLINK_NOFOLLOW = 0x100
const AT_REMOVEDIR = 0x200
const AT_SYMLINK_FOLLOW = 0x400
const AT_EMPTY_PATH = 0x1000
const STATX_BASIC_STATS = 0x7ff
const CLOCK_MONOTONIC = 1
const KERNEL_TEXT_BYTES = 4096
const LOCK_NB = { shared: 1 | 4, exclusive: 2 | 4 }

export type FileKind = 'file' | 'directory' | 'link' | 'other'

export type FileStatus = {
  readonly kind: FileKind
  /** Permission bits. */
  readonly mode: number
  readonly uid: number
  readonly gid: number
  /** The number of names of the file. */
  readonly links: number
  /** Bytes. */
  readonly size: number
  readonly device: number
  readonly inode: bigint
}

const statusBytes = new Uint8Array(256)
const status = new DataView(statusBytes.buffer)

/** The user that files must belong to. */
export function effectiveUid(): number {
  uid ??= syscall(number.geteuid)
  return uid
}

let uid: number | undefined

/** Returns the descriptor. `mode` counts only for a file that is created. */
export function open(path: string, flags: number, mode = 0): number {
  return syscall(number.openat, AT_FDCWD, path, flags | ALWAYS, mode)
}

/** Opens a file that is not ours for reading, and follows links. */
export function openForeign(path: string): number {
  return syscall(number.openat, AT_FDCWD, path, (Open.read | ALWAYS) & ~O_NOFOLLOW, 0)
}

export function close(fd: number): void {
  syscall(number.close, fd)
}

/** Makes one attempt. Returns the number of bytes read, 0 at the end of the file. */
export function readOnce(fd: number, bytes: Uint8Array, offset: number): number {
  return syscall(number.pread64, fd, bytes, bytes.length, offset)
}

/** Reads a file of the kernel, which hands out its text at once: up to the first NUL, trimmed. Or a negative errno number. */
export function readKernelText(path: string): string | number {
  const fd = open(path, Open.read)
  if (fd < 0) return fd
  const bytes = new Uint8Array(KERNEL_TEXT_BYTES)
  const length = readOnce(fd, bytes, 0)
  close(fd)
  return length < 0 ? length : readString(bytes.subarray(0, length)).trim()
}

/** Makes one attempt. Returns the number of bytes written. */
export function writeOnce(fd: number, bytes: Uint8Array, offset: number): number {
  return syscall(number.pwrite64, fd, bytes, bytes.length, offset)
}

/** Returns the status of an open file, or a negative errno number. */
export function statusOf(fd: number): FileStatus | number {
  return readStatus(fd, '', AT_EMPTY_PATH)
}

/** Returns the status of `path` without following a link, or a negative errno number. */
export function statusAt(path: string): FileStatus | number {
  return readStatus(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW)
}

/** Returns the status of `path` after following links, or a negative errno number. */
export function statusBehind(path: string): FileStatus | number {
  return readStatus(AT_FDCWD, path, 0)
}

/** Returns whether two descriptors or paths are of the same file. */
export function isSameFile(one: FileStatus, other: FileStatus): boolean {
  return one.device === other.device && one.inode === other.inode
}

/** Returns when a file was last changed, in milliseconds since 1970, or a negative errno number. */
export function modificationTime(path: string): number {
  const found = statusBehind(path)
  return typeof found === 'number' ? found : status.getUint32(112, true) * 1000
}

/** Returns the value of an extended attribute; '' for a file without it. */
export function extendedAttribute(path: string, name: string): string {
  const bytes = new Uint8Array(256)
  const length = syscall(number.getxattr, path, name, bytes, bytes.length)
  return length > 0 ? readText(bytes.subarray(0, length)).replaceAll('\0', '') : ''
}

/** A read-only disk answers EROFS to the removal of a missing file, too. */
export function isMissing(path: string): boolean {
  return statusAt(path) === -Errno.ENOENT
}

/** Gives an anonymous file a name, through /proc: to name the descriptor itself needs CAP_DAC_READ_SEARCH. */
export function linkAnonymous(fd: number, to: string): number {
  return syscall(number.linkat, AT_FDCWD, `/proc/self/fd/${fd}`, AT_FDCWD, to, AT_SYMLINK_FOLLOW)
}

export function rename(from: string, to: string): number {
  return syscall(number.renameat, AT_FDCWD, from, AT_FDCWD, to)
}

export function unlink(path: string): number {
  return syscall(number.unlinkat, AT_FDCWD, path, 0)
}

export function removeEmptyDirectory(path: string): number {
  return syscall(number.unlinkat, AT_FDCWD, path, AT_REMOVEDIR)
}

export function makeDirectory(path: string, mode: number): number {
  return syscall(number.mkdirat, AT_FDCWD, path, mode)
}

/** Makes a symbolic link at `path`. */
export function makeLink(path: string, target: string): number {
  return syscall(number.symlinkat, target, AT_FDCWD, path)
}

/** Waits until the bytes of an open file are on the disk. */
export function flush(fd: number): number {
  return syscall(number.fsync, fd)
}

export function setMode(fd: number, mode: number): number {
  return syscall(number.fchmod, fd, mode)
}

/** Reads directory entries as the kernel packs them (struct linux_dirent64). Returns the number of bytes, 0 at the end. */
export function readDirectory(fd: number, bytes: Uint8Array): number {
  return syscall(number.getdents64, fd, bytes, bytes.length)
}

/** Takes a lock if no other lock excludes it. */
export function tryLock(fd: number, kind: 'shared' | 'exclusive'): number {
  return syscall(number.flock, fd, LOCK_NB[kind])
}

export function sleepMicroseconds(duration: number): void {
  const time = new Uint8Array(16)
  const view = new DataView(time.buffer)
  view.setUint32(0, Math.floor(duration / 1e6), true)
  view.setUint32(8, Math.floor(duration % 1e6) * 1000, true)
  syscall(number.nanosleep, time, 0)
}

/** Reads the monotonic clock. */
export function monotonicMicroseconds(): number {
  const time = new Uint8Array(16)
  syscall(number.clock_gettime, CLOCK_MONOTONIC, time)
  const view = new DataView(time.buffer)
  return view.getUint32(0, true) * 1e6 + view.getUint32(8, true) / 1000
}

function readStatus(directory: number, path: string, flags: number): FileStatus | number {
  const returned = syscall(number.statx, directory, path, flags, STATX_BASIC_STATS, statusBytes)
  if (returned < 0) return returned
  const mode = status.getUint16(28, true)
  return {
    kind: KINDS[mode >> 12] ?? 'other',
    mode: mode & 0o7777,
    links: status.getUint32(16, true),
    uid: status.getUint32(20, true),
    gid: status.getUint32(24, true),
    size: status.getUint32(40, true) + 2 ** 32 * status.getUint32(44, true),
    device: status.getUint32(136, true) * 2 ** 20 + status.getUint32(140, true),
    inode: status.getBigUint64(32, true),
  }
}

/** The upper four bits of a mode. */
const KINDS: Record<number, FileKind> = { 4: 'directory', 8: 'file', 10: 'link' }
