import { describe, expect, it } from 'vitest'
import { addressBytes, parseAddress } from '../../src/core/address.ts'
import { listAttributes, type Message, readMessages } from '../../src/kernel/netlink/message.ts'
import { encodeNftBatch } from '../../src/kernel/nftables/batch.ts'
import type { NftCommand, NftExpression } from '../../src/kernel/nftables/commands.ts'
import { describeNftCommand } from '../../src/kernel/nftables/describe.ts'
import { captures } from './fixtures/nftables.json'

const table = 'bowline'
const chain = 'net-1'
const key = (text: string) => addressBytes(parseAddress(text))
const eth0 = Uint8Array.from({ length: 16 }, (_, i) => 'eth0'.charCodeAt(i) || 0)
const daddr = (text: string, prefix: number): NftExpression => {
  const address = parseAddress(text)
  return { match: 'daddr', family: address.family, address: addressBytes(address), prefix }
}
const rule = (chain: string, ...rule: NftExpression[]): NftCommand => ({ op: 'addRule', table, chain, rule })
const bridge = { family: 'bridge', table } as const
const port = { ...bridge, map: 'macspoofchk', key: Buffer.from('veth0123456789a\0') } as const

/** Our command for each command that nft was watched at. */
const ours: Record<string, NftCommand> = {
  'add table inet bowline': { op: 'ensureTable', table },
  'delete table inet bowline': { op: 'removeTable', table },
  'add chain inet bowline net-1': { op: 'ensureChain', table, chain },
  'add chain inet bowline postrouting { type nat hook postrouting priority 100; }': {
    op: 'ensureChain',
    table,
    chain: 'postrouting',
    hook: { type: 'nat', hook: 'postrouting', priority: 100 },
  },
  'add chain inet bowline early { type filter hook prerouting priority -150; }': {
    op: 'ensureChain',
    table,
    chain: 'early',
    hook: { type: 'filter', hook: 'prerouting', priority: -150 },
  },
  'flush chain inet bowline net-1': { op: 'flushChain', table, chain },
  'delete chain inet bowline empty': { op: 'removeChain', table, chain: 'empty' },
  'add map inet bowline masquerade4 { type ipv4_addr : verdict; }': {
    op: 'ensureMap',
    table,
    map: 'masquerade4',
    key: 'ipv4_addr',
  },
  'add map inet bowline masquerade6 { type ipv6_addr : verdict; }': {
    op: 'ensureMap',
    table,
    map: 'masquerade6',
    key: 'ipv6_addr',
  },
  'add map inet bowline links { type ifname : verdict; }': {
    op: 'ensureMap',
    table,
    map: 'links',
    key: 'ifname',
  },
  'delete map inet bowline unused': { op: 'removeMap', table, map: 'unused' },
  'add element inet bowline masquerade4 { 10.1.0.5 : goto net-1 }': {
    op: 'addElement',
    table,
    map: 'masquerade4',
    key: key('10.1.0.5'),
    goto: chain,
  },
  'add element inet bowline masquerade4 { 10.1.0.5 comment "id eth0" : goto net-1 }': {
    op: 'addElement',
    table,
    map: 'masquerade4',
    key: key('10.1.0.5'),
    goto: chain,
    comment: 'id eth0',
  },
  'add element inet bowline masquerade6 { fd00::5 comment "id eth0" : goto net-1 }': {
    op: 'addElement',
    table,
    map: 'masquerade6',
    key: key('fd00::5'),
    goto: chain,
    comment: 'id eth0',
  },
  'add element inet bowline links { "eth0" : goto net-1 }': {
    op: 'addElement',
    table,
    map: 'links',
    key: eth0,
    goto: chain,
  },
  'delete element inet bowline masquerade4 { 10.1.0.9 }': {
    op: 'removeElement',
    table,
    map: 'masquerade4',
    key: key('10.1.0.9'),
  },
  'add rule inet bowline postrouting ip saddr vmap @masquerade4': rule('postrouting', {
    match: 'saddrVmap',
    family: 4,
    map: 'masquerade4',
  }),
  'add rule inet bowline postrouting ip6 saddr vmap @masquerade6': rule('postrouting', {
    match: 'saddrVmap',
    family: 6,
    map: 'masquerade6',
  }),
  'add rule inet bowline net-1 masquerade': rule(chain, { verdict: 'masquerade' }),
  'add rule inet bowline net-1 accept': rule(chain, { verdict: 'accept' }),
  'add rule inet bowline net-1 return': rule(chain, { verdict: 'return' }),
  'add rule inet bowline net-1 ip daddr 10.1.0.0/24 return': rule(chain, daddr('10.1.0.0', 24), {
    verdict: 'return',
  }),
  'add rule inet bowline net-1 ip daddr 224.0.0.0/4 return': rule(chain, daddr('224.0.0.0', 4), {
    verdict: 'return',
  }),
  // Host bits are cleared by the codec: 10.1.7.7/22 is 10.1.4.0/22.
  'add rule inet bowline net-1 ip daddr 10.1.4.0/22 accept': rule(chain, daddr('10.1.7.7', 22), {
    verdict: 'accept',
  }),
  'add rule inet bowline net-1 ip daddr 10.1.2.3 return': rule(chain, daddr('10.1.2.3', 32), {
    verdict: 'return',
  }),
  'add rule inet bowline net-1 ip6 daddr fd00:1:2:3::/64 return': rule(chain, daddr('fd00:1:2:3::', 64), {
    verdict: 'return',
  }),
  'add rule inet bowline net-1 ip6 daddr ff00::/8 return': rule(chain, daddr('ff00::', 8), {
    verdict: 'return',
  }),
  'add rule inet bowline net-1 ip6 daddr fd00:1:2:8::/61 return': rule(chain, daddr('fd00:1:2:8::', 61), {
    verdict: 'return',
  }),
  'add rule inet bowline net-1 ip6 daddr fd00::5 masquerade': rule(chain, daddr('fd00::5', 128), {
    verdict: 'masquerade',
  }),
  'add table bridge bowline': { op: 'ensureTable', ...bridge },
  'delete table bridge bowline': { op: 'removeTable', ...bridge },
  'add chain bridge bowline mac-1': { op: 'ensureChain', ...bridge, chain: 'mac-1' },
  'add chain bridge bowline prerouting { type filter hook prerouting priority -300; }': {
    op: 'ensureChain',
    ...bridge,
    chain: 'prerouting',
    hook: { type: 'filter', hook: 'prerouting', priority: -300 },
  },
  'flush chain bridge bowline mac-1': { op: 'flushChain', ...bridge, chain: 'mac-1' },
  'delete chain bridge bowline empty': { op: 'removeChain', ...bridge, chain: 'empty' },
  'add map bridge bowline macspoofchk { type ifname : verdict; }': {
    op: 'ensureMap',
    ...bridge,
    map: 'macspoofchk',
    key: 'ifname',
  },
  'delete map bridge bowline macspoofchk': { op: 'removeMap', ...bridge, map: 'macspoofchk' },
  'add rule bridge bowline prerouting iifname vmap @macspoofchk': {
    ...rule('prerouting', { match: 'iifnameVmap', map: 'macspoofchk' }),
    ...bridge,
  },
  'add rule bridge bowline mac-1 ether saddr 02:00:00:00:00:05 return': {
    ...rule('mac-1', { match: 'etherSaddr', mac: Uint8Array.of(2, 0, 0, 0, 0, 5) }, { verdict: 'return' }),
    ...bridge,
  },
  'add rule bridge bowline mac-1 drop': { ...rule('mac-1', { verdict: 'drop' }), ...bridge },
  'add element bridge bowline macspoofchk { "veth0123456789a" comment "id eth0" : goto mac-1 }': {
    op: 'addElement',
    ...port,
    goto: 'mac-1',
    comment: 'id eth0',
  },
  'delete element bridge bowline macspoofchk { "veth0123456789a" }': { op: 'removeElement', ...port },
}

