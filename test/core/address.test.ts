import * as fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import { describe, expect, it } from 'vitest'
import {
  addressBytes,
  addressFromBytes,
  bitsOf,
  type Cidr,
  contains,
  defaultRouteOf,
  formatAddress,
  formatCidr,
  hostCidr,
  isDefaultRoute,
  lastAddressOf,
  networkOf,
  parseAddress,
  parseCidr,
  sameAddress,
} from '../../src/core/address.ts'
import { Code, Fault } from '../../src/core/errors.ts'
import { faultOf } from '../support/fault_of.ts'

const v4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 })
/** Half of the groups are zero, for `::` to have something to do. */
const v6Bytes = fc
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 })
  .map((groups) => Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 255])))
  .filter((bytes) => !isMapped(bytes))
const anyBytes = fc.oneof(v4Bytes, v6Bytes)
const anyCidr: fc.Arbitrary<Cidr> = anyBytes.chain((bytes) =>
  fc.record({
    address: fc.constant(addressFromBytes(bytes)),
    prefix: fc.integer({ min: 0, max: 8 * bytes.length }),
  }),
)

describe('an address', () => {
  it('has the text that ipaddr.js gives it', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const oracle = ipaddr.fromByteArray([...bytes])
        const expected = oracle instanceof ipaddr.IPv6 ? oracle.toRFC5952String() : oracle.toString()
        expect(formatAddress(addressFromBytes(bytes))).toBe(expected)
      }),
    )
  })

  it('is read from every text of ipaddr.js, to the same bytes', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const oracle = ipaddr.fromByteArray([...bytes])
        for (const text of [
          oracle.toString(),
          oracle.toNormalizedString(),
          oracle.toString().toUpperCase(),
        ]) {
          expect(addressBytes(parseAddress(text))).toEqual(bytes)
        }
      }),
    )
  })

  it('comes back from its own text and its own bytes', () => {
    fc.assert(
      fc.property(anyBytes, (bytes) => {
        const address = addressFromBytes(bytes)
        expect(parseAddress(formatAddress(address))).toEqual(address)
        expect(addressBytes(address)).toEqual(bytes)
      }),
    )
  })

  it('is refused with any text that ipaddr.js refuses as well', () => {
    const text = fc.string({ unit: fc.constantFrom('0', '1', 'f', '9', ':', '.', '%', '/'), maxLength: 20 })
    fc.assert(
      fc.property(text, (candidate) => {
        if (!ipaddr.isValid(candidate)) expect(() => parseAddress(candidate)).toThrow(Fault)
      }),
      { numRuns: 2_000 },
    )
  })

  it('that is an IPv4 one in IPv6 clothes is an IPv4 address', () => {
    expect(formatAddress(parseAddress('::ffff:10.0.0.5'))).toBe('10.0.0.5')
    expect(formatAddress(parseAddress('::ffff:a00:5'))).toBe('10.0.0.5')
  })

  it.each([
    '',
    '10.0.0',
    '10.0.0.0.0',
    '10.0.0.256',
    '10.0.0.05',
    '010.0.0.1',
    '0x0a.0.0.1',
    ' 10.0.0.1',
    '10.0.0.1 ',
    '10.0.0.1\n',
    '167772161',
    '10.0.0.1/24',
    ':',
    ':::',
    '1::2::3',
    '1:2:3:4:5:6:7',
    '1:2:3:4:5:6:7:8:9',
    '1:2:3:4:5:6:7::8',
    '12345::',
    'g::',
    'fe80::1%eth0',
    '[::1]',
    '10.0.0.1::',
    '::10.0.0.1:5',
    '::10.0.0.256',
    '::1 ',
    '-1::',
    '1:2:3:4:5:6:7:',
    ':1:2:3:4:5:6:7',
  ])('is not %j', (text) => {
    expect(faultOf(() => parseAddress(text)).code).toBe(Code.invalidConfig)
    expect(faultOf(() => parseAddress(text)).message).toContain(JSON.stringify(text))
  })

  it.each([0, 1, 5, 15, 17])('is not made of %i bytes', (length) => {
    expect(() => addressFromBytes(new Uint8Array(length))).toThrow(`${length} bytes`)
  })

  it('is the same as another only in the same family', () => {
    expect(sameAddress(parseAddress('10.0.0.1'), parseAddress('::ffff:10.0.0.1'))).toBe(true)
    expect(sameAddress(parseAddress('0.0.0.1'), parseAddress('::1'))).toBe(false)
  })
})

