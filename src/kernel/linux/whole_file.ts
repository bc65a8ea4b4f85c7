import { isErrno } from '../../core/errors.ts'
import { textBytes } from '../../core/text.ts'
import * as disk from './disk.ts'
import { Open } from './disk.ts'
import { Errno } from './errno.ts'
import { assertOwnDirectory, checked, diskFault, writeRange } from './own_file.ts'

/**
 * The prefix of temporary names. A crash can leave such a file: the next writer of the same file replaces it, `list` does
 * not show it, and `removeDirectory` removes it.
 */
export const TEMPORARY = '.bowline-tmp.'
/** The bound on retries. In each round one of the competing writers succeeds, so only a broken disk exhausts it. */
const MAX_ATTEMPTS = 64
/** One block of a file system, so that a full one fails. */
const PROBE_TEXT = ' '.repeat(4096)
/** The wait before attempt n is n times this long. */
const BACKOFF_US = 50
/** A running writer keeps its spare name for less than a millisecond; these attempts give it more than 5 ms. */
const PATIENT_ATTEMPTS = 16

/** Creates a file, whole or not at all; throws EEXIST if there is one. */
export function createWhole(path: string, text: string, anonymous: boolean): void {
  placeWhole('create', path, textBytes(text), anonymous, (fd) => disk.linkAnonymous(fd, path))
}

/** Creates or replaces a file, whole or not at all. */
export function replaceWhole(path: string, text: string, anonymous: boolean): void {
  placeWhole('replace', path, textBytes(text), anonymous, (fd) => linkOver(fd, path))
}

/**
 * Makes or replaces a file for other programs. It is named beside `path` while it is open for writing, and moved only after it was
 * closed: the kernel refuses to run a program that somebody can write to (ETXTBSY). The name beside has a suffix of its own, as
 * a container runtime reads each `*.conflist` of a directory.
 */
export function publishWhole(path: string, bytes: Uint8Array, mode: number, anonymous: boolean): void {
  const beside = publishedName(checked(path))
  disk.unlink(beside)
  placeWhole('install', path, bytes, anonymous, (fd) => {
    const refused = [disk.setMode(fd, mode), disk.flush(fd)].find((outcome) => outcome < 0)
    return refused ?? disk.linkAnonymous(fd, beside)
  })
  moveFrom(beside, path)
}

/** Makes or replaces a symbolic link. */
export function publishLink(path: string, target: string): void {
  const beside = publishedName(checked(path))
  disk.unlink(beside)
  const made = disk.makeLink(beside, target)
  if (made < 0) throw diskFault('link', path, made)
  moveFrom(beside, path)
}

function moveFrom(beside: string, path: string): void {
  const moved = disk.rename(beside, path)
  if (moved >= 0) return
  disk.unlink(beside)
  throw diskFault('install', path, moved)
}

function publishedName(path: string): string {
  return `${temporaryName(path)}.published`
}

/**
 * Throws unless a file can be written in the directory, by writing one without a name. A missing directory is judged by
 * its nearest existing parent; an existing one must be ours as well.
 */
export function probeDirectory(directory: string, anonymous: boolean): void {
  const isThere = wouldWrite(`${directory}/probe`, anonymous)
  if (isThere) assertOwnDirectory('write', directory)
  for (let path = directory; !isThere && path !== '/'; path = directoryOf(path)) {
    if (wouldWrite(path, anonymous)) return
  }
}

/** Returns false if the directory of `path` is missing. */
function wouldWrite(path: string, anonymous: boolean): boolean {
  try {
    placeWhole('write', path, textBytes(PROBE_TEXT), anonymous, () => 0)
    return true
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    return false
  }
}

/** Removes the temporary files that a crash may have left beside a file. */
export function removeTemporaries(path: string): void {
  disk.unlink(temporaryName(path))
  disk.unlink(spareName(path))
}

/** Returns the directory of an absolute path, without a final slash unless it is the root. */
export function directoryOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')))
}

/**
 * Writes a file without a name, then lets `place` name it. ENOENT from `place` means that a temporary name or the directory
 * is gone. Then it starts again: a file that has lost its last name cannot get another.
 */
function placeWhole(
  action: string,
  path: string,
  bytes: Uint8Array,
  anonymous: boolean,
  place: (fd: number) => number,
): void {
  const outcome = retryOn(Errno.ENOENT, () => {
    const { fd, spare } = openUnnamed(action, checked(path), anonymous)
    try {
      writeRange(action, path, fd, 0, bytes)
      return place(fd)
    } finally {
      if (spare) disk.unlink(spare)
      disk.close(fd)
    }
  })
  if (outcome < 0) throw diskFault(action, path, outcome)
}

/**
 * Gives the file a temporary name beside `path`, then renames it. A writer that finds the temporary name in use takes it
 * over: it always names a whole file, so readers see one file or the other, whichever writer renames it.
 */
function linkOver(fd: number, path: string): number {
  const beside = temporaryName(path)
  const linked = retryOn(Errno.EEXIST, (attempt) => {
    if (attempt > 0) disk.unlink(beside)
    return disk.linkAnonymous(fd, beside)
  })
  if (linked < 0) return linked
  const moved = disk.rename(beside, path)
  if (moved < 0) disk.unlink(beside)
  return moved
}

/** Opens a new file in the directory of `path`. A file without a name vanishes when the process dies. */
function openUnnamed(action: string, path: string, anonymous: boolean): { fd: number; spare?: string } {
  // The dot follows a link to the directory, which is allowed.
  const fd = anonymous
    ? disk.open(`${directoryOf(path)}/.`, Open.write | Open.anonymous, 0o600)
    : -Errno.EOPNOTSUPP
  if (fd >= 0) return { fd }
  // A kernel without O_TMPFILE answers EISDIR.
  if (fd !== -Errno.EOPNOTSUPP && fd !== -Errno.EISDIR) throw diskFault(action, path, fd)
  return openSpare(action, path)
}

/**
 * Opens a file under a spare name, for file systems without O_TMPFILE. A writer that finds the name in use waits, then takes
 * it over, as the other writer is probably dead. If that one is alive, it fails with ENOENT, since it places its file by the
 * descriptor, and starts again; it never places a file that is only half written.
 */
function openSpare(action: string, path: string): { fd: number; spare: string } {
  const spare = spareName(path)
  const fd = retryOn(Errno.EEXIST, (attempt) => {
    if (attempt >= PATIENT_ATTEMPTS) disk.unlink(spare)
    return disk.open(spare, Open.write | Open.createNew, 0o600)
  })
  if (fd < 0) throw diskFault(action, path, fd)
  return { fd, spare }
}

/** Calls `work` until its outcome is another one than `errno`, a bounded number of times, after longer and longer waits. */
function retryOn(errno: number, work: (attempt: number) => number): number {
  for (let attempt = 0; ; attempt++) {
    const outcome = work(attempt)
    if (outcome !== -errno || attempt === MAX_ATTEMPTS) return outcome
    disk.sleepMicroseconds((attempt + 1) * BACKOFF_US)
  }
}

function spareName(path: string): string {
  return `${temporaryName(path)}.new`
}

function temporaryName(path: string): string {
  const slash = path.lastIndexOf('/') + 1
  return path.slice(0, slash) + TEMPORARY + path.slice(slash)
}
