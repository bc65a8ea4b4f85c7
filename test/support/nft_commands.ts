import { parseAddress, parseCidr } from '../../src/core/address.ts'
import { parseMac } from '../../src/core/mac.ts'
import { concat } from '../../src/kernel/nftables/concat.ts'
import { type Datatype, etherAddr, ifname, ipAddress, ipPrefix } from '../../src/kernel/nftables/datatypes.ts'
import type { Expression } from '../../src/kernel/nftables/expression.ts'
import { below, between, hasAny, hasBits } from '../../src/kernel/nftables/expressions/bits_and_ranges.ts'
import {
  arpDaddrIp,
  arpSaddrEther,
  arpSaddrIp,
  bridgedIcmpv6Type,
  bridgedSaddr,
  icmpv6TypeWithin,
  ndTarget,
} from '../../src/kernel/nftables/expressions/bridge.ts'
import {
  ctAddress,
  ctDirection,
  ctDport,
  ctMark,
  ctState,
  ctStatus,
} from '../../src/kernel/nftables/expressions/ct.ts'
import { fibType, hasReversePath, isSpoofed } from '../../src/kernel/nftables/expressions/fib.ts'
import { iif, iifgroup, oif, oifgroup, oifname } from '../../src/kernel/nftables/expressions/links.ts'
import { inSet, notInSet, vmap } from '../../src/kernel/nftables/expressions/lookup.ts'
import { inlineVmap, mapped } from '../../src/kernel/nftables/expressions/maps.ts'
import { addMark, metaMark, setMark, toggleMark } from '../../src/kernel/nftables/expressions/marks.ts'
import { differs, equals, outside, within } from '../../src/kernel/nftables/expressions/match.ts'
import { iifname, isFamily } from '../../src/kernel/nftables/expressions/meta.ts'
import { dnat, dnatBy, masqueradeTo, snat } from '../../src/kernel/nftables/expressions/nat.ts'
import { numgen } from '../../src/kernel/nftables/expressions/numgen.ts'
import { daddr, etherSaddr, saddr } from '../../src/kernel/nftables/expressions/payload.ts'
import {
  counter,
  limit,
  log,
  notrack,
  reject,
  rejectAdmin,
  rejectTcp,
  update,
} from '../../src/kernel/nftables/expressions/statements.ts'
import { together } from '../../src/kernel/nftables/expressions/together.ts'
import {
  anyDport,
  dport,
  icmpv6Type,
  isProtocol,
  l4proto,
  sport,
} from '../../src/kernel/nftables/expressions/transport.ts'
import { accept, back, drop, goto, jump } from '../../src/kernel/nftables/expressions/verdicts.ts'
import { inetProto, inetService, mark, portRange } from '../../src/kernel/nftables/numbers.ts'
import {
  addElements,
  type NftChain,
  type NftCommand,
  type NftHook,
  type NftSet,
  type NftTable,
  removeElements,
} from '../../src/kernel/nftables/objects.ts'
import { verdict } from '../../src/kernel/nftables/verdict.ts'

export const INET: NftTable = { family: 'inet', name: 'bowline' }
const BRIDGE: NftTable = { family: 'bridge', name: 'bowline' }
export const address = parseAddress
export const cidr = parseCidr

/** The command that adds a rule to a chain of table inet bowline. */
export function rule(name: string, ...rule: readonly Expression[]): NftCommand {
  return { op: 'addRule', chain: { table: INET, name }, rule }
}

const set = <K>(name: string, key: Datatype<K>, table = INET): NftSet<K> => ({ table, name, key })
const map = <K, D>(name: string, key: Datatype<K>, data: Datatype<D>, table = INET) => ({
  ...set(name, key, table),
  data,
})
const service = concat(ipAddress(4), inetProto, inetService)
const serviceRange = concat(ipPrefix(4), inetProto, portRange)
const endpoint = concat(ipAddress(4), inetService)

