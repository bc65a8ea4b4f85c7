import { isErrno } from '../../core/errors.ts'
import { textBytes } from '../../core/text.ts'
import {
  close,
  Errno,
  flush,
  linkAnonymous,
  makeLink,
  Open,
  open,
  rename,
  setMode,
  sleepMicroseconds,
  unlink,
} from './disk.ts'
import { assertOwnDirectory, checked, diskFault, writeRange } from './own_file.ts'

/**
 * What a crash can leave: a file under a name that begins so. The next writer of the same file takes its place, `list`
 * does not show it, and who tries to remove the directory takes it away.
 */
export const TEMPORARY = '.bowline-tmp.'
/** Of competing writers one gets on in every round, so this many rounds end only for a disk that is broken. */
const MAX_ATTEMPTS = 64
/** As much as a file system gives out at once, so that a full one shows. */
const PROBE_TEXT = ' '.repeat(4096)
/** The wait before attempt n is n times this long. */
const BACKOFF_US = 50
/** A living writer keeps its spare name for a fraction of a millisecond; these attempts give it more than 5 ms. */
const PATIENT_ATTEMPTS = 16

/** Makes a new file, whole or not at all; EEXIST if there is one. */
export function createWhole(path: string, text: string, anonymous: boolean): void {
  placeWhole('create', path, textBytes(text), anonymous, (fd) => linkAnonymous(fd, path))
}

/** Makes a file or replaces it, whole or not at all. */
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
  unlink(beside)
  placeWhole('install', path, bytes, anonymous, (fd) => {
    const refused = [setMode(fd, mode), flush(fd)].find((outcome) => outcome < 0)
    return refused ?? linkAnonymous(fd, beside)
  })
  moveFrom(beside, path)
}

/** Makes or replaces a symbolic link. */
export function publishLink(path: string, target: string): void {
  const beside = publishedName(checked(path))
  unlink(beside)
  const made = makeLink(beside, target)
  if (made < 0) throw diskFault('link', path, made)
  moveFrom(beside, path)
}

function moveFrom(beside: string, path: string): void {
  const moved = rename(beside, path)
  if (moved >= 0) return
  unlink(beside)
  throw diskFault('install', path, moved)
}

function publishedName(path: string): string {
  return `${temporaryName(path)}.published`
}

/**
 * Writes a file in the directory and lets it vanish, to see whether that can be done. A directory that is missing is
 * judged by the nearest one above it; one that is there must be ours as well.
 */
export function probeDirectory(directory: string, anonymous: boolean): void {
  const isThere = wouldWrite(`${directory}/probe`, anonymous)
  if (isThere) assertOwnDirectory('write', directory)
  for (let path = directory; !isThere && path !== '/'; path = directoryOf(path)) {
    if (wouldWrite(path, anonymous)) return
  }
}

/** False if the directory of `path` is missing. */
function wouldWrite(path: string, anonymous: boolean): boolean {
  try {
    placeWhole('write', path, textBytes(PROBE_TEXT), anonymous, () => 0)
    return true
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error
    return false
  }
}

/** Removes what a crash may have left of the making of a file. */
export function removeTemporaries(path: string): void {
  unlink(temporaryName(path))
  unlink(spareName(path))
}

/** The directory of an absolute path, without a slash at its end unless it is the root. */
export function directoryOf(path: string): string {
  return path.slice(0, Math.max(1, path.lastIndexOf('/')))
}

/**
 * Writes a file that has no name yet, then lets `place` name it. ENOENT from `place` means that a name of the moment is
 * gone, or the directory: everything starts again, for a file that has lost its name cannot get another.
 */
function placeWhole(
  action: string,
  path: string,
  bytes: Uint8Array,
  anonymous: boolean,
  place: (fd: number) => number,
): void {
  let outcome = -Errno.ENOENT
  for (let attempt = 0; outcome === -Errno.ENOENT && attempt < MAX_ATTEMPTS; attempt++) {
    if (attempt > 0) sleepMicroseconds(attempt * BACKOFF_US)
    const { fd, spare } = openUnnamed(action, checked(path), anonymous)
    try {
      writeRange(action, path, fd, 0, bytes)
      outcome = place(fd)
    } finally {
      if (spare) unlink(spare)
      close(fd)
    }
  }
  if (outcome < 0) throw diskFault(action, path, outcome)
}

/**
 * Names the file beside `path`, then moves it there. Who finds the name beside taken takes it over: what it names is
 * always whole, so that whichever of two writers moves it, readers see the one file or the other.
 */
function linkOver(fd: number, path: string): number {
  const beside = temporaryName(path)
  let linked = linkAnonymous(fd, beside)
  for (let attempt = 0; linked === -Errno.EEXIST && attempt < MAX_ATTEMPTS; attempt++) {
    unlink(beside)
    linked = linkAnonymous(fd, beside)
  }
  if (linked < 0) return linked
  const moved = rename(beside, path)
  if (moved < 0) unlink(beside)
  return moved
}

/** A new file in the directory of `path`. Without a name it vanishes by itself when we die. */
function openUnnamed(action: string, path: string, anonymous: boolean): { fd: number; spare?: string } {
  // The dot, as the directory itself may well be reached through a link.
  const fd = anonymous
    ? open(`${directoryOf(path)}/.`, Open.write | Open.anonymous, 0o600)
    : -Errno.EOPNOTSUPP
  if (fd >= 0) return { fd }
  // EISDIR is what a kernel answers that does not know files without a name.
  if (fd !== -Errno.EOPNOTSUPP && fd !== -Errno.EISDIR) throw diskFault(action, path, fd)
  return openSpare(action, path)
}

/**
 * For file systems on which every file has a name. Who finds it taken waits a little, then takes it over from a writer
 * that must be dead. Should it live after all, nothing is lost: a file is placed by its descriptor, which then fails with
 * ENOENT, and never places what the other one is still writing.
 */
function openSpare(action: string, path: string): { fd: number; spare: string } {
  const spare = spareName(path)
  let fd = -Errno.EEXIST
  for (let attempt = 0; fd === -Errno.EEXIST && attempt < MAX_ATTEMPTS; attempt++) {
    if (attempt > 0) sleepMicroseconds(attempt * BACKOFF_US)
    if (attempt >= PATIENT_ATTEMPTS) unlink(spare)
    fd = open(spare, Open.write | Open.createNew, 0o600)
  }
  if (fd < 0) throw diskFault(action, path, fd)
  return { fd, spare }
}

function spareName(path: string): string {
  return `${temporaryName(path)}.new`
}

function temporaryName(path: string): string {
  const slash = path.lastIndexOf('/') + 1
  return path.slice(0, slash) + TEMPORARY + path.slice(slash)
}
