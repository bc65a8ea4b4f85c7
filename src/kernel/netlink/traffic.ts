import {
  addressBytes,
  addressFromBytes,
  bitsOf,
  type Cidr,
  type Family,
  networkOf,
} from '../../core/address.ts'
import type { Change, PacketFilter, Qdisc } from '../kernel.ts'
import {
  type Attributes,
  type MessageWriter,
  Nlm,
  readAttributes,
  readString,
  readU32,
  readU32be,
} from './message.ts'
import { Rtm } from './rtnetlink.ts'

/*
 * Queueing disciplines and filters (traffic control). Source: linux/pkt_sched.h, pkt_cls.h, tc_act/tc_mirred.h. All is
 * written as `tc` writes it, but for the table of a rate, which no kernel since 3.8 looks into.
 */
const Tca = { kind: 1, options: 2 } as const
const Tbf = { parameters: 1, rate64: 4, burst: 6 } as const
const U32 = { classId: 1, selector: 5, action: 7 } as const
const Act = { kind: 1, options: 2 } as const
const MIRRED_PARAMETERS = 2

const MAKE = Nlm.create | Nlm.exclusive
/** TC_H_*: where a discipline or a filter hangs. */
const ROOT = 0xffffffff
const CLSACT = 0xfffffff1
const PARENTS = { ingress: 0xfffffff2, egress: 0xfffffff3 } as const
const HANDLES = { tbf: 0x10000, clsact: 0xffff0000 } as const

/** Struct tcmsg, and struct tc_u32_sel without its keys: bytes. */
const HEAD = 20
const SELECTOR_HEAD = 16
const KEY = 16
/** Struct tc_tbf_qopt: two rates of 12 bytes, then the limit and the buffer. */
const LIMIT_OFFSET = 24
const BUFFER_OFFSET = 28
/** Struct tc_mirred ends with the index of the link. */
const MIRRED_LINK_OFFSET = 24

const ETH_P = { all: 3, 4: 0x800, 6: 0x86dd } as const
const OFFSETS = { source: { 4: 12, 6: 8 }, destination: { 4: 16, 6: 24 } } as const
const MAX_U32 = 0xffffffff
/** A tick of the kernel's packet clock. */
const NS_PER_TICK = 64
const TERMINAL = 1
/** A class that nothing has: with it a filter ends the search. */
const PASSED = 0x10001
const TC_ACT_STOLEN = 4
const TCA_EGRESS_REDIR = 1

type TrafficChange = Extract<
  Change,
  { op: 'setQdisc' | 'removeQdisc' | 'addPacketFilter' | 'removePacketFilter' }
>

/** Writes a change of disciplines and filters. `begin` begins a message of a type, with these flags. */
export function writeTraffic(
  begin: (type: number, flags?: number) => MessageWriter,
  change: TrafficChange,
): void {
  switch (change.op) {
    case 'setQdisc':
      writeQdisc(begin(Rtm.newQdisc, MAKE), change.linkIndex, change.qdisc)
      break
    case 'removeQdisc':
      writeQdiscName(begin(Rtm.delQdisc), change.linkIndex, change.qdisc)
      break
    case 'addPacketFilter':
      writePacketFilter(begin(Rtm.newFilter, MAKE), change.linkIndex, change.filter)
      break
    case 'removePacketFilter':
      writePacketFilterName(begin(Rtm.delFilter), change.linkIndex, change.filter)
      break
  }
}

function writeQdisc(writer: MessageWriter, linkIndex: number, qdisc: Qdisc): void {
  const { kind } = qdisc
  writeHead(writer, linkIndex, HANDLES[kind], kind === 'tbf' ? ROOT : CLSACT)
  writer.attributeString(Tca.kind, kind)
  if (qdisc.kind === 'tbf') writer.nest(Tca.options, () => writeTbf(writer, qdisc), false)
}

function writeQdiscName(writer: MessageWriter, linkIndex: number, { kind }: Qdisc): void {
  if (kind === 'tbf') writeHead(writer, linkIndex, 0, ROOT)
  else writeHead(writer, linkIndex, HANDLES[kind], CLSACT).attributeString(Tca.kind, kind)
}

