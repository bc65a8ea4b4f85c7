import { runtime } from '#runtime'
import type { Machine } from '../../core/machine.ts'
import { readText, textBytes } from '../../core/text.ts'
import { numbersOf } from '../../runtime/numbers.ts'
import {
  close,
  extendedAttribute,
  isSameFile,
  modificationTime,
  Open,
  open,
  rename,
  statusAt,
  statusOf,
  tryLock,
} from './disk.ts'
import { Errno } from './errno.ts'
import { checked, diskFault, withForeignFile } from './own_file.ts'

const { syscall } = runtime
const number = numbersOf(runtime.arch)
const CLOCK_REALTIME = 0
const TCGETS = 0x5401
const TIOCGWINSZ = 0x5413
const HOSTNAME = '/proc/sys/kernel/hostname'
const LOG_MODE = 0o640
/** Bounds how often a log is opened again because another process has just renamed it. */
const MAX_ATTEMPTS = 8

export function createMachine(): Machine {
  return {
    now() {
      const view = new DataView(new ArrayBuffer(16))
      syscall(number.clock_gettime, CLOCK_REALTIME, new Uint8Array(view.buffer))
      return view.getUint32(0, true) * 1000 + view.getUint32(8, true) / 1e6
    },
    pid: () => syscall(number.getpid),
    hostname: () => withForeignFile(HOSTNAME, (fd) => readText(readSome(fd)).trim()) ?? '',
    modified(path) {
      const time = modificationTime(path)
      return time < 0 ? undefined : time
    },
    selinuxLabel: (path) => extendedAttribute(path, 'security.selinux'),
    isTerminal: (fd) => syscall(number.ioctl, fd, TCGETS, new Uint8Array(64)) >= 0,
    columns() {
      const size = new Uint8Array(8)
      const known = syscall(number.ioctl, 1, TIOCGWINSZ, size) >= 0
      return (known && (size[2] ?? 0) + 256 * (size[3] ?? 0)) || 80
    },
    readLine: () => readText(readSome(0)).trim(),
    show(text) {
      const bytes = textBytes(text)
      syscall(number.write, 2, bytes, bytes.length)
    },
    appendLog,
  }
}

function readSome(fd: number): Uint8Array {
  const bytes = new Uint8Array(1024)
  return bytes.subarray(0, Math.max(0, syscall(number.read, fd, bytes, bytes.length)))
}

/**
 * The file is renamed under its own lock, by the process that finds it too long. A process that opened it before goes on to
 * write into the renamed one, which is read as well.
 */
function appendLog(path: string, lines: string, maxBytes: number): void {
  const bytes = textBytes(lines)
  for (let attempt = 1; ; attempt++) {
    const fd = open(checked(path), Open.write | Open.create | Open.append, LOG_MODE)
    if (fd < 0) throw diskFault('write', path, fd)
    try {
      if (attempt < MAX_ATTEMPTS && isTooLong(fd, bytes.length, maxBytes) && hasRenamed(path, fd)) continue
      const count = syscall(number.write, fd, bytes, bytes.length)
      if (count < 0) throw diskFault('write', path, count)
      return
    } finally {
      close(fd)
    }
  }
}

function isTooLong(fd: number, more: number, maxBytes: number): boolean {
  const status = statusOf(fd)
  return (
    typeof status !== 'number' && status.kind === 'file' && status.size > 0 && status.size + more > maxBytes
  )
}

/** Returns whether the log has to be opened again: this process or another one has renamed it. */
function hasRenamed(path: string, fd: number): boolean {
  if (tryLock(fd, 'exclusive') === -Errno.EAGAIN) return false
  const [mine, there] = [statusOf(fd), statusAt(path)]
  if (typeof mine === 'number') return false
  if (typeof there === 'number' || !isSameFile(there, mine)) return true
  return rename(path, `${path}.1`) >= 0
}
