import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { macBytes, macFromBytes, macFromHash, parseMac } from '../../src/core/mac.ts'

describe('a hardware address', () => {
  it.each([
    ['02:00:00:00:00:0a', '02:00:00:00:00:0a'],
    ['02-00-00-00-00-0A', '02:00:00:00:00:0a'],
    ['0E:AD:BE:EF:00:01', '0e:ad:be:ef:00:01'],
    ['02aa.BBcc.dd10', '02:aa:bb:cc:dd:10'],
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
    ['of mixed separators', '02:00-00:00-00:01'],
    ['of mixed groups', '0200.0000:0001'],
    ['in pairs with dots', '02.00.00.00.00.01'],
    ['all zero with dots', '0000.0000.0000'],
    ['multicast with dots', '0100.5e00.0001'],
    ['an EUI-64', '02:00:5e:10:00:00:00:01'],
    ['an EUI-64 with dots', '0200.5e10.0000.0001'],
    ['of InfiniBand', '00:00:00:00:fe:80:00:00:00:00:00:00:02:00:5e:10:00:00:00:01'],
    ['of a Unicode digit', '02:00:00:00:00:0\u0661'],
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
