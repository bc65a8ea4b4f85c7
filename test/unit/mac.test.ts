import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { macBytes, macFromBytes, macFromHash, parseMac } from '../../src/core/mac.ts'

describe('a hardware address', () => {
  it.each([
    ['02:00:00:00:00:0a', '02:00:00:00:00:0a'],
    ['02-00-00-00-00-0A', '02:00:00:00:00:0a'],
    ['0E:AD:BE:EF:00:01', '0e:ad:be:ef:00:01'],
  ])('is read from %s', (text, expected) => {
    expect(parseMac(text)).toBe(expected)
  })

  it.each([
    ['multicast', '01:00:5e:00:00:01'],
    ['broadcast', 'ff:ff:ff:ff:ff:ff'],
    ['all zero', '00:00:00:00:00:00'],
    ['too short', '02:00:00:00:00'],
    ['too long', '02:00:00:00:00:00:00'],
    ['no hex', '02:00:00:00:00:0g'],
    ['without separators', '020000000001'],
    ['followed by a line end', '02:00:00:00:00:01\n'],
    ['empty', ''],
  ])('that is %s is refused with its text', (_, text) => {
    expect(() => parseMac(text)).toThrow(`${JSON.stringify(text)} is not a unicast hardware address`)
  })

  it('comes back from its bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        expect(macBytes(macFromBytes(bytes))).toEqual(bytes)
      }),
    )
  })

  it('from a hash is unicast, locally administered, and differs in the other 46 bits only', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 6, maxLength: 6 }), (bytes) => {
        const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('')
        const [first = 0, ...rest] = macBytes(macFromHash(hex))
        expect(first & 0b11).toBe(0b10)
        expect(first >> 2).toBe((bytes[0] ?? 0) >> 2)
        expect(rest).toEqual([...bytes.subarray(1)])
        expect(parseMac(macFromHash(hex))).toBe(macFromHash(hex))
      }),
    )
  })
})
