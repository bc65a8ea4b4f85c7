import { Code, Fault } from '../../core/errors.ts'
import type { FileLock, LockKind } from '../../core/files.ts'
import * as disk from './disk.ts'
import { Open } from './disk.ts'
import { Errno } from './errno.ts'
import { assertOwnDirectory, checked, diskFault, ownStatus } from './own_file.ts'
import { directoryOf } from './whole_file.ts'

/** A holder keeps the lock for about a millisecond. A waiter tries again after this time, then after longer and longer ones. */
const FIRST_WAIT_US = 200
const LONGEST_WAIT_US = 5000
/** The bound on retries because the file was replaced, however much time is left. */
const MAX_REPLACED = 100

/**
 * Takes a flock on `path`, made with mode 0600 if missing. Polls, because a signal is the only other way out
 * of a flock that waits. Throws a Fault with code 11 after `timeoutMs`, also when the time is 0 and it is held.
 */
export function lockFile(path: string, timeoutMs: number, kind: LockKind = 'exclusive'): FileLock {
  const start = disk.monotonicMicroseconds()
  for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
    const fd = openLock(checked(path))
    if (fd < 0) throw diskFault('lock', path, fd)
    try {
      // All work below a directory starts with a lock in it, so one check here is enough.
      assertOwnDirectory('lock', directoryOf(path))
      waitForLock(path, fd, start, timeoutMs, kind)
      if (isStillThere(path, fd)) return heldLock(fd)
    } catch (error) {
      disk.close(fd)
      throw error
    }
    disk.close(fd)
  }
  throw busyFault(path, start)
}

/** Opens the lock file. On a read-only disk only an existing one can be opened; to lock it needs no write permission. */
function openLock(path: string): number {
  const fd = disk.open(path, Open.readWrite | Open.create, 0o600)
  if (fd !== -Errno.EROFS) return fd
  const readable = disk.open(path, Open.read)
  return readable === -Errno.ENOENT ? fd : readable
}

function waitForLock(path: string, fd: number, start: number, timeoutMs: number, kind: LockKind): void {
  let wait = FIRST_WAIT_US
  for (;;) {
    const outcome = disk.tryLock(fd, kind)
    if (outcome >= 0) return
    if (outcome !== -Errno.EAGAIN && outcome !== -Errno.EINTR) throw diskFault('lock', path, outcome)
    const leftUs = timeoutMs * 1000 - microsecondsSince(start)
    if (leftUs <= 0) throw busyFault(path, start)
    disk.sleepMicroseconds(Math.ceil(Math.min(wait, leftUs)))
    wait = Math.min(wait * 1.5, LONGEST_WAIT_US)
  }
}

/** Another process may replace the file between open and flock: then our lock is on a removed file and excludes nobody. */
function isStillThere(path: string, fd: number): boolean {
  const mine = ownStatus('lock', path, fd)
  const there = disk.statusAt(path)
  return typeof there !== 'number' && disk.isSameFile(there, mine)
}

function heldLock(fd: number): FileLock {
  let held = true
  return {
    release() {
      if (held) disk.close(fd)
      held = false
    },
  }
}

function busyFault(path: string, start: number): Fault {
  const waited = Math.round(microsecondsSince(start) / 1000)
  return new Fault(`lock ${path}: another process holds it; waited ${waited} ms`, {
    code: Code.tryLater,
    errno: 'EAGAIN',
    hint: `Try again later; if it stays so, see who holds it with: fuser -v ${path}`,
  })
}

function microsecondsSince(start: number): number {
  return disk.monotonicMicroseconds() - start
}
