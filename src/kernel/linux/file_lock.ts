import { Code, Fault } from '../../core/errors.ts'
import type { FileLock, LockKind } from '../../core/files.ts'
import {
  close,
  Errno,
  monotonicMicroseconds,
  Open,
  open,
  sleepMicroseconds,
  statusAt,
  tryLock,
} from './disk.ts'
import { assertOwnDirectory, checked, diskFault, ownStatus } from './own_file.ts'
import { directoryOf } from './whole_file.ts'

/** A holder works for a millisecond or so; a waiter looks again that often at first, then more and more rarely. */
const FIRST_WAIT_US = 200
const LONGEST_WAIT_US = 5000
/** How often the file may be replaced under us before we give up, however much time is left. */
const MAX_REPLACED = 100

/**
 * Takes a flock on `path`, made with mode 0600 if missing. Polls, because a signal is the only other way out
 * of a flock that waits. Throws a Fault with code 11 after `timeoutMs`, also when the time is 0 and it is held.
 */
export function lockFile(path: string, timeoutMs: number, kind: LockKind = 'exclusive'): FileLock {
  const start = monotonicMicroseconds()
  for (let replaced = 0; replaced < MAX_REPLACED; replaced++) {
    const fd = openLock(checked(path))
    if (fd < 0) throw diskFault('lock', path, fd)
    try {
      // All work below a directory begins with a lock in it, so once here is enough.
      assertOwnDirectory('lock', directoryOf(path))
      waitForLock(path, fd, start, timeoutMs, kind)
      if (isStillThere(path, fd)) return heldLock(fd)
    } catch (error) {
      close(fd)
      throw error
    }
    close(fd)
  }
  throw busyFault(path, start)
}

/** On a read-only disk the file is only opened if it is there; to lock it takes no right to write. */
function openLock(path: string): number {
  const fd = open(path, Open.readWrite | Open.create, 0o600)
  if (fd !== -Errno.EROFS) return fd
  const readable = open(path, Open.read)
  return readable === -Errno.ENOENT ? fd : readable
}

function waitForLock(path: string, fd: number, start: number, timeoutMs: number, kind: LockKind): void {
  let wait = FIRST_WAIT_US
  for (;;) {
    const outcome = tryLock(fd, kind)
    if (outcome >= 0) return
    if (outcome !== -Errno.EAGAIN && outcome !== -Errno.EINTR) throw diskFault('lock', path, outcome)
    const leftUs = timeoutMs * 1000 - microsecondsSince(start)
    if (leftUs <= 0) throw busyFault(path, start)
    sleepMicroseconds(Math.ceil(Math.min(wait, leftUs)))
    wait = Math.min(wait * 1.5, LONGEST_WAIT_US)
  }
}

/** Between open and flock another process may have removed the file and made it anew: then we hold nothing. */
function isStillThere(path: string, fd: number): boolean {
  const mine = ownStatus('lock', path, fd)
  const there = statusAt(path)
  return typeof there !== 'number' && there.identity === mine.identity
}

function heldLock(fd: number): FileLock {
  let held = true
  return {
    release() {
      if (held) close(fd)
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
  return monotonicMicroseconds() - start
}
