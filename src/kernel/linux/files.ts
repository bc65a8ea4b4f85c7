import { Code, Fault } from '../../core/errors.ts'
import type { Files } from '../../core/files.ts'
import { readText } from '../../core/text.ts'
import { ensureDirectory, listDirectory, removeDirectory } from './directory.ts'
import * as disk from './disk.ts'
import { type FileStatus, Open } from './disk.ts'
import { Errno } from './errno.ts'
import { lockFile } from './file_lock.ts'
import {
  checked,
  diskFault,
  readRange,
  unfitFault,
  withForeignFile,
  withOwnFile,
  writeRange,
} from './own_file.ts'
import {
  createWhole,
  probeDirectory,
  publishLink,
  publishWhole,
  removeTemporaries,
  replaceWhole,
} from './whole_file.ts'

const MAX_TEXT_BYTES = 64 << 20
const MAX_FOREIGN_BYTES = 1 << 20
/** The bound on retries because the file came or went. */
const MAX_ATTEMPTS = 16

/**
 * Creates the files port on a real disk. `anonymous: false` does not use O_TMPFILE even where the file system has it; the
 * result is the same, but a crash may leave a temporary name.
 */
export function createLinuxFiles({ anonymous = true }: { anonymous?: boolean } = {}): Files {
  return {
    read: readWhole,
    readForeign,
    readAt(path, offset, length) {
      const read = (fd: number) => readRange(path, fd, offset, length)
      return withOwnFile('read', path, Open.read, read) ?? new Uint8Array(0)
    },
    readProgram: (path) => withForeignFile(path, (fd, { size }) => readToEnd(path, fd, size, MAX_TEXT_BYTES)),
    modeOf,
    publish: (path, bytes, mode) => publishWhole(path, bytes, mode, anonymous),
    publishLink,
    create: (path, text) => createWhole(path, text, anonymous),
    replace: (path, text) => replaceWhole(path, text, anonymous),
    writeAt,
    remove,
    removeDirectory,
    ensureDirectory: (path, mode = 0o700) => ensureDirectory(path, mode),
    list: listDirectory,
    probe: (path) => probeDirectory(path, anonymous),
    lock: lockFile,
  }
}

function readWhole(path: string): string | undefined {
  return withOwnFile('read', path, Open.read, (fd, { size }) =>
    readText(readToEnd(path, fd, size, MAX_TEXT_BYTES)),
  )
}

function readForeign(path: string): string | undefined {
  return withForeignFile(path, (fd, { size }) => readText(readToEnd(path, fd, size, MAX_FOREIGN_BYTES)))
}

function modeOf(path: string): number | undefined {
  const status = disk.statusBehind(checked(path))
  if (typeof status !== 'number') return status.mode
  if (status === -Errno.ENOENT) return undefined
  throw diskFault('look at', path, status)
}

function readToEnd(path: string, fd: number, size: number, limit: number): Uint8Array {
  // One byte more than the size: a file that fills it has grown meanwhile.
  for (let length = size + 1; length <= limit; length *= 2) {
    const bytes = readRange(path, fd, 0, length)
    if (bytes.length < length) return bytes
  }
  throw new Fault(`read ${path}: larger than ${limit} bytes`, { code: Code.io, errno: 'EFBIG' })
}

/**
 * Writes in place. Creates a missing file, and removes it again if it cannot be written. Refuses a file with a second
 * name: it may be a hard link to a file of the system.
 */
function writeAt(path: string, offset: number, bytes: Uint8Array): void {
  const write = (fd: number, status?: FileStatus) => {
    if (status && status.links > 1) throw unfitFault('write', path, 'EMLINK', 'has another name as well')
    writeRange('write', path, fd, offset, bytes)
    return true
  }
  for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
    if (withOwnFile('write', path, Open.write, write) || writeNew(path, write)) return
  }
  throw diskFault('write', path, -Errno.EAGAIN)
}

/** Returns false if another process has just created the file. */
function writeNew(path: string, write: (fd: number) => void): boolean {
  const fd = disk.open(path, Open.write | Open.createNew, 0o600)
  if (fd === -Errno.EEXIST) return false
  if (fd < 0) throw diskFault('write', path, fd)
  try {
    write(fd)
  } catch (error) {
    disk.unlink(path)
    throw error
  } finally {
    disk.close(fd)
  }
  return true
}

function remove(path: string): boolean {
  const outcome = disk.unlink(checked(path))
  if (outcome >= 0) return true
  if (outcome === -Errno.EROFS && disk.isMissing(path)) return false
  if (outcome !== -Errno.ENOENT) throw diskFault('remove', path, outcome)
  removeTemporaries(path)
  return false
}
