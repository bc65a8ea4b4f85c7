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
 * Appends a heap to the host's executable as the content of the one segment that has none yet, so that the kernel maps it;
 * then a checksum. Removes the section table: strip(1) and its like would drop the heap, and refuse a file without a table.
 */
export function appendImage(host: string, image: string): Uint8Array {
  const [program, content] = [readFileSync(host), readFileSync(image)]
  const view = new DataView(program.buffer, program.byteOffset, program.length)
  const segment = emptySegment(view)
  const padding = -program.length & (readNumber(view, segment + PROGRAM.align) - 1)
  writeNumber(view, segment + PROGRAM.offset, program.length + padding)
  for (const field of [PROGRAM.fileSize, PROGRAM.memorySize])
    writeNumber(view, segment + field, content.length)
  writeNumber(view, HEADER.sectionOffset, 0)
  for (const field of [HEADER.sectionCount, HEADER.sectionNames]) view.setUint16(field, 0, true)
  const whole = Buffer.concat([program, new Uint8Array(padding), content])
  return Buffer.concat([whole, checksum(whole)])
}

/** Returns the offset of that segment's header. */
function emptySegment(view: DataView): number {
  const [start, size] = [readNumber(view, HEADER.programOffset), view.getUint16(HEADER.programSize, true)]
  for (let at = start; at < start + size * view.getUint16(HEADER.programs, true); at += size) {
    if (view.getUint32(at + PROGRAM.type, true) !== PT_LOAD) continue
    if (readNumber(view, at + PROGRAM.fileSize) === 0) return at
  }
  throw new Error('the host has no segment for the image of the heap')
}

/** Computes FNV-1a over words. The host compares it after a crash, to tell a damaged file from a fault of ours. */
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