function writePacketFilter(writer: MessageWriter, linkIndex: number, filter: PacketFilter): void {
  const { match, redirect } = filter
  writePacketFilterName(writer, linkIndex, filter)
  writer.attributeString(Tca.kind, 'u32').nest(
    Tca.options,
    () => {
      if (redirect === undefined) writer.attributeU32(U32.classId, PASSED)
      else writer.nest(U32.action, () => writer.nest(1, () => writeRedirect(writer, redirect)), false)
      writer.attribute(U32.selector, selectorOf(match))
    },
    false,
  )
}

function writePacketFilterName(
  writer: MessageWriter,
  linkIndex: number,
  { direction, order, match }: PacketFilter,
): void {
  const protocol = ETH_P[match ? match.cidr.address.family : 'all']
  const inNetworkOrder = ((protocol & 0xff) << 8) | (protocol >> 8)
  writeHead(writer, linkIndex, 0, PARENTS[direction], order * 0x10000 + inNetworkOrder)
}

/** Writes the body of a question for the disciplines or, with a direction, the filters of a link. */
export function writeTrafficQuestion(
  writer: MessageWriter,
  linkIndex: number,
  direction?: PacketFilter['direction'],
): void {
  writeHead(writer, linkIndex, 0, direction ? PARENTS[direction] : 0)
}

/** Reads the body of an RTM_NEWQDISC message: the link and its discipline; undefined for one of another kind. */
export function decodeQdisc(body: Uint8Array): { linkIndex: number; qdisc: Qdisc } | undefined {
  const linkIndex = readU32(body, 4) ?? 0
  const parent = readU32(body, 12)
  const attributes = readAttributes(body, HEAD)
  const kind = readString(attributes.get(Tca.kind) ?? new Uint8Array())
  if (kind === 'clsact') return { linkIndex, qdisc: { kind } }
  if (kind !== 'tbf' || parent !== ROOT) return undefined
  const options = attributes.nested(Tca.options)
  const parameters = options.get(Tbf.parameters) ?? new Uint8Array()
  const rate = readU64(options.get(Tbf.rate64)) ?? readU32(parameters, 8) ?? 0
  const ticks = readU32(parameters, BUFFER_OFFSET) ?? 0
  const burst = Math.round((ticks * NS_PER_TICK * rate) / 1e9)
  return { linkIndex, qdisc: { kind, rate, burst, limit: readU32(parameters, LIMIT_OFFSET) ?? 0 } }
}

/** Reads the body of an RTM_NEWTFILTER message; undefined for one that has not the form of ours. */
export function decodePacketFilter(
  body: Uint8Array,
  direction: PacketFilter['direction'],
): PacketFilter | undefined {
  const info = readU32(body, 16) ?? 0
  const attributes = readAttributes(body, HEAD)
  const options = attributes.nested(Tca.options)
  const selector = options.get(U32.selector)
  if (readString(attributes.get(Tca.kind) ?? new Uint8Array()) !== 'u32' || !selector) return undefined
  const protocol = ((info & 0xff) << 8) | ((info >> 8) & 0xff)
  const match = matchOf(selector, protocol)
  const redirect = redirectOf(options.nested(U32.action))
  return {
    direction,
    order: info >>> 16,
    ...(match && { match }),
    ...(redirect !== undefined && { redirect }),
  }
}

function writeHead(
  writer: MessageWriter,
  linkIndex: number,
  handle: number,
  parent: number,
  info = 0,
): MessageWriter {
  return writer.u32(0).u32(linkIndex).u32(handle).u32(parent).u32(info)
}

/** A rate that needs more than 32 bits has an attribute of its own. */
function writeTbf(writer: MessageWriter, { rate, burst, limit }: Extract<Qdisc, { kind: 'tbf' }>): void {
  const parameters = new MessageBytes(36)
  // A cell of 8 bytes, Ethernet, no overhead, cells aligned by -1: what tc says of any Ethernet.
  parameters.put([3, 1, 0, 0, 0xff, 0xff, 0, 0], 0)
  const rate32 = Math.min(rate, MAX_U32)
  parameters.u32(8, rate32)
  parameters.u32(LIMIT_OFFSET, limit)
  parameters.u32(BUFFER_OFFSET, ticksOf(burst, rate32))
  writer.attribute(Tbf.parameters, parameters.bytes)
  writer.attributeU32(Tbf.burst, burst)
  if (rate < MAX_U32) return
  const wide = new MessageBytes(8)
  wide.u32(0, rate % 0x100000000)
  wide.u32(4, Math.floor(rate / 0x100000000))
  writer.attribute(Tbf.rate64, wide.bytes)
}

