import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeCell, encodeCell, STATES } from '../../../src/overlay/mesh/cell.ts'
import {
  type Answer,
  decodePacket,
  encodeAnswer,
  encodeRequest,
  MAX_ENTRIES,
  nodeIdOf,
  nonceOf,
  PROBE_BYTES,
  type Request,
  shortIdOf,
} from '../../../src/overlay/mesh/packet.ts'

const hex = (length: number) =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: length, maxLength: length })
const id = hex(16)
const head = { nonce: id, sender: id, receiver: id, way: fc.integer({ min: 0, max: 3 }) }
const request = fc.record<Request, 'kind' | keyof typeof head>(
  { kind: fc.constant('request'), ...head, answerWay: head.way },
  { requiredKeys: ['kind', 'nonce', 'sender', 'receiver', 'way'] },
)
const number = fc.integer({ min: 0, max: 0xffff })
const answer = fc.record<Answer>({
  kind: fc.constant('answer'),
  ...head,
  peers: number,
  unreachable: number,
  entries: fc.array(fc.record({ shortId: hex(8), cells: fc.array(number, { minLength: 4, maxLength: 4 }) }), {
    maxLength: MAX_ENTRIES,
  }),
})

describe('a packet of probes', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(request, (one) => {
        expect(decodePacket(encodeRequest(one))).toEqual(one)
      }),
    )
    fc.assert(
      fc.property(answer, (one) => {
        expect(decodePacket(encodeAnswer(one))).toEqual(one)
      }),
    )
  })

  it('is never longer as an answer than as a request, so nobody can be flooded by way of a node', () => {
    fc.assert(
      fc.property(answer, request, (a, r) => {
        expect(encodeAnswer(a).length).toBeLessThanOrEqual(encodeRequest(r).length)
      }),
    )
    expect(
      encodeRequest({ kind: 'request', nonce: '', sender: '', receiver: '', way: 0 }, 1472),
    ).toHaveLength(1472)
  })

  it('is nothing if any agent has not written it: garbage, another version, a part', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 1500 }), (bytes) => {
        expect(decodePacket(bytes)).toBeUndefined()
      }),
    )
    const good = encodeRequest({
      kind: 'request',
      nonce: 'a'.repeat(16),
      sender: nodeIdOf('a'),
      receiver: nodeIdOf('b'),
      way: 0,
    })
    const changed = (at: number, value: number) =>
      decodePacket(good.map((byte, i) => (i === at ? value : byte)))
    expect([changed(4, 2), changed(5, 3), changed(6, 4)]).toEqual([undefined, undefined, undefined])
    expect(decodePacket(good.subarray(0, PROBE_BYTES - 1))).toBeUndefined()
    expect(changed(5, 2)).toMatchObject({ kind: 'answer', entries: [] })
    const tooMany = encodeAnswer({ ...fc.sample(answer, 1)[0], entries: [] } as Answer)
    tooMany[36] = 0xff
    expect(decodePacket(tooMany)).toBeUndefined()
  })

  it('is known again by its beginning, which is what a router sends back', () => {
    fc.assert(
      fc.property(request, (one) => {
        expect(nonceOf(encodeRequest(one).subarray(0, 20))).toBe(one.nonce)
      }),
    )
    expect(nonceOf(new Uint8Array(12))).toBeUndefined()
  })
})

describe('the cell of a matrix', () => {
  it('keeps state and path, and the round trip to within half a percent', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...STATES),
        fc.boolean(),
        fc.integer({ min: 5, max: 250_000 }),
        (state, isTunnelled, rttUs) => {
          const read = decodeCell(encodeCell({ state, isTunnelled, rttUs }))
          expect(read).toMatchObject({ state, isTunnelled })
          expect(Math.abs((read.rttUs ?? 0) / rttUs - 1)).toBeLessThan(0.005)
        },
      ),
    )
  })

  it('is of 16 bits, whatever the round trip is', () => {
    for (const rttUs of [undefined, 0, 1e12]) {
      const cell = encodeCell({ state: 'noAgent', isTunnelled: true, rttUs })
      expect(cell >> 16).toBe(0)
      expect(decodeCell(cell).state).toBe('noAgent')
    }
    expect(decodeCell(0)).toEqual({ state: 'unmeasured', isTunnelled: false })
    expect(decodeCell(0xffff).state).toBe('unmeasured')
  })

  it('belongs to a node by the beginning of its id', () => {
    expect(shortIdOf(nodeIdOf('a'))).toMatch(/^[0-9a-f]{8}$/)
    expect(nodeIdOf('a')).not.toBe(nodeIdOf('b'))
  })
})