describe('a prefix', () => {
  it('has the network and the last address that ipaddr.js gives it', () => {
    fc.assert(
      fc.property(anyCidr, (cidr) => {
        const text = formatCidr(cidr)
        const kind = cidr.address.family === 4 ? ipaddr.IPv4 : ipaddr.IPv6
        const bytesOf = (address: { toByteArray(): number[] }) => Uint8Array.from(address.toByteArray())
        expect(addressBytes(networkOf(cidr).address)).toEqual(bytesOf(kind.networkAddressFromCIDR(text)))
        expect(addressBytes(lastAddressOf(cidr))).toEqual(bytesOf(kind.broadcastAddressFromCIDR(text)))
      }),
    )
  })

  it('contains what ipaddr.js says that it contains', () => {
    const near = fc.tuple(anyCidr, fc.integer({ min: 0, max: 127 }), anyBytes)
    fc.assert(
      fc.property(near, ([cidr, bit, other]) => {
        const flipped = cidr.address.value ^ (1n << BigInt(bit % bitsOf(cidr.address.family)))
        for (const address of [{ ...cidr.address, value: flipped }, addressFromBytes(other)]) {
          const oracle = ipaddr.parse(formatAddress(address))
          const network = ipaddr.parse(formatAddress(cidr.address))
          const expected = oracle.kind() === network.kind() && oracle.match(network, cidr.prefix)
          expect(contains(cidr, address)).toBe(expected)
        }
      }),
    )
  })

  it('comes back from its own text, host bits and all', () => {
    fc.assert(
      fc.property(anyCidr, (cidr) => {
        expect(parseCidr(formatCidr(cidr))).toEqual(cidr)
      }),
    )
  })

  it('of an IPv4 network in IPv6 clothes counts from 96', () => {
    expect(formatCidr(parseCidr('::ffff:10.1.0.0/112'))).toBe('10.1.0.0/16')
  })

  it.each([
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/08',
    '10.0.0.0/ 8',
    '10.0.0.0/8/8',
    'fd00::/129',
    '::ffff:10.0.0.0/95',
    '/24',
    'x/24',
    '10.0.0.0/1e1',
  ])('is not %j', (text) => {
    expect(faultOf(() => parseCidr(text)).code).toBe(Code.invalidConfig)
  })

  it('of a host holds that address alone', () => {
    const address = parseAddress('fd00::5')
    expect(formatCidr(hostCidr(address))).toBe('fd00::5/128')
    expect(formatCidr(hostCidr(parseAddress('10.0.0.1')))).toBe('10.0.0.1/32')
    expect(sameAddress(lastAddressOf(hostCidr(address)), address)).toBe(true)
  })

  it('of a default route holds every address of its family', () => {
    expect([4 as const, 6 as const].map((family) => formatCidr(defaultRouteOf(family)))).toEqual([
      '0.0.0.0/0',
      '::/0',
    ])
    expect(contains(defaultRouteOf(4), parseAddress('255.255.255.255'))).toBe(true)
    expect(contains(defaultRouteOf(4), parseAddress('::1'))).toBe(false)
    expect(isDefaultRoute(parseCidr('0.0.0.0/0'))).toBe(true)
    expect(isDefaultRoute(parseCidr('0.0.0.0/1'))).toBe(false)
  })
})

function isMapped(bytes: Uint8Array): boolean {
  return bytes.subarray(0, 10).every((byte) => byte === 0) && bytes[10] === 255 && bytes[11] === 255
}