describe('a batch of one command has the bytes that nft sends for it', () => {
  it.each(captures)('$nft', ({ nft, hex }) => {
    expect(shape(encodeNftBatch([oursFor(nft)]))).toEqual(shape(bytesOf(hex)))
  })
})

describe('a command in words is what nft was told to get those bytes', () => {
  it.each(captures)('$nft', ({ nft }) => {
    expect(describeNftCommand(oursFor(nft))).toBe(nft)
  })
})

describe('a batch', () => {
  const commands: NftCommand[] = [
    { op: 'ensureTable', table },
    { op: 'ensureMap', table, map: 'a', key: 'ipv4_addr' },
    { op: 'ensureMap', table, map: 'b', key: 'ipv6_addr' },
    { op: 'removeChain', table, chain },
  ]
  const messages = readMessages(encodeNftBatch(commands))

  it('numbers its commands from 1, so that a refusal can be mapped back', () => {
    expect(messages.map((message) => message.seq)).toEqual([0, 1, 2, 3, 4, 5])
  })

  it('asks for one acknowledgement, with the last command', () => {
    expect(messages.map((message) => (message.flags & 4) !== 0)).toEqual([
      false,
      false,
      false,
      false,
      true,
      false,
    ])
  })

  it('gives every map an id of its own', () => {
    const ids = messages.filter(({ type }) => (type & 0xff) === 9).map(({ body }) => attribute(body, 10))
    expect(ids).toEqual(['00000002', '00000003'])
  })

  it('creates without EXCL and removes without taking anything along', () => {
    expect(messages.slice(1, -1).map((message) => message.flags & 0xf00)).toEqual([
      0x400, 0x400, 0x400, 0x100,
    ])
  })

  it('grows as far as it has to', () => {
    const many = Array.from(
      { length: 3000 },
      (_, i): NftCommand => rule(`chain-${i}`, daddr('fd00:1:2:8::', 61)),
    )
    expect(readMessages(encodeNftBatch(many))).toHaveLength(3002)
  })

  it('matches all of a family with the prefix length 0', () => {
    const rules = [rule(chain, daddr('0.0.0.0', 0), { verdict: 'return' })]
    const names = readMessages(encodeNftBatch(rules)).flatMap(({ body }) => expressionNames(body))
    expect(names).toEqual(['meta', 'cmp', 'immediate'])
  })
})

