import { describe, expect, it } from 'vitest'
import { listAttributes, type Message, readMessages } from '../../src/kernel/netlink/message.ts'
import { encodeNftBatch } from '../../src/kernel/nftables/batch.ts'
import { ipAddress } from '../../src/kernel/nftables/datatypes.ts'
import { describeNftCommand } from '../../src/kernel/nftables/describe.ts'
import { within } from '../../src/kernel/nftables/expressions/match.ts'
import { daddr } from '../../src/kernel/nftables/expressions/payload.ts'
import { back } from '../../src/kernel/nftables/expressions/verdicts.ts'
import { addElements, type NftCommand } from '../../src/kernel/nftables/objects.ts'
import { verdict } from '../../src/kernel/nftables/verdict.ts'
import { cidr, INET, nftCommands, rule } from '../support/nft_commands.ts'
import { captures } from './fixtures/nftables.json'

const captured = new Map(captures.map(({ nft, hex }) => [nft, hex]))

describe('a batch of one command has the bytes that nft sends for its words', () => {
  it.each(nftCommands.map((command) => [describeNftCommand(command), command] as const))(
    '%s',
    (nft, command) => {
      expect(shape(encodeNftBatch([command]).bytes)).toEqual(shape(bytesOf(captured.get(nft) ?? '')))
    },
  )

  it('for each capture', () => {
    const words = nftCommands.map(describeNftCommand)
    expect([...captured.keys()].filter((nft) => !words.includes(nft))).toEqual([])
  })
})

describe('a batch', () => {
  const pods = { table: INET, name: 'pods', key: ipAddress(4) }
  const commands: NftCommand[] = [
    { op: 'ensureTable', table: INET },
    { op: 'ensureSet', set: pods },
    { op: 'ensureSet', set: { ...pods, name: 'others' } },
    { op: 'removeChain', chain: { table: INET, name: 'net-1' } },
  ]
  const messages = readMessages(encodeNftBatch(commands).bytes)

  it('numbers its messages from 1, so that a refusal can be mapped back', () => {
    expect(messages.map((message) => message.seq)).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('asks for one acknowledgement, with the last message', () => {
    expect(messages.map((message) => (message.flags & 4) !== 0)).toEqual([
      false,
      false,
      false,
      false,
      true,
      false,
    ])
  })

  it('gives every set an id of its own', () => {
    const ids = messages.filter(({ type }) => (type & 0xff) === 9).map(({ body }) => attribute(body, 10))
    expect(ids).toEqual(['00000002', '00000003'])
  })

  it('creates without EXCL and removes without taking anything along', () => {
    expect(messages.slice(1, -1).map((message) => message.flags & 0xf00)).toEqual([
      0x400, 0x400, 0x400, 0x100,
    ])
  })

  it('has the elements of one command in as many messages as they need', () => {
    const keys = Array.from({ length: 250 }, (_, i) => ({ key: { family: 4, value: BigInt(i) } as const }))
    const batch = encodeNftBatch([...commands.slice(0, 2), addElements(pods, ...keys)])
    expect(batch.commandOf).toEqual([0, 1, 2, 2, 2])
    expect(readMessages(batch.bytes).map(({ seq }) => seq)).toEqual([0, 1, 2, 3, 4, 5, 6])
  })

  it('keeps each list of elements below 64 KiB, however long its parts are', () => {
    const [goto, comment] = ['c'.repeat(255), 'é'.repeat(100)]
    const keys = Array.from({ length: 250 }, (_, i) => ({
      key: { family: 6, value: BigInt(i) } as const,
      data: { goto },
      comment,
    }))
    const set = { ...pods, key: ipAddress(6), data: verdict }
    const lists = readMessages(encodeNftBatch([addElements(set, ...keys)]).bytes).flatMap(({ body }) =>
      listAttributes(body.subarray(4)).filter(([type]) => type === 3),
    )
    expect(lists.flatMap(([, list]) => listAttributes(list))).toHaveLength(250)
  })

  it('grows as far as it has to', () => {
    const many = Array.from({ length: 3000 }, (_, i) =>
      rule(`chain-${i}`, within(daddr(6), cidr('fd00:1:2:8::/61'))),
    )
    expect(readMessages(encodeNftBatch(many).bytes)).toHaveLength(3002)
  })

  it('matches all of a family with the prefix length 0', () => {
    const rules = [rule('net-1', within(daddr(4), cidr('0.0.0.0/0')), back)]
    const names = readMessages(encodeNftBatch(rules).bytes).flatMap(({ body }) => expressionNames(body))
    expect(names).toEqual(['meta', 'cmp', 'immediate'])
  })
})

/**
 * A datagram as trees of attributes, without what we send differently on purpose: the sequence of flags (tested
 * above), table flags (ours are left as they are), the ids of sets that have a name, the numbers of list entries, which the
 * kernel does not read, and the element before the first one that nft puts into an interval set.
 */
function shape(datagram: Uint8Array): unknown {
  return readMessages(datagram).map(({ type, body, seq }: Message) => {
    const isInline = Buffer.from(body).includes('__map%d')
    return {
      type,
      seq,
      family: hexOf(body.subarray(0, 4)),
      attributes: tree(body.subarray(4)).filter(
        ([attribute]) =>
          !(type === 0xa00 && attribute === 2) && // table flags
          !(type === 0xa09 && attribute === 10) && // the id of a new set
          !(type === 0xa09 && isInline && [9, 13].includes(attribute)) && // how many elements, and what nft notes down
          !(type === 0xa0c && attribute === 4), // the id of the set of a new element
      ),
    }
  })
}

type Tree = [type: number, value: string | Tree][]

function tree(bytes: Uint8Array): Tree {
  const nestedAt = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0
  const entries = listAttributes(bytes).map(([type, value]): Tree[number] => {
    const nested = (nestedAt.getUint16(at + 2, true) & 0x8000) !== 0
    at += (value.length + 4 + 3) & ~3
    return [type, nested ? withoutFirstEnd(tree(value)) : hexOf(value)]
  })
  return withoutSetId(entries)
}

const SET_IDS: Record<string, number> = {
  [hexOf(Buffer.from('lookup\0'))]: 4,
  [hexOf(Buffer.from('dynset\0'))]: 2,
}

function withoutSetId(entries: Tree): Tree {
  const [name, data] = entries
  const id = SET_IDS[`${name?.[1]}`]
  if (!name || !data || id === undefined || !Array.isArray(data[1])) return entries
  return [name, [data[0], data[1].filter(([attribute]) => attribute !== id)]]
}

/** Of a list whose entries are numbered: elements, or parts of a key. */
function withoutFirstEnd(entries: Tree): Tree {
  const isNumbered = entries.every(([type, value], i) => type === i + 1 && Array.isArray(value))
  const [first] = entries
  const isEnd =
    JSON.stringify(first?.[1]) ===
    JSON.stringify([
      [3, '00000001'],
      [1, [[1, '00000000']]],
    ])
  return isNumbered ? (isEnd ? entries.slice(1) : entries).map(([, value]) => [1, value]) : entries
}

function expressionNames(body: Uint8Array): string[] {
  const expressions = listAttributes(body.subarray(4)).find(([type]) => type === 4)
  return listAttributes(expressions?.[1] ?? new Uint8Array()).map(([, value]) =>
    Buffer.from(listAttributes(value)[0]?.[1] ?? [])
      .toString('latin1')
      .replace('\0', ''),
  )
}

function attribute(body: Uint8Array, wanted: number): string | undefined {
  const found = listAttributes(body.subarray(4)).find(([type]) => type === wanted)
  return found && hexOf(found[1])
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'))
}
