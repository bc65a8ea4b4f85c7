import { latin1, readText } from '../../core/text.ts'
import {
  close,
  Errno,
  isMissing,
  makeDirectory,
  Open,
  open,
  readDirectory,
  removeEmptyDirectory,
  setMode,
  statusAt,
  unlink,
} from './disk.ts'
import { checked, diskFault, unfitFault } from './own_file.ts'
import { directoryOf, TEMPORARY } from './whole_file.ts'

const CHUNK_BYTES = 32 << 10
/** Where the length of an entry and its name are in struct linux_dirent64: bytes. */
const ENTRY_LENGTH_AT = 16
const ENTRY_NAME_AT = 19

/** Makes a directory and its parents, all with `mode` whatever the umask. What it made is gone again if it fails. */
export function ensureDirectory(path: string, mode: number): void {
  const made: string[] = []
  try {
    makeWithParents(checked(path), mode, made)
  } catch (error) {
    for (const directory of made.reverse()) removeEmptyDirectory(directory)
    throw error
  }
}

/**
 * False if it is missing or not empty. Temporaries that a crash has left do not count, and are gone afterwards either way:
 * a record that was removed would leave its own for ever. A living writer that loses one begins anew.
 */
export function removeDirectory(path: string): boolean {
  if (tryRemove(path)) return true
  const names = listAll(path)
  const temporaries = names.filter(isTemporary)
  for (const name of temporaries) unlink(`${path}/${name}`)
  return temporaries.length > 0 && temporaries.length === names.length && tryRemove(path)
}

/** The names in a directory, without temporaries. */
export function listDirectory(path: string): string[] {
  return listAll(path).filter((name) => !isTemporary(name))
}

function makeWithParents(path: string, mode: number, made: string[]): void {
  let outcome = makeDirectory(path, mode)
  if (outcome === -Errno.ENOENT && directoryOf(path) !== path) {
    makeWithParents(directoryOf(path), mode, made)
    outcome = makeDirectory(path, mode)
  }
  if (outcome === -Errno.EEXIST) refuseOtherThanDirectory(path)
  else if (outcome < 0) throw diskFault('make directory', path, outcome)
  else {
    made.push(path)
    forceMode(path, mode)
  }
}

function refuseOtherThanDirectory(path: string): void {
  const status = statusAt(path)
  if (typeof status === 'number') throw diskFault('make directory', path, status)
  if (status.kind !== 'directory') throw unfitFault('make directory', path, 'ENOTDIR', 'is not a directory')
}

/** Gives back what the umask of whoever started us has taken off. */
function forceMode(path: string, mode: number): void {
  const fd = open(path, Open.read | Open.directory)
  if (fd < 0) throw diskFault('make directory', path, fd)
  const outcome = setMode(fd, mode)
  close(fd)
  if (outcome < 0) throw diskFault('make directory', path, outcome)
}

function tryRemove(path: string): boolean {
  const outcome = removeEmptyDirectory(checked(path))
  if (outcome >= 0) return true
  if (outcome === -Errno.ENOENT || outcome === -Errno.ENOTEMPTY || outcome === -Errno.EEXIST) return false
  if (outcome === -Errno.EROFS && (isMissing(path) || listAll(path).length > 0)) return false
  throw diskFault('remove directory', path, outcome)
}

function isTemporary(name: string): boolean {
  return name.startsWith(TEMPORARY)
}

function listAll(path: string): string[] {
  const fd = open(checked(path), Open.read | Open.directory)
  if (fd === -Errno.ENOENT) return []
  if (fd < 0) throw diskFault('list', path, fd)
  try {
    return readNames(path, fd)
  } finally {
    close(fd)
  }
}

function readNames(path: string, fd: number): string[] {
  const names: string[] = []
  const chunk = new Uint8Array(CHUNK_BYTES)
  for (;;) {
    const length = readDirectory(fd, chunk)
    // ENOENT here is of a directory that was removed since it was opened: then it was empty.
    if (length === 0 || length === -Errno.ENOENT) return names
    if (length < 0) throw diskFault('list', path, length)
    pushNames(chunk.subarray(0, length), names)
  }
}

/** A name is cut out of one string of the whole chunk: thousands of leases must list within a millisecond or two. */
function pushNames(entries: Uint8Array, names: string[]): void {
  const text = latin1(entries)
  for (let at = 0; at < entries.length; ) {
    const start = at + ENTRY_NAME_AT
    const end = text.indexOf('\0', start)
    const name = text.slice(start, end)
    // Bytes beyond ASCII are rare enough to be read a second time.
    if (name !== '.' && name !== '..')
      names.push(/^[ -~]*$/.test(name) ? name : readText(entries.subarray(start, end)))
    at += (entries[at + ENTRY_LENGTH_AT] ?? 0) | ((entries[at + ENTRY_LENGTH_AT + 1] ?? 0) << 8)
  }
}
