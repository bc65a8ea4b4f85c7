import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type Address, bitsOf } from '../../src/core/address.ts'
import { Fault } from '../../src/core/errors.ts'
import { textBytes } from '../../src/core/text.ts'
import {
  listAttributes,
  type Message,
  MessageWriter,
  readAck,
  readAttributes,
  readDone,
  readMessages,
  readString,
  readU32,
} from '../../src/kernel/netlink/message.ts'
import { decodeAddress, decodeLink, decodeNeighbour, decodeRoutes } from '../../src/kernel/netlink/replies.ts'
import { malformed } from '../support/damage.ts'
import { outcomeOf } from '../support/fault_of.ts'
import { REQUESTS, requestsOf } from '../support/netlink/requests.ts'
import dumps from './fixtures/rtnetlink_dumps.json'

const [ERROR, DONE] = [2, 3]
const [CAPPED, TLVS] = [0x100, 0x200]

const message = (type: number, flags: number, body: Uint8Array): Message => ({ type, flags, seq: 1, body })
const bodyOf = (fill: (writer: MessageWriter) => unknown): Uint8Array => {
  const writer = new MessageWriter()
  fill(writer)
  return writer.finish()
}
const header = (writer: MessageWriter, length: number) => writer.u32(length).u32(0).u32(0).u32(0)

describe('a message writer', () => {
  it('grows with what is written', () => {
    const writer = new MessageWriter()
    for (let seq = 0; seq < 200; seq++) writer.begin(24, 5, seq).attributeString(1, 'x'.repeat(seq)).end()
    expect(readMessages(writer.finish()).map(({ seq }) => seq)).toEqual([...Array(200).keys()])
  })

  it('begins every attribute at a multiple of four bytes, with zeros between', () => {
    const bytes = bodyOf((writer) =>
      writer.attributeU8(1, 0xff).attributeU16(2, 0xffff).attributeString(3, 'ab'),
    )
    expect(Buffer.from(bytes).toString('hex')).toBe('05000100ff00000006000200ffff00000700030061620000')
  })

  it('reads back what it nests', () => {
    const bytes = bodyOf((writer) =>
      writer.nest(18, () => writer.attributeU32(1, 7).nest(2, () => writer.attributeU8(3, 9))),
    )
    const outer = readAttributes(readAttributes(bytes).get(18) ?? new Uint8Array())
    expect(readU32(outer.get(1))).toBe(7)
    expect(listAttributes(outer.get(2) ?? new Uint8Array())).toEqual([[3, Uint8Array.of(9)]])
  })
})

describe('an acknowledgement', () => {
  const ackOf = (errno: number, flags: number, text?: string): Uint8Array =>
    bodyOf((writer) => {
      header(writer.u32(-errno >>> 0), flags & CAPPED ? 4096 : 24)
      if (!(flags & CAPPED)) writer.u32(0).u32(0)
      if (text !== undefined) writer.attributeString(1, text)
    })

  it('is a success when its errno is 0', () => {
    expect(readAck(message(ERROR, 0, ackOf(0, 0)))).toEqual({ errno: 0 })
  })

  it('carries the errno as a positive number', () => {
    expect(readAck(message(ERROR, 0, ackOf(17, 0)))).toEqual({ errno: 17 })
  })

  it.each([
    ['the whole request is echoed', 0],
    ['the request is cut off', CAPPED],
  ])('carries the kernel’s words when %s', (_, flags) => {
    const ack = readAck(message(ERROR, flags | TLVS, ackOf(22, flags, 'Nexthop has invalid gateway')))
    expect(ack).toEqual({ errno: 22, text: 'Nexthop has invalid gateway' })
  })

  it('has no words when the length of the echoed request is nonsense', () => {
    for (const length of [0xffff_ffff, 0x8000_0000, 5, 4096]) {
      const body = bodyOf((writer) => header(writer.u32(0), length))
      expect(readAck(message(ERROR, TLVS, body))).toEqual({ errno: 0 })
    }
  })

  it('is not seen in what is too short for one, or in another message', () => {
    expect(readAck(message(ERROR, 0, new Uint8Array(19)))).toBeUndefined()
    expect(readAck(message(16, 0, ackOf(0, 0)))).toBeUndefined()
  })
})

