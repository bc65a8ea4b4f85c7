import { closeSync, openSync, writeSync } from 'node:fs'

/** What a file system holds at a path: a directory, a symbolic link, or a file that may be run. */
export type CpioEntry =
  | { readonly kind: 'directory' }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'file'; readonly bytes: Uint8Array }

/**
 * Writes an archive that the kernel unpacks as its first file system (format newc: Documentation/driver-api/early-userspace).
 * Paths are relative; the directories above each of them are added. Everything belongs to root and may be run.
 */
export function writeCpio(path: string, entries: ReadonlyMap<string, CpioEntry>): void {
  const file = openSync(path, 'w', 0o600)
  const write = (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at)
  }
  try {
    let inode = 1
    for (const [name, entry] of withParents(entries)) {
      write(header(name, entry, inode++))
      write(padded(contentOf(entry)))
    }
    write(header(TRAILER, { kind: 'file', bytes: new Uint8Array() }, 0))
  } finally {
    closeSync(file)
  }
}

const TRAILER = 'TRAILER!!!'
const MODES = { directory: 0o040755, link: 0o120777, file: 0o100755 }

/** A file whose directory is not in the archive would be left out by the kernel, without a word. */
function withParents(entries: ReadonlyMap<string, CpioEntry>): Map<string, CpioEntry> {
  const all = new Map<string, CpioEntry>()
  for (const [name, entry] of entries) {
    const parts = name.split('/')
    for (let depth = 1; depth < parts.length; depth++) {
      const parent = parts.slice(0, depth).join('/')
      if (!entries.has(parent)) all.set(parent, { kind: 'directory' })
    }
    all.set(name, entry)
  }
  return all
}

function contentOf(entry: CpioEntry): Uint8Array {
  if (entry.kind === 'directory') return new Uint8Array()
  return entry.kind === 'link' ? new TextEncoder().encode(entry.target) : entry.bytes
}

/** Thirteen numbers of eight hex digits, then the name with a zero byte; padded, as the content is, to four bytes. */
function header(name: string, entry: CpioEntry, inode: number): Uint8Array {
  const size = contentOf(entry).length
  const fields = [inode, MODES[entry.kind], 0, 0, 1, 0, size, 0, 0, 0, 0, name.length + 1, 0]
  const numbers = fields.map((field) => field.toString(16).padStart(8, '0')).join('')
  return padded(new TextEncoder().encode(`070701${numbers}${name}\0`))
}

function padded(bytes: Uint8Array): Uint8Array {
  const rest = bytes.length % 4
  if (rest === 0) return bytes
  const longer = new Uint8Array(bytes.length + 4 - rest)
  longer.set(bytes)
  return longer
}
