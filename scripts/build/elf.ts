import { readFileSync } from 'node:fs'

/* Places in a 64-bit little-endian ELF file. Source: elf.h. */
const HEADER = {
  programOffset: 32,
  sectionOffset: 40,
  programSize: 54,
  programs: 56,
  sectionCount: 60,
  sectionNames: 62,
}
const PROGRAM = { type: 0, offset: 8, fileSize: 32, memorySize: 40, align: 48 }
const PT_LOAD = 1
const WORD = 8
const FNV_OFFSET = 0xcbf29ce484222325n
const FNV_PRIME = 0x100000001b3n

/**
 * Appends the ranges of a heap to the host's executable, each as what the kernel maps for one of the two segments that have no
 * content yet, in the order of their addresses; then a checksum. The section table goes, for strip(1) and its like arrange a
 * file by it: they refuse one that has none, and would throw the heap away.
 */
export function appendImage(host: string, ranges: readonly string[]): Uint8Array {
  const program = readFileSync(host)
  const contents = ranges.map((path) => readFileSync(path))
  const view = new DataView(program.buffer, program.byteOffset, program.length)
  const segments = emptySegments(view)
  if (segments.length !== contents.length)
    throw new Error(`${host} has ${segments.length} segments without content`)
  const pieces: Uint8Array[] = [program]
  let length = program.length
  for (const [i, at] of segments.entries()) {
    const content = contents[i] ?? new Uint8Array()
    const padding = -length & (readNumber(view, at + PROGRAM.align) - 1)
    pieces.push(new Uint8Array(padding), content)
    length += padding
    writeNumber(view, at + PROGRAM.offset, length)
    for (const field of [PROGRAM.fileSize, PROGRAM.memorySize]) writeNumber(view, at + field, content.length)
    length += content.length
  }
  writeNumber(view, HEADER.sectionOffset, 0)
  for (const field of [HEADER.sectionCount, HEADER.sectionNames]) view.setUint16(field, 0, true)
  const whole = Buffer.concat([...pieces, new Uint8Array(-length & (WORD - 1))])
  return Buffer.concat([whole, checksum(whole)])
}

function emptySegments(view: DataView): number[] {
  const [start, size] = [readNumber(view, HEADER.programOffset), view.getUint16(HEADER.programSize, true)]
  const all = Array.from({ length: view.getUint16(HEADER.programs, true) }, (_, i) => start + i * size)
  return all.filter((at) => {
    return (
      view.getUint32(at + PROGRAM.type, true) === PT_LOAD && readNumber(view, at + PROGRAM.fileSize) === 0
    )
  })
}

/** FNV-1a over words, which the host computes too when it has crashed: it tells a damaged file from a fault of ours. */
function checksum(bytes: Uint8Array): Uint8Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let sum = FNV_OFFSET
  for (let at = 0; at < bytes.length; at += WORD) {
    sum = BigInt.asUintN(64, (sum ^ view.getBigUint64(at, true)) * FNV_PRIME)
  }
  const word = new DataView(new ArrayBuffer(WORD))
  word.setBigUint64(0, sum, true)
  return new Uint8Array(word.buffer)
}

function readNumber(view: DataView, at: number): number {
  return Number(view.getBigUint64(at, true))
}

function writeNumber(view: DataView, at: number, value: number): void {
  view.setBigUint64(at, BigInt(value), true)
}