/** As tc does it, in whole microseconds. A kernel since 3.14 takes the bytes, which are an attribute of their own. */
function ticksOf(burst: number, rate: number): number {
  const microseconds = Math.floor((burst / rate) * 1e6)
  return Math.min(Math.floor((microseconds * 1000) / NS_PER_TICK), MAX_U32)
}

function writeRedirect(writer: MessageWriter, linkIndex: number): void {
  const parameters = new MessageBytes(28)
  parameters.u32(8, TC_ACT_STOLEN)
  parameters.u32(20, TCA_EGRESS_REDIR)
  parameters.u32(MIRRED_LINK_OFFSET, linkIndex)
  writer
    .attributeString(Act.kind, 'mirred')
    .nest(Act.options, () => writer.attribute(MIRRED_PARAMETERS, parameters.bytes))
}

/** Compares the words of an address, as far as the prefix goes; any packet matches one word under an empty mask. */
function selectorOf(match: PacketFilter['match']): Uint8Array {
  const { address, prefix } = match ? networkOf(match.cidr) : ANY
  const words = Math.max(1, Math.ceil(prefix / 32))
  const selector = new MessageBytes(SELECTOR_HEAD + words * KEY)
  selector.put([TERMINAL, 0, words], 0)
  const value = addressBytes(address)
  const start = match ? OFFSETS[match.end][address.family] : 0
  for (let i = 0; i < words; i++) {
    const at = SELECTOR_HEAD + i * KEY
    selector.put(maskOf(Math.min(32, prefix - i * 32)), at)
    selector.put(value.subarray(i * 4, i * 4 + 4), at + 4)
    selector.u32(at + 8, start + i * 4)
  }
  return selector.bytes
}

const ANY: Cidr = { address: { family: 4, value: 0n }, prefix: 0 }

function maskOf(bits: number): number[] {
  return [0, 8, 16, 24].map((before) => {
    const own = Math.min(8, Math.max(0, bits - before))
    return 0xff & ~(0xff >> own)
  })
}

function matchOf(selector: Uint8Array, protocol: number): PacketFilter['match'] | undefined {
  const family: Family | undefined = protocol === ETH_P[4] ? 4 : protocol === ETH_P[6] ? 6 : undefined
  if (family === undefined) return undefined
  const bytes = new Uint8Array(bitsOf(family) / 8)
  let prefix = 0
  for (let i = 0; i < (selector[2] ?? 0); i++) {
    const key = selector.subarray(SELECTOR_HEAD + i * KEY)
    bytes.set(key.subarray(4, 8), i * 4)
    prefix += (readU32be(key) ?? 0).toString(2).replaceAll('0', '').length
  }
  const start = readU32(selector, SELECTOR_HEAD + 8)
  const end = start === OFFSETS.source[family] ? 'source' : 'destination'
  return { end, cidr: { address: addressFromBytes(bytes), prefix } }
}

function redirectOf(actions: Attributes): number | undefined {
  return readU32(actions.nested(1).nested(Act.options).get(MIRRED_PARAMETERS), MIRRED_LINK_OFFSET)
}

function readU64(bytes: Uint8Array | undefined): number | undefined {
  const high = readU32(bytes, 4)
  return high === undefined ? undefined : high * 0x100000000 + (readU32(bytes) ?? 0)
}

/** The bytes of a struct, all zero at first. */
class MessageBytes {
  readonly bytes: Uint8Array
  constructor(length: number) {
    this.bytes = new Uint8Array(length)
  }

  put(values: ArrayLike<number>, at: number): void {
    this.bytes.set(values, at)
  }

  u32(at: number, value: number): void {
    new DataView(this.bytes.buffer).setUint32(at, value, true)
  }
}