describe('the end of a dump', () => {
  it('is a success with errno 0 or none', () => {
    expect(readDone(message(DONE, 2, new Uint8Array(4)))).toEqual({ errno: 0 })
    expect(readDone(message(DONE, 2, new Uint8Array(0)))).toEqual({ errno: 0 })
  })

  it('may be a refusal with the kernel’s words', () => {
    const body = bodyOf((writer) => writer.u32(-19 >>> 0).attributeString(1, 'no such device'))
    expect(readDone(message(DONE, 2 | TLVS, body))).toEqual({ errno: 19, text: 'no such device' })
  })

  it('is not seen in another message', () => {
    expect(readDone(message(ERROR, 0, new Uint8Array(4)))).toBeUndefined()
  })
})

describe('text', () => {
  it('of any kind comes back as it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme', maxLength: 3000 }), (text) => {
        fc.pre(!text.includes('\0'))
        expect(readString(textBytes(text))).toBe(text)
      }),
    )
  })

  it('is UTF-8', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), (text) => {
        expect(textBytes(text)).toEqual(new TextEncoder().encode(text))
      }),
    )
  })

  it('ends at the first NUL', () => {
    expect(readString(textBytes('eth0\0rest'))).toBe('eth0')
  })
})

describe('malformed bytes', () => {
  const wellFormed = [
    ...REQUESTS.flatMap(([, change]) => requestsOf(change)),
    ...[dumps.links, dumps.addresses, dumps.routes, dumps.neighbours].flatMap(({ datagrams }) =>
      datagrams.map((hex) => new Uint8Array(Buffer.from(hex, 'hex'))),
    ),
  ]
  const anything = malformed(wellFormed)
  const DECODERS = { decodeLink, decodeAddress, decodeRoutes, decodeNeighbour }

  it.each(Object.entries(DECODERS))('make %s return what can be, or throw a Fault', (_, decode) => {
    fc.assert(
      fc.property(anything, (bytes) => {
        for (const { body } of readMessages(bytes)) expectSound(outcomeOf(() => decode(body)))
        expectSound(outcomeOf(() => decode(bytes)))
      }),
      { numRuns: 3000 },
    )
  })

  /** No prefix is longer than its address, no number is anything but a whole one. */
  function expectSound(decoded: unknown): void {
    if (decoded instanceof Fault || typeof decoded !== 'object' || decoded === null) return
    if ('prefix' in decoded && 'address' in decoded) {
      const { family } = decoded.address as Address
      expect(decoded.prefix).toBeLessThanOrEqual(bitsOf(family))
    }
    for (const value of Object.values(decoded)) {
      if (typeof value === 'number') expect(Number.isSafeInteger(value)).toBe(true)
      else expectSound(value)
    }
  }

  it('end the list of messages, of which none reaches beyond the datagram', () => {
    fc.assert(
      fc.property(anything, (bytes) => {
        const total = readMessages(bytes).reduce((sum, { body }) => sum + 16 + body.length, 0)
        expect(total).toBeLessThanOrEqual(bytes.length)
      }),
      { numRuns: 3000 },
    )
  })

  it('end the list of attributes, of which none reaches beyond the message', () => {
    fc.assert(
      fc.property(anything, (bytes) => {
        const total = listAttributes(bytes).reduce((sum, [, value]) => sum + 4 + value.length, 0)
        expect(total).toBeLessThanOrEqual(bytes.length)
      }),
      { numRuns: 3000 },
    )
  })

  it('are no acknowledgement that could be misread', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(ERROR, DONE),
        fc.nat(0xffff),
        fc.uint8Array({ maxLength: 80 }),
        (type, flags, body) => {
          const end = readAck(message(type, flags, body)) ?? readDone(message(type, flags, body))
          if (end) expect(Number.isInteger(end.errno)).toBe(true)
        },
      ),
      { numRuns: 3000 },
    )
  })

  it('shorter than the fixed part of a reply are a Fault', () => {
    for (const decode of Object.values(DECODERS)) {
      expect(outcomeOf(() => decode(new Uint8Array(7)))).toBeInstanceOf(Fault)
    }
  })

  it('in an address of the wrong length are a Fault', () => {
    const body = bodyOf((writer) => writer.u32(0x1802).u32(7).attribute(2, new Uint8Array(5)))
    expect(outcomeOf(() => decodeAddress(body))).toBeInstanceOf(Fault)
  })

  it('in the next hops of a route end the list of them', () => {
    const hop = (writer: MessageWriter, length: number) => writer.u16(length).u32(7)
    const body = bodyOf((writer) => {
      writer.u8(10).u8(254, 3, 0, 1).u32(0)
      writer.nest(9, () => hop(hop(hop(writer, 8), 0), 8), false)
    })
    expect(decodeRoutes(body)).toHaveLength(1)
  })
})
