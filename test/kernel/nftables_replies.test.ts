import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseAddress } from '../../src/core/address.ts'
import { MessageWriter, readMessages } from '../../src/kernel/netlink/message.ts'
import { encodeNftBatch } from '../../src/kernel/nftables/batch.ts'
import { ifname, ipAddress } from '../../src/kernel/nftables/datatypes.ts'
import { describeNftCommand } from '../../src/kernel/nftables/describe.ts'
import { readElements, showsElement } from '../../src/kernel/nftables/elements.ts'
import { addElements, type NftElement, removeElements } from '../../src/kernel/nftables/objects.ts'
import { encodeGetElement } from '../../src/kernel/nftables/questions.ts'
import { readAnswer, readBatchNews } from '../../src/kernel/nftables/reply.ts'
import { type NftVerdict, verdict } from '../../src/kernel/nftables/verdict.ts'
import { malformed } from '../support/damage.ts'

/** What the kernel (6.18) answered, watched by strace -e read=3. */
const fromKernel = {
  /** nft get element inet bowline masquerade4 '{ 10.1.0.5 }' */
  element:
    '700000000c0a0000010000007e2f0000010000020c000100626f776c696e6500100002006d6173717565726164653400' +
    '400003003c0001000c000100080001000a0100051c0002001800020008000100fffffffc0a0002006e65742d31000000' +
    '0e000600000869642065746830000000',
  /** The acknowledgement after it. */
  ack: '2400000002000001010000007e2f000000000000440000000d0a05000100000000000000',
  /** nft delete element inet bowline masquerade4 '{ 10.1.0.6 }': ENOENT with its request and an offset. */
  missing:
    '600000000200000201000000842f0000feffffff440000000e0a01000100000000000000010000000c000100626f776c' +
    '696e6500100002006d617371756572616465340014000380100001800c000180080001000a0100060800020034000000',
}

const table = { family: 'inet', name: 'bowline' } as const
const map = { table, name: 'masquerade4', key: ipAddress(4), data: verdict }
const key = parseAddress('10.1.0.5')
const element: NftElement<typeof key, NftVerdict> = { key, data: { goto: 'net-1' } }

describe('the answers to a batch', () => {
  it('map a refusal back to the command that was refused', () => {
    expect(readBatchNews(bytesOf(fromKernel.missing), 1)).toEqual({
      refusal: { index: 0, errno: 2 },
      over: true,
    })
  })

  it('go on after the refusal of a command that is not the last', () => {
    expect(readBatchNews(bytesOf(fromKernel.missing), 3)).toEqual({
      refusal: { index: 0, errno: 2 },
      over: false,
    })
  })

  it('are over with the acknowledgement of the last command', () => {
    expect(readBatchNews(bytesOf(fromKernel.ack), 1)).toEqual({ over: true })
  })

  it('are over when the kernel refuses the batch as a whole', () => {
    expect(readBatchNews(refusal(0, 12), 5)).toEqual({ refusal: { index: undefined, errno: 12 }, over: true })
  })

  it('keep the first of several refusals, with what the kernel says about it', () => {
    const both = Uint8Array.of(...refusal(2, 16, 'in use'), ...refusal(3, 2))
    expect(readBatchNews(both, 3)).toEqual({ refusal: { index: 1, errno: 16, text: 'in use' }, over: true })
  })

  it('pass over what belongs to no command', () => {
    expect(readBatchNews(refusal(9, 2), 5)).toEqual({ over: false })
  })
})

describe('the answer to a question', () => {
  it('holds the element with its chain and comment', () => {
    const answer = readAnswer(bytesOf(fromKernel.element), 1)?.element ?? new Uint8Array()
    expect(readElements(map, [answer])).toEqual([{ ...element, comment: 'id eth0' }])
    expect(showsElement(map, element, answer)).toBe(true)
    expect(showsElement(map, { key, data: { goto: 'net-2' } }, answer)).toBe(false)
    expect(showsElement(map, { key, data: { jump: 'net-1' } }, answer)).toBe(false)
  })

  it('holds the refusal when there is no such element', () => {
    expect(readAnswer(bytesOf(fromKernel.missing), 1)?.refusal?.errno).toBe(2)
  })

  it('is not taken from a message of another number', () => {
    expect(readAnswer(bytesOf(fromKernel.element), 2)).toBeUndefined()
  })
})

describe('an element', () => {
  const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 300 })

  it('comes back as it was written, its comment cut at a whole character and made printable', () => {
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 2n ** 32n - 1n }), text, (value, comment) => {
        const written = { ...element, key: { family: 4, value } as const, comment }
        const read = readBack(written)
        expect(read).toMatchObject({ key: written.key, data: { goto: 'net-1' } })
        expect(Buffer.byteLength(read?.comment ?? '')).toBeLessThanOrEqual(127)
        expect(printable(comment).startsWith(read?.comment ?? '-')).toBe(true)
      }),
    )
  })

  it('keeps a comment of 127 bytes and cuts one of 128', () => {
    expect(readBack({ ...element, comment: 'x'.repeat(127) })?.comment).toHaveLength(127)
    expect(readBack({ ...element, comment: 'x'.repeat(128) })?.comment).toHaveLength(127)
  })

  it('does not let half a character through', () => {
    const comment = `${'x'.repeat(126)}é`
    expect(readBack({ ...element, comment })?.comment).toBe('x'.repeat(126))
  })

  it('is asked for by its key alone', () => {
    const [question] = readMessages(encodeGetElement(map, { ...element, comment: 'd' } as never, 7))
    expect(question).toMatchObject({ type: 0xa0d, flags: 1, seq: 7 })
    expect(readElements({ key: map.key }, [question?.body ?? new Uint8Array()])).toEqual([{ key }])
  })
})

describe('malformed bytes', () => {
  const samples = Object.values(fromKernel).map(bytesOf)
  it('are read without an error, whatever they are', () => {
    fc.assert(
      fc.property(malformed(samples), (bytes) => {
        readBatchNews(bytes, 1)
        readAnswer(bytes, 1)
        readElements(map, [bytes])
        showsElement(map, element, bytes)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('a command in words', () => {
  it('names elements by their keys and data', () => {
    const links = { table, name: 'links', key: ifname, data: verdict }
    expect(describeNftCommand(addElements(map, element))).toBe(
      'add element inet bowline masquerade4 { 10.1.0.5 : goto net-1 }',
    )
    expect(describeNftCommand(removeElements(links, { key: 'eth0' }))).toBe(
      'delete element inet bowline links { "eth0" }',
    )
  })
})

function readBack(written: typeof element) {
  const [, message] = readMessages(encodeNftBatch([addElements(map, written)]).bytes)
  return readElements(map, [message?.body ?? new Uint8Array()])[0]
}

/** An NLMSG_ERROR as the kernel writes it with NETLINK_CAP_ACK and NETLINK_EXT_ACK. */
function refusal(seq: number, errno: number, text?: string): Uint8Array {
  const writer = new MessageWriter().begin(2, text ? 0x300 : 0x100, seq).u32(-errno >>> 0)
  writer.u32(20).u16(0xa00, 1).u32(seq).u32(0)
  if (text) writer.attributeString(1, text)
  return writer.end().finish()
}

/** What is left of a comment before it is cut; lone surrogates cannot be written as UTF-8. */
function printable(comment: string): string {
  return [...comment.toWellFormed()].map((c) => (c < ' ' || '\x7f"\\'.includes(c) ? '_' : c)).join('')
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'))
}
