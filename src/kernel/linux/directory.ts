import { latin1, readText } from '../../core/text.ts'
import * as disk from './disk.ts'
import { Open } from './disk.ts'
import { Errno } from './errno.ts'
import { checked, diskFault, unfitFault } from './own_file.ts'
import { directoryOf, TEMPORARY } from './whole_file.ts'

const CHUNK_BYTES = 32 << 10
/** Offsets of the length and the name in struct linux_dirent64, in bytes. */
const ENTRY_LENGTH_AT = 16
const ENTRY_NAME_AT = 19

/** Creates a directory and its parents, all with `mode` whatever the umask. Removes them again if it fails. */
export function ensureDirectory(path: string, mode: number): void {
  const made: string[] = []
  try {
    makeWithParents(checked(path), mode, made)
  } catch (error) {
    for (const directory of made.reverse()) disk.removeEmptyDirectory(directory)
    throw error
  }
}

/**
 * Removes an empty directory. Returns false if it is missing or not empty. Temporary files that a crash left do not count,
 * and are removed: those of a removed record would stay for ever. A running writer that loses its file starts again.
 */
export function removeDirectory(path: string): boolean {
  if (tryRemove(path)) return true
  const names = listAll(path)
  const temporaries = names.filter(isTemporary)
  for (const name of temporaries) disk.unlink(`${path}/${name}`)
  return temporaries.length > 0 && temporaries.length === names.length && tryRemove(path)
}

/** Returns the names in a directory without temporary files. */
export function listDirectory(path: string): string[] {
  return listAll(path).filter((name) => !isTemporary(name))
}

function makeWithParents(path: string, mode: number, made: string[]): void {
  let outcome = disk.makeDirectory(path, mode)
  if (outcome === -Errno.ENOENT && directoryOf(path) !== path) {
    makeWithParents(directoryOf(path), mode, made)
    outcome = disk.makeDirectory(path, mode)
  }
  if (outcome === -Errno.EEXIST) refuseOtherThanDirectory(path)
  else if (outcome < 0) throw diskFault('make directory', path, outcome)
  else {
    made.push(path)
    forceMode(path, mode)
  }
}

function refuseOtherThanDirectory(path: string): void {
  const status = disk.statusAt(path)
  if (typeof status === 'number') throw diskFault('make directory', path, status)
  if (status.kind !== 'directory') throw unfitFault('make directory', path, 'ENOTDIR', 'is not a directory')
}

/** Sets the mode bits that the umask of the caller has cleared. */
function forceMode(path: string, mode: number): void {
  const fd = disk.open(path, Open.read | Open.directory)
  if (fd < 0) throw diskFault('make directory', path, fd)
  const outcome = disk.setMode(fd, mode)
  disk.close(fd)
  if (outcome < 0) throw diskFault('make directory', path, outcome)
}

function tryRemove(path: string): boolean {
  const outcome = disk.removeEmptyDirectory(checked(path))
  if (outcome >= 0) return true
  if (outcome === -Errno.ENOENT || outcome === -Errno.ENOTEMPTY || outcome === -Errno.EEXIST) return false
  if (outcome === -Errno.EROFS && (disk.isMissing(path) || listAll(path).length > 0)) return false
  throw diskFault('remove directory', path, outcome)
}

function isTemporary(name: string): boolean {
  return name.startsWith(TEMPORARY)
}

function listAll(path: string): string[] {
  const fd = disk.open(checked(path), Open.read | Open.directory)
  if (fd === -Errno.ENOENT) return []
  if (fd < 0) throw diskFault('list', path, fd)
  try {
    return readNames(path, fd)
  } finally {
    disk.close(fd)
  }
}

function readNames(path: string, fd: number): string[] {
  const names: string[] = []
  const chunk = new Uint8Array(CHUNK_BYTES)
  for (;;) {
    const length = disk.readDirectory(fd, chunk)
    // ENOENT: the directory was removed after it was opened, so it was empty.
    if (length === 0 || length === -Errno.ENOENT) return names
    if (length < 0) throw diskFault('list', path, length)
    pushNames(chunk.subarray(0, length), names)
  }
}

/** Cuts names out of one string of the whole chunk: thousands of leases must list within a millisecond or two. */
function pushNames(entries: Uint8Array, names: string[]): void {
  const text = latin1(entries)
  for (let at = 0; at < entries.length; ) {
    const start = at + ENTRY_NAME_AT
    const end = text.indexOf('\0', start)
    const name = text.slice(start, end)
    // A name with bytes beyond ASCII is rare, and is read a second time.
    if (name !== '.' && name !== '..')
      names.push(/^[ -~]*$/.test(name) ? name : readText(entries.subarray(start, end)))
    at += (entries[at + ENTRY_LENGTH_AT] ?? 0) | ((entries[at + ENTRY_LENGTH_AT + 1] ?? 0) << 8)
  }
}
