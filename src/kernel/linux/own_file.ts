import { Code, Fault } from '../../core/errors.ts'
import {
  close,
  Errno,
  effectiveUid,
  type FileStatus,
  open,
  readOnce,
  statusAt,
  statusOf,
  writeOnce,
} from './disk.ts'
import { errnoName } from './errno.ts'

/** Lets `path` through if libc will see what we see. Throws a Fault if a NUL would cut it short or it is relative. */
export function checked(path: string): string {
  if (path.startsWith('/') && !path.includes('\0')) return path
  throw new Fault(`${JSON.stringify(path)} is not an absolute path`, { code: Code.io, errno: 'EINVAL' })
}

/**
 * Opens a file that is ours, hands it to `work` and closes it. Undefined if there is no such file. Throws a Fault if it
 * is not a regular file or belongs to another user: somebody may have planted it.
 */
export function withOwnFile<T>(
  action: string,
  path: string,
  flags: number,
  work: (fd: number, status: FileStatus) => T,
): T | undefined {
  const fd = open(checked(path), flags)
  if (fd === -Errno.ENOENT) return undefined
  if (fd < 0) throw diskFault(action, path, fd)
  try {
    return work(fd, ownStatus(action, path, fd))
  } finally {
    close(fd)
  }
}

/** The status of an open file. Throws a Fault unless it is a regular file of the effective user. */
export function ownStatus(action: string, path: string, fd: number): FileStatus {
  const status = statusOf(fd)
  if (typeof status === 'number') throw diskFault(action, path, status)
  if (status.kind === 'directory') throw unfitFault(action, path, 'EISDIR', 'is a directory')
  if (status.kind !== 'file') throw unfitFault(action, path, 'EINVAL', 'is not a regular file')
  if (status.uid !== effectiveUid()) {
    throw unfitFault(action, path, 'EPERM', `belongs to user ${status.uid}, not to ${effectiveUid()}`)
  }
  return status
}

/**
 * Throws a Fault if other users can exchange what is in a directory: whatever is read there could be theirs then. Group
 * root may write: that is root.
 */
export function assertOwnDirectory(action: string, path: string): void {
  const status = statusAt(`${path}/.`)
  if (typeof status === 'number') throw diskFault(action, path, status)
  const { uid, gid, mode } = status
  const open = (mode & 0o002) !== 0 ? 'every user' : (mode & 0o020) !== 0 && gid !== 0 ? `group ${gid}` : ''
  const foreign = uid !== 0 && uid !== effectiveUid()
  if (!foreign && !open) return
  const why = foreign ? `belongs to user ${uid}` : `can be written by ${open}`
  throw new Fault(`${action} below ${path}: the directory ${why}`, {
    code: Code.io,
    errno: 'EPERM',
    hint: `See whether what is in it is as it should be, then run: chown root ${path}; chmod go-w ${path}`,
  })
}

/** Up to `length` bytes from `offset`; less only at the end of the file. */
export function readRange(path: string, fd: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let done = 0
  while (done < length) {
    const count = readOnce(fd, bytes.subarray(done), offset + done)
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
    const count = writeOnce(fd, bytes.subarray(done), offset + done)
    if (count < 0 && count !== -Errno.EINTR) throw diskFault(action, path, count)
    done += Math.max(count, 0)
  }
}

/** The refusal of a call, as a Fault. `outcome` is a negative errno number. */
export function diskFault(action: string, path: string, outcome: number): Fault {
  const errno = errnoName(-outcome)
  const hint = HINTS[errno]?.replace('PATH', path)
  return new Fault(`${action} ${path}: ${errno}`, { code: Code.io, errno, ...(hint ? { hint } : {}) })
}

/** The refusal of something that is there but is not what it should be. */
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
  ENXIO: 'Remove PATH, which is no regular file.',
}
