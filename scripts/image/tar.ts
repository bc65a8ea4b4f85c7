/* A tar archive (ustar) in memory: the same files give the same bytes, whoever made them and when. Source: POSIX.1, pax. */

export type TarFile = { readonly path: string; readonly mode: number; readonly bytes: Uint8Array }

const BLOCK = 512
/** The end of an archive. */
const END_BLOCKS = 2

/** The files in this order, with the directories that they need before them. Owner is root, time is 0. */
export function tar(files: readonly TarFile[]): Uint8Array {
  const made = new Set<string>()
  const parts: Uint8Array[] = []
  for (const file of files) {
    for (const directory of directoriesOf(file.path)) {
      if (!made.has(directory)) parts.push(header(directory, 0o755, 0, '5'))
      made.add(directory)
    }
    parts.push(header(file.path, file.mode, file.bytes.length, '0'), file.bytes)
    parts.push(new Uint8Array(-file.bytes.length & (BLOCK - 1)))
  }
  return Buffer.concat([...parts, new Uint8Array(END_BLOCKS * BLOCK)])
}

function directoriesOf(path: string): string[] {
  const names = path.split('/').slice(0, -1)
  return names.map((_, i) => `${names.slice(0, i + 1).join('/')}/`)
}

function header(path: string, mode: number, size: number, type: string): Uint8Array {
  const block = Buffer.alloc(BLOCK)
  if (path.length > 100) throw new Error(`${path} is too long for a tar archive`)
  block.write(path, 0)
  const numbers: [value: number, at: number, digits: number][] = [
    [mode, 100, 7],
    [0, 108, 7],
    [0, 116, 7],
    [size, 124, 11],
    [0, 136, 11],
  ]
  for (const [value, at, digits] of numbers) block.write(octal(value, digits), at)
  block.write(`        ${type}`, 148)
  block.write('ustar\x0000', 257)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${octal(sum, 6)}\0 `, 148)
  return block
}

function octal(value: number, digits: number): string {
  return value.toString(8).padStart(digits, '0')
}
