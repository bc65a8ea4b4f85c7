import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { runtime } from '../../src/runtime/bun.ts'
import { readText, textBytes } from '../../src/runtime/utf8.ts'
import { RUNTIME_CASES } from '../contract/runtime.ts'

describe('the runtime of tests and the agent', () => {
  it.each(RUNTIME_CASES)('$name', ({ run, expected }) => {
    expect(run(runtime)).toEqual(expected)
  })
})

describe('UTF-8', () => {
  it('is decoded as the platform decodes it, whatever the bytes', () => {
    const decoder = new TextDecoder('utf-8', { ignoreBOM: true })
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc
        .array(
          fc.constantFrom(0x41, 0x80, 0xbf, 0xc0, 0xc3, 0xe0, 0xed, 0xa0, 0xef, 0xf0, 0x90, 0xf4, 0xf5, 0xff),
        )
        .map((list) => Uint8Array.from(list)),
    )
    fc.assert(
      fc.property(bytes, (given) => {
        expect(readText(given)).toBe(decoder.decode(given))
      }),
    )
  })

  it('is encoded as the platform encodes it, whatever the text', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code)) }),
        (text) => {
          expect([...textBytes(text)]).toEqual([...new TextEncoder().encode(text)])
        },
      ),
    )
  })
})
