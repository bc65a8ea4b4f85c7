import fc from 'fast-check'
import { expect, it } from 'vitest'
import { Digest } from '../../src/kernel/netlink/digest.ts'
import { MessageWriter, Nlm } from '../../src/kernel/netlink/message.ts'
import { Nda, Nud, Rtm } from '../../src/kernel/netlink/rtnetlink.ts'

const NDA_CACHEINFO = 3

/** A neighbour as the kernel shows it; `age` is the one of its attributes that changes by itself. */
function neighbour(address: number, age: number, state: number = Nud.permanent): Uint8Array {
  const body = new MessageWriter().begin(Rtm.newNeigh, 0, 0).u32(2).u32(7).u32(state)
  body.attributeU32(Nda.dst, address)
  body.attribute(Nda.lladdr, Uint8Array.of(2, 0, 0, 0, 0, 1))
  body.attribute(NDA_CACHEINFO, new Uint8Array(16).fill(age))
  return body.attributeU32(4, 1).end().finish().slice(16)
}

function digestOf(bodies: readonly Uint8Array[]): string {
  const digest = new Digest()
  for (const body of bodies) digest.add(Rtm.newNeigh, body)
  return digest.value
}

it('a digest is the same for entries that are older', () => {
  expect(digestOf([neighbour(1, 0), neighbour(2, 0)])).toBe(digestOf([neighbour(1, 7), neighbour(2, 255)]))
})

it('a digest is the same with and without entries that the kernel computes', () => {
  const computed = neighbour(3, 0, Nud.noArp)
  expect(digestOf([neighbour(1, 0), computed])).toBe(digestOf([neighbour(1, 0)]))
})

it('a digest of datagrams is that of their messages, up to one of another kind', () => {
  const bodies = [1, 2, 3].map((address) => neighbour(address, address))
  const writer = new MessageWriter()
  for (const body of bodies)
    writer
      .begin(Rtm.newNeigh, Nlm.multi | Nlm.dumpFiltered, 7)
      .bytes(body)
      .end()
  const ours = writer.finish().length
  writer.begin(Rtm.newNeigh, Nlm.multi | Nlm.dumpInterrupted, 7).end()
  const digest = new Digest()
  expect(digest.addAll(Rtm.newNeigh, 7, writer.finish())).toBe(ours)
  expect(digest.value).toBe(digestOf(bodies))
  expect(digest.addAll(Rtm.newNeigh, 8, writer.finish())).toBe(0)
  expect(digest.addAll(Rtm.newRoute, 7, writer.finish())).toBe(0)
})

it('a digest is another one for every other change, and for another order or number', () => {
  const bodies = [neighbour(1, 0), neighbour(2, 0), neighbour(3, 0)]
  const before = digestOf(bodies)
  // Of the head, the address and the MAC: what is before the age.
  const bit = fc.tuple(fc.nat(2), fc.nat(12 + 8 + 10 - 1), fc.nat(7))
  fc.assert(
    fc.property(fc.uniqueArray(bit, { minLength: 1, maxLength: 3, selector: String }), (flips) => {
      const changed = bodies.map((body) => body.slice())
      for (const [which, at, n] of flips) changed[which]?.set([(changed[which][at] ?? 0) ^ (1 << n)], at)
      expect(digestOf(changed)).not.toBe(before)
    }),
  )
  expect(digestOf(bodies.toReversed())).not.toBe(before)
  expect(digestOf(bodies.slice(1))).not.toBe(before)
  expect(digestOf([])).not.toBe(before)
})