const masquerade4 = map('masquerade4', ipAddress(4), verdict)
const masquerade6 = map('masquerade6', ipAddress(6), verdict)
const links = map('links', ifname, verdict)
const ports = map('macspoofchk', ifname, verdict, BRIDGE)
const SETS = {
  pods: set('pods', ipAddress(4)),
  pods6: set('pods6', ipAddress(6)),
  cidrs: set('cidrs', ipPrefix(4)),
  services4: set('services4', service),
  ranges: set('ranges', serviceRange),
  pairs: set('pairs', concat(ipAddress(6), ipAddress(6))),
  own: set('own', concat(ifname, ipAddress(4))),
  macs: set('macs', etherAddr),
  recent: { ...set('recent', ipAddress(4)), dynamic: true, timeoutMs: 10_800_000 },
  from4: map('from4', ipAddress(4), verdict),
  outer: map('outer', ipPrefix(4), verdict),
  marks: map('marks', ipAddress(4), mark),
  services: map('services', service, verdict),
  nodeports: map('nodeports', concat(inetProto, inetService), verdict),
  endpoints: map('endpoints', ipAddress(4), endpoint),
  addresses: map('addresses', ipAddress(4), ipAddress(4)),
}
const { pods, pods6, cidrs, services4, ranges, pairs, own, recent, from4, marks, services, nodeports } = SETS
const { endpoints, addresses } = SETS

const hooked = (name: string, hook: NftHook, table = INET): NftChain => ({ table, name, hook, rules: [] })
const CHAINS: readonly NftChain[] = [
  ...['net-1', 'net-2', 'one'].map((name) => ({ table: INET, name, rules: [] })),
  hooked('postrouting', { type: 'nat', hook: 'postrouting', priority: 100 }),
  hooked('prerouting', { type: 'nat', hook: 'prerouting', priority: -100 }),
  hooked('raw', { type: 'filter', hook: 'prerouting', priority: -300 }),
]

/** A table of all sets and chains that the rules and elements below name. */
export const NFT_FRAME: readonly NftCommand[] = [
  { op: 'ensureTable', table: INET },
  { op: 'ensureTable', table: BRIDGE },
  ...['frames', 'one'].map((name): NftCommand => ({ op: 'ensureChain', chain: { table: BRIDGE, name } })),
  ...CHAINS.map((chain): NftCommand => ({ op: 'ensureChain', chain })),
  ...Object.values<NftSet<unknown, unknown>>(SETS).map((one): NftCommand => ({ op: 'ensureSet', set: one })),
]

const node = cidr('10.1.0.0/24')
const tcp80 = [address('10.96.0.1'), 6, 80] as const
const keyFields = together(daddr(4), l4proto, anyDport)
const ensureSet = (one: NftSet<unknown, unknown>): NftCommand => ({ op: 'ensureSet', set: one })
const ensureChain = (chain: Omit<NftChain, 'rules'>): NftCommand => ({ op: 'ensureChain', chain })
const frames = (...rule: readonly Expression[]): NftCommand => ({
  op: 'addRule',
  chain: { table: BRIDGE, name: 'frames' },
  rule,
})
const net1 = (...expressions: readonly Expression[]) => rule('net-1', ...expressions)

