import { describe, expect, it } from 'vitest'
import { alignText } from '../../scripts/align_text.ts'

const HUGE_PAGE = 2 << 20
const [HEADER_BYTES, PROGRAM_BYTES, SECTION_BYTES] = [64, 56, 64]
const CODE = { offset: 0x3000, address: 0x40_7000 }

/** An ELF file with a read-only part, code behind it, and one section header at the end that names the code. */
function createElf(): Uint8Array {
  const sections = CODE.offset + 0x1000
  const file = new Uint8Array(sections + SECTION_BYTES)
  const view = new DataView(file.buffer)
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1])
  view.setBigUint64(32, BigInt(HEADER_BYTES), true)
  view.setBigUint64(40, BigInt(sections), true)
  for (const [i, value] of [PROGRAM_BYTES, 2, SECTION_BYTES, 1].entries())
    view.setUint16(54 + 2 * i, value, true)
  const program = (index: number, flags: number, offset: number, address: number): void => {
    const at = HEADER_BYTES + index * PROGRAM_BYTES
    view.setUint32(at, 1, true)
    view.setUint32(at + 4, flags, true)
    view.setBigUint64(at + 8, BigInt(offset), true)
    view.setBigUint64(at + 16, BigInt(address), true)
  }
  program(0, 4, 0, 0x40_0000)
  program(1, 5, CODE.offset, CODE.address)
  view.setBigUint64(sections + 24, BigInt(CODE.offset), true)
  file.fill(0xcc, CODE.offset, sections)
  return file
}

describe('alignText', () => {
  const moved = alignText(createElf())
  const view = new DataView(moved.buffer)
  const offset = (at: number): number => Number(view.getBigUint64(at, true))
  const codeAt = offset(HEADER_BYTES + PROGRAM_BYTES + 8)

  it('makes the place of the code in the file equal to its place in memory, modulo 2 MiB', () => {
    expect(codeAt % HUGE_PAGE).toBe(CODE.address % HUGE_PAGE)
    expect(moved[codeAt]).toBe(0xcc)
    expect(moved[codeAt - 1]).toBe(0)
  })

  it('leaves what lies before the code where it was', () => {
    expect(offset(HEADER_BYTES + 8)).toBe(0)
  })

  it('moves the section headers, and what they name', () => {
    const sections = offset(40)
    expect(sections + SECTION_BYTES).toBe(moved.length)
    expect(offset(sections + 24)).toBe(codeAt)
  })

  it('changes nothing a second time', () => {
    expect(alignText(moved)).toEqual(moved)
  })

  it.each([
    ['text', new TextEncoder().encode('#!/bin/sh\necho no program here\n'.repeat(9))],
    ['an ELF file of 32 bits', createElf().with(4, 1)],
  ])('refuses %s', (_, file) => {
    expect(() => alignText(file)).toThrow(/ELF/)
  })
})
