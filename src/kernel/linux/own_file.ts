import { Code, Fault } from '../../core/errors.ts'
import type { FileStatus } from './disk.ts'
import * as disk from './disk.ts'
import { Errno, errnoName } from './errno.ts'

/** Returns `path`. Throws a Fault if it is relative or contains a NUL, where the kernel would cut it off. */
export function checked(path: string): string {
  if (path.startsWith('/') && !path.includes('\0')) return path
  throw new Fault(`${JSON.stringify(path)} is not an absolute path`, { code: Code.io, errno: 'EINVAL' })
}

/**
 * Opens a file of ours, runs `work` with it and closes it. Returns undefined if there is no such file. Throws a Fault if it
 * is not a regular file or belongs to another user: it may have been planted.
 */
export function withOwnFile<T>(
  action: string,
  path: string,
  flags: number,
  work: (fd: number, status: FileStatus) => T,
): T | undefined {
  return withOpen(action, path, disk.open(checked(path), flags), (fd) =>
    work(fd, ownStatus(action, path, fd)),
  )
}

/** Opens a regular file of any user for reading, through links as well, and does the same. */
export function withForeignFile<T>(path: string, work: (fd: number, status: FileStatus) => T): T | undefined {
  return withOpen('read', path, disk.openForeign(checked(path)), (fd) =>
    work(fd, regularStatus('read', path, fd)),
  )
}

function withOpen<T>(action: string, path: string, fd: number, work: (fd: number) => T): T | undefined {
  if (fd === -Errno.ENOENT) return undefined
  if (fd < 0) throw diskFault(action, path, fd)
  try {
    return work(fd)
  } finally {
    disk.close(fd)
  }
}

/** Returns the status of an open file. Throws a Fault unless it is a regular file of the effective user. */
export function ownStatus(action: string, path: string, fd: number): FileStatus {
  const status = regularStatus(action, path, fd)
  if (status.uid === disk.effectiveUid()) return status
  throw unfitFault(action, path, 'EPERM', `belongs to user ${status.uid}, not to ${disk.effectiveUid()}`)
}

function regularStatus(action: string, path: string, fd: number): FileStatus {
  const status = disk.statusOf(fd)
  if (typeof status === 'number') throw diskFault(action, path, status)
  if (status.kind === 'directory') throw unfitFault(action, path, 'EISDIR', 'is a directory')
  if (status.kind !== 'file') throw unfitFault(action, path, 'EINVAL', 'is not a regular file')
  return status
}

/**
 * Throws a Fault if other users can replace the files of a directory: their contents could not be trusted. Group root may
 * write, as it is root.
 */
export function assertOwnDirectory(action: string, path: string): void {
  const status = disk.statusAt(`${path}/.`)
  if (typeof status === 'number') throw diskFault(action, path, status)
  const { uid, gid, mode } = status
  const open = (mode & 0o002) !== 0 ? 'every user' : (mode & 0o020) !== 0 && gid !== 0 ? `group ${gid}` : ''
  const foreign = uid !== 0 && uid !== disk.effectiveUid()
  if (!foreign && !open) return
  const why = foreign ? `belongs to user ${uid}` : `can be written by ${open}`
  throw new Fault(`${action} below ${path}: the directory ${why}`, {
    code: Code.io,
    errno: 'EPERM',
    hint: `See whether what is in it is as it should be, then run: chown root ${path}; chmod go-w ${path}`,
  })
}

/** Reads up to `length` bytes from `offset`; fewer only at the end of the file. */
export function readRange(path: string, fd: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const count = disk.readOnce(fd, bytes.subarray(done), offset + done)
    if (count < 0 && count !== -Errno.EINTR) throw diskFault('read', path, count)
    if (count === 0) break
    done += Math.max(count, 0)
  }
  return bytes.subarray(0, done)
}

/** Writes all of `bytes` at `offset`. */
export function writeRange(
  action: string,
  path: string,
  fd: number,
  offset: number,
  bytes: Uint8Array,
): void {
  let done = 0
  while (done < bytes.length) {
    const count = disk.writeOnce(fd, bytes.subarray(done), offset + done)
    if (count < 0 && count !== -Errno.EINTR) throw diskFault(action, path, count)
    done += Math.max(count, 0)
  }
}

/** Returns the Fault for a failed call. `outcome` is a negative errno number. */
export function diskFault(action: string, path: string, outcome: number): Fault {
  const errno = errnoName(-outcome)
  return new Fault(`${action} ${path}: ${errno}`, {
    code: Code.io,
    errno,
    hint: HINTS[errno]?.replace('PATH', path),
  })
}

/** Returns the Fault for a file that is not of the expected kind or owner. */
export function unfitFault(action: string, path: string, errno: string, why: string): Fault {
  const hint = `Find out who made ${path} and move it away; Bowline then makes its own.`
  return new Fault(`${action} ${path}: it ${why}`, { code: Code.io, errno, hint })
}

const PERMISSION = 'Check the owner and mode of PATH and of the directories above it.'
const SPACE = 'Free some space on the file system of PATH.'
const HINTS: Record<string, string> = {
  EACCES: PERMISSION,
  EPERM: PERMISSION,
  ENOSPC: SPACE,
  EDQUOT: SPACE,
  EROFS: 'Mount the file system of PATH writable.',
  ELOOP: 'Replace the symbolic link PATH by what it points to; links are not followed there.',
  ENOTDIR: 'Find the file that is in the place of a directory above PATH, and move it away.',
  ENXIO: 'Remove PATH, which is no regular file.',
}