function oursFor(nft: string): NftCommand {
  const command = ours[nft]
  if (command) return command
  throw new Error(`no command of ours for: ${nft}`)
}

/**
 * A datagram as trees of attributes, without what we send differently on purpose: the sequence of flags (tested
 * above), table flags (ours are left as they are), and set ids in messages that name the set anyway.
 */
function shape(datagram: Uint8Array): unknown {
  return readMessages(datagram).map(({ type, body, seq }: Message) => ({
    type,
    seq,
    family: hexOf(body.subarray(0, 4)),
    attributes: tree(body.subarray(4)).filter(
      ([attribute]) =>
        !(type === 0xa00 && attribute === 2) && // table flags
        !(type === 0xa09 && attribute === 10) && // the id of a new set
        !(type === 0xa0c && attribute === 4), // the id of the set of a new element
    ),
  }))
}

type Tree = [type: number, value: string | Tree][]

function tree(bytes: Uint8Array): Tree {
  const nestedAt = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  let at = 0
  const entries = listAttributes(bytes).map(([type, value]): Tree[number] => {
    const nested = (nestedAt.getUint16(at + 2, true) & 0x8000) !== 0
    at += (value.length + 4 + 3) & ~3
    return [type, nested ? tree(value) : hexOf(value)]
  })
  return entries[0]?.[1] === hexOf(Buffer.from('lookup\0')) ? withoutSetId(entries) : entries
}

function withoutSetId([name, [type, data] = [0, '']]: Tree): Tree {
  return [name ?? [0, ''], [type, Array.isArray(data) ? data.filter(([attribute]) => attribute !== 4) : data]]
}

function expressionNames(body: Uint8Array): string[] {
  const expressions = listAttributes(body, 4).find(([type]) => type === 4)
  return listAttributes(expressions?.[1] ?? new Uint8Array()).map(([, value]) =>
    Buffer.from(listAttributes(value)[0]?.[1] ?? [])
      .toString('latin1')
      .replace('\0', ''),
  )
}

function attribute(body: Uint8Array, wanted: number): string | undefined {
  const found = listAttributes(body, 4).find(([type]) => type === wanted)
  return found && hexOf(found[1])
}

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'))
}