/** Our commands, whose words are what nft was told to get the bytes in fixtures/nftables.json. */
export const nftCommands: readonly NftCommand[] = [
  ...[INET, BRIDGE].flatMap((table): NftCommand[] => [
    { op: 'ensureTable', table },
    { op: 'removeTable', table },
    { op: 'removeChain', chain: { table, name: 'empty' } },
  ]),
  ensureChain({ table: INET, name: 'net-1' }),
  ensureChain(hooked('postrouting', { type: 'nat', hook: 'postrouting', priority: 100 })),
  ensureChain(hooked('early', { type: 'filter', hook: 'prerouting', priority: -150 })),
  { op: 'flushChain', chain: { table: INET, name: 'net-1' } },
  ...[masquerade4, masquerade6, links].map(ensureSet),
  { op: 'removeSet', set: map('unused', ipAddress(4), verdict) },
  addElements(masquerade4, { key: address('10.1.0.5'), data: { goto: 'net-1' } }),
  addElements(masquerade4, { key: address('10.1.0.5'), data: { goto: 'net-1' }, comment: 'id eth0' }),
  addElements(masquerade6, { key: address('fd00::5'), data: { goto: 'net-1' }, comment: 'id eth0' }),
  addElements(links, { key: 'eth0', data: { goto: 'net-1' } }),
  removeElements(masquerade4, { key: address('10.1.0.9') }),
  rule('postrouting', vmap(saddr(4), masquerade4)),
  rule('postrouting', vmap(saddr(6), masquerade6)),
  net1(masqueradeTo({})),
  net1(accept),
  net1(back),
  ...['10.1.0.0/24', '224.0.0.0/4', '10.1.2.3/32'].map((text) => net1(within(daddr(4), cidr(text)), back)),
  // Host bits are cleared by the codec: 10.1.7.7/22 is 10.1.4.0/22.
  net1(within(daddr(4), cidr('10.1.7.7/22')), accept),
  ...['fd00:1:2:3::/64', 'ff00::/8', 'fd00:1:2:8::/61'].map((text) =>
    net1(within(daddr(6), cidr(text)), back),
  ),
  net1(within(daddr(6), cidr('fd00::5/128')), masqueradeTo({})),
  ensureChain({ table: BRIDGE, name: 'mac-1' }),
  ensureChain(hooked('prerouting', { type: 'filter', hook: 'prerouting', priority: -300 }, BRIDGE)),
  { op: 'flushChain', chain: { table: BRIDGE, name: 'mac-1' } },
  ensureSet(ports),
  { op: 'removeSet', set: ports },
  { op: 'addRule', chain: { table: BRIDGE, name: 'prerouting' }, rule: [vmap(iifname, ports)] },
  {
    op: 'addRule',
    chain: { table: BRIDGE, name: 'mac-1' },
    rule: [equals(etherSaddr, parseMac('02:00:00:00:00:05')), back],
  },
  { op: 'addRule', chain: { table: BRIDGE, name: 'mac-1' }, rule: [drop] },
  addElements(ports, { key: 'veth0123456789a', data: { goto: 'mac-1' }, comment: 'id eth0' }),
  removeElements(ports, { key: 'veth0123456789a' }),

  ...Object.values(SETS).map((one) => ensureSet({ ...one, name: `${one.name}_new` })),
  { op: 'removeSet', set: pods },
  addElements(pods, { key: address('10.1.0.5') }, { key: address('10.1.0.6'), comment: 'a' }),
  addElements(cidrs, { key: node }),
  addElements(services4, { key: tcp80 }),
  addElements(ranges, { key: [node, 6, { from: 80, to: 90 }] }),
  addElements(ranges, { key: [cidr('10.1.0.5/32'), 17, { from: 53, to: 53 }] }),
  addElements(own, { key: ['veth0', address('10.1.0.5')] }),
  addElements(recent, { key: address('10.1.0.5'), timeoutMs: 60_000 }),
  addElements(from4, { key: address('10.1.0.5'), data: 'drop' }),
  addElements(from4, { key: address('10.1.0.5'), data: { jump: 'one' } }),
  addElements(marks, { key: address('10.1.0.5'), data: 0x4000 }),
  addElements(services, { key: tcp80, data: { goto: 'one' } }),
  addElements(endpoints, { key: address('10.1.0.5'), data: [address('10.1.0.6'), 80] }),
  addElements(addresses, { key: address('10.1.0.5'), data: address('10.1.0.6') }),

  net1(inSet(saddr(4), pods), accept),
  net1(notInSet(saddr(4), pods), drop),
  net1(inSet(daddr(6), pods6), accept),
  net1(inSet(saddr(4), cidrs), accept),
  net1(within(saddr(4), node), within(daddr(4), cidr('10.2.0.0/16')), accept),
  net1(outside(saddr(4), node), drop),
  net1(inSet(keyFields, services4), accept),
  net1(inSet(together(saddr(4), l4proto, anyDport), ranges), accept),
  net1(vmap(keyFields, services)),
  net1(vmap(together(l4proto, anyDport), nodeports)),
  net1(inSet(together(saddr(6), daddr(6)), pairs), accept),
  net1(notInSet(together(iifname, saddr(4)), own), drop),
  net1(setMark(metaMark, mapped(saddr(4), marks))),
  net1(hasAny(ctState, ['established', 'related']), accept),
  net1(hasAny(ctState, ['invalid']), drop),
  net1(hasAny(ctStatus, ['dnat']), accept),
  net1(equals(ctDirection, 'original'), accept),
  net1(equals(ctDirection, 'reply'), accept),
  net1(equals(ctMark, 0x111), accept),
  net1(setMark(ctMark, 0x111)),
  net1(setMark(ctMark, metaMark)),
  net1(setMark(metaMark, ctMark)),
  net1(equals(ctAddress('original', 4, 'daddr'), address('10.96.0.1')), accept),
  net1(equals(ctAddress('original', 6, 'saddr'), address('fd00::5')), accept),
  net1(isProtocol(6), equals(ctDport('original'), 80), accept),
  rule('raw', isSpoofed(), drop),
  rule('raw', hasReversePath(), accept),
  rule('raw', equals(fibType('daddr'), 'local'), accept),
  rule('raw', differs(fibType('daddr'), 'local'), accept),
  net1(equals(metaMark, 0x4000), accept),
  net1(hasBits(metaMark, 0x4000), accept),
  net1(setMark(metaMark, 0x4000)),
  net1(addMark(metaMark, 0x4000)),
  net1(toggleMark(metaMark, 0x4000)),
  net1(isProtocol(6), accept),
  net1(isProtocol(58), accept),
  net1(isProtocol(6), equals(dport('tcp'), 80), accept),
  net1(equals(dport('tcp'), 80), accept),
  net1(between(dport('tcp'), { from: 80, to: 90 }), accept),
  net1(equals(dport('udp'), 53), accept),
  net1(equals(dport('sctp'), 80), accept),
  net1(equals(sport('udp'), 53), accept),
  net1(within(saddr(4), node), equals(dport('tcp'), 80), accept),
  net1(isProtocol(6), between(anyDport, { from: 80, to: 90 }), accept),
  net1(between(icmpv6Type, { from: 133, to: 137 }), accept),
  net1(equals(iifname, 'veth0'), accept),
  net1(differs(oifname, 'veth0'), accept),
  net1(equals(iif, 1), accept),
  net1(equals(oif, 1), accept),
  net1(equals(iifgroup, 7), accept),
  net1(equals(oifgroup, 7), accept),
  net1(isFamily(6), accept),
  net1(counter, accept),
  rule('raw', notrack),
  net1(reject),
  net1(rejectAdmin),
  net1(rejectTcp),
  net1(isProtocol(6), rejectTcp),
  net1(jump('one')),
  net1(goto('one')),
  net1(limit(10, 'second'), accept),
  net1(limit(10, 'minute', { over: true, burst: 20 }), drop),
  net1(log('D|ns1/p1', 7)),
  net1(equals(numgen('random', 2), 0), goto('one')),
  net1(equals(numgen('inc', 2), 0), goto('one')),
  net1(below(numgen('random', 100), 5), drop),
  net1(
    inlineVmap(numgen('random', 2), { key: 0, data: { goto: 'one' } }, { key: 1, data: { goto: 'net-2' } }),
  ),
  rule('postrouting', masqueradeTo({ flags: ['fully-random'] })),
  rule('postrouting', isProtocol(6), masqueradeTo({ ports: { from: 1024, to: 2047 } })),
  rule(
    'postrouting',
    isProtocol(6),
    masqueradeTo({ ports: { from: 1024, to: 2047 }, flags: ['fully-random'] }),
  ),
  rule('postrouting', snat({ address: address('192.0.2.1') })),
  rule('postrouting', snat({ address: address('192.0.2.1'), flags: ['fully-random'] })),
  rule('postrouting', snat({ address: address('2001:db8::1') })),
  rule(
    'postrouting',
    isProtocol(6),
    snat({ address: address('192.0.2.1'), ports: { from: 1024, to: 2047 } }),
  ),
  rule('prerouting', dnat({ address: address('10.1.0.6') })),
  rule('prerouting', isProtocol(6), dnat({ address: address('10.1.0.6'), ports: { from: 80, to: 80 } })),
  rule('prerouting', isProtocol(6), dnat({ address: address('fd00::6'), ports: { from: 80, to: 80 } })),
  rule('prerouting', dnatBy(4, mapped(daddr(4), addresses))),
  rule('prerouting', isProtocol(6), dnatBy(4, mapped(daddr(4), endpoints))),
  net1(update(recent, saddr(4))),
  rule('raw', equals(iifgroup, 98), isSpoofed(), drop),
  frames(equals(bridgedSaddr(4), address('10.1.0.2')), back),
  frames(equals(bridgedSaddr(6), address('fd00:1::2')), back),
  frames(equals(arpSaddrEther, parseMac('02:00:00:00:00:05')), back),
  frames(equals(arpSaddrIp, address('10.1.0.2')), back),
  frames(equals(arpDaddrIp, address('10.1.0.2')), back),
  frames(equals(bridgedIcmpv6Type, 136), jump('one')),
  frames(equals(ndTarget, address('fd00:1::2')), back),
  frames(equals(arpDaddrIp, address('10.1.0.2')), equals(arpSaddrIp, address('0.0.0.0')), back),
  frames(equals(bridgedSaddr(4), address('0.0.0.0')), equals(dport('udp'), 67), back),
  frames(
    equals(bridgedSaddr(6), address('::')),
    equals(icmpv6TypeWithin, 135),
    equals(ndTarget, address('fd00:1::2')),
    back,
  ),
  frames(differs(etherSaddr, parseMac('02:00:00:00:00:05')), drop),
]
