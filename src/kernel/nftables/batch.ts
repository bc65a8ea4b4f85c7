import { MessageWriter, NLM_F_ACK, NLM_F_APPEND, NLM_F_CREATE, NLM_F_REQUEST } from '../netlink/message.ts'
import type {
  NftChainRef,
  NftCommand,
  NftElementRef,
  NftFamily,
  NftHook,
  NftKeyType,
  NftMapRef,
  NftTableRef,
} from './commands.ts'
import { writeElement } from './element.ts'
import { writeExpression } from './expressions.ts'
import {
  ChainAttr,
  ElementListAttr,
  HOOK_NUMBERS,
  HookAttr,
  Msg,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFPROTO,
  NFT_DATA_VERDICT,
  NFT_SET_INTERVAL,
  NFT_SET_MAP,
  NLM_F_NONREC,
  RuleAttr,
  SetAttr,
  TableAttr,
} from './protocol.ts'

/** Type number (as in libnftables' datatype.h), length in bytes, and whether the bytes are in network order. */
const KEYS: Record<NftKeyType, { type: number; length: number; bigEndian: boolean }> = {
  ipv4_addr: { type: 7, length: 4, bigEndian: true },
  ipv6_addr: { type: 8, length: 16, bigEndian: true },
  ifname: { type: 41, length: 16, bigEndian: false },
}

/**
 * One transaction as bytes for one send to NETLINK_NETFILTER. Command number i (from 0) has the sequence number
 * seq + i + 1, which the kernel puts on every refusal; `seq` itself means the batch as a whole. Only the last command
 * asks for an acknowledgement: the kernel answers in order after the whole batch, so its answer is the last one, and
 * success costs one receive however many commands there are. Source: nfnetlink_rcv_batch in net/netfilter/nfnetlink.c.
 */
export function encodeNftBatch(commands: readonly NftCommand[], seq = 0): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter()
  writeBatchMark(writer, NFNL_MSG_BATCH_BEGIN, seq)
  for (const [index, command] of commands.entries()) {
    const ack = index === commands.length - 1 ? NLM_F_ACK : 0
    const { type, flags } = HEADS[command.op]
    const takesAll = command.op === 'removeMap' && command.elements
    beginMessage(writer, command.family, type, (takesAll ? 0 : flags) | ack, seq + index + 1)
    writeBody(writer, command, index + 1)
    writer.end()
  }
  writeBatchMark(writer, NFNL_MSG_BATCH_END, seq + commands.length + 1)
  return writer.finish()
}

/** Asks for one element; of an interval map, for the one that holds the key. The answer is the element, or the refusal ENOENT; no transaction is begun. */
export function encodeGetElement(element: NftElementRef, seq: number): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter(256)
  beginMessage(writer, element.family, Msg.getElement, 0, seq)
  writeElement(writer, { table: element.table, map: element.map, key: element.key })
  return writer.end().finish()
}

/** Asks for one table. The answer is the table, or the refusal ENOENT; no transaction is begun. */
export function encodeGetTable({ family, table }: NftTableRef, seq: number): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter(128)
  beginMessage(writer, family, Msg.getTable, 0, seq)
  return writer.attributeString(TableAttr.name, table).end().finish()
}

/** The same for one chain. */
export function encodeGetChain({ family, table, chain }: NftChainRef, seq: number): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter(128)
  beginMessage(writer, family, Msg.getChain, 0, seq)
  return writer.attributeString(ChainAttr.table, table).attributeString(ChainAttr.name, chain).end().finish()
}

/** The message types and the body of a dump, for whoever sends dumps. */
type Dump = { request: number; reply: number; body: (writer: MessageWriter) => unknown }

/** Asks for the rules of one chain. */
export function ruleDump({ family, table, chain }: NftChainRef): Dump {
  return {
    request: (NFNL_SUBSYS_NFTABLES << 8) | Msg.getRule,
    reply: (NFNL_SUBSYS_NFTABLES << 8) | Msg.newRule,
    body: (writer) =>
      writeFamily(writer, family)
        .attributeString(RuleAttr.table, table)
        .attributeString(RuleAttr.chain, chain),
  }
}

/** Asks for all elements of a map. */
export function elementDump({ family, table, map }: NftMapRef): Dump {
  return {
    request: (NFNL_SUBSYS_NFTABLES << 8) | Msg.getElement,
    reply: (NFNL_SUBSYS_NFTABLES << 8) | Msg.newElement,
    body: (writer) =>
      writeFamily(writer, family)
        .attributeString(ElementListAttr.table, table)
        .attributeString(ElementListAttr.set, map),
  }
}

/** Asks for the number of the ruleset's generation: the question that every nftables can answer. */
export function encodeGetGeneration(seq: number): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter(64)
  beginMessage(writer, undefined, Msg.getGeneration, 0, seq)
  return writer.end().finish()
}

/** `ensure…` has CREATE without EXCL: what exists already is accepted if it is the same. */
const HEADS: Record<NftCommand['op'], { type: number; flags: number }> = {
  ensureTable: { type: Msg.newTable, flags: NLM_F_CREATE },
  removeTable: { type: Msg.deleteTable, flags: NLM_F_NONREC },
  ensureChain: { type: Msg.newChain, flags: NLM_F_CREATE },
  flushChain: { type: Msg.deleteRule, flags: 0 },
  removeChain: { type: Msg.deleteChain, flags: NLM_F_NONREC },
  addRule: { type: Msg.newRule, flags: NLM_F_CREATE | NLM_F_APPEND },
  ensureMap: { type: Msg.newSet, flags: NLM_F_CREATE },
  removeMap: { type: Msg.deleteSet, flags: NLM_F_NONREC },
  addElement: { type: Msg.newElement, flags: NLM_F_CREATE },
  removeElement: { type: Msg.deleteElement, flags: 0 },
}

function writeBody(writer: MessageWriter, command: NftCommand, setId: number): void {
  switch (command.op) {
    case 'ensureTable':
    case 'removeTable':
      writer.attributeString(TableAttr.name, command.table)
      break
    case 'ensureChain':
      writer.attributeString(ChainAttr.table, command.table).attributeString(ChainAttr.name, command.chain)
      if (command.hook) writeHook(writer, command.hook)
      break
    case 'removeChain':
      writer.attributeString(ChainAttr.table, command.table).attributeString(ChainAttr.name, command.chain)
      break
    case 'flushChain':
      // A removal of rules that names a chain and no rule takes all rules of the chain.
      writer.attributeString(RuleAttr.table, command.table).attributeString(RuleAttr.chain, command.chain)
      break
    case 'addRule':
      writer.attributeString(RuleAttr.table, command.table).attributeString(RuleAttr.chain, command.chain)
      writer.nest(RuleAttr.expressions, () => {
        for (const expression of command.rule) writeExpression(writer, expression)
      })
      break
    case 'ensureMap':
      writeVerdictMap(writer, command, setId)
      break
    case 'removeMap':
      writer.attributeString(SetAttr.table, command.table).attributeString(SetAttr.name, command.map)
      break
    case 'addElement':
    case 'removeElement':
      writeElement(writer, command)
      break
  }
}

function writeHook(writer: MessageWriter, hook: NftHook): void {
  writer.attributeString(ChainAttr.type, hook.type)
  writer.nest(ChainAttr.hook, () =>
    writer
      .attributeU32be(HookAttr.number, HOOK_NUMBERS[hook.hook])
      .attributeU32be(HookAttr.priority, hook.priority >>> 0),
  )
}

/** `setId` must be unique within the batch; the kernel insists on one although we refer to maps by name. */
function writeVerdictMap(
  writer: MessageWriter,
  { table, map, key, interval }: Extract<NftCommand, { op: 'ensureMap' }>,
  setId: number,
): void {
  const { type, length, bigEndian } = KEYS[key]
  writer.attributeString(SetAttr.table, table).attributeString(SetAttr.name, map)
  writer.attributeU32be(SetAttr.flags, NFT_SET_MAP | (interval ? NFT_SET_INTERVAL : 0))
  writer.attributeU32be(SetAttr.keyType, type).attributeU32be(SetAttr.keyLength, length)
  writer.attributeU32be(SetAttr.dataType, NFT_DATA_VERDICT).attributeU32be(SetAttr.dataLength, 0)
  writer.attributeU32be(SetAttr.id, setId)
  writer.attribute(SetAttr.userData, mapUserData(bigEndian))
}

/**
 * What nft leaves itself in a map, as (type, length, number): byte order of the key (0) and of the data (1), and
 * that the data is no interval (6). Without it nft shows the keys of an ifname map backwards.
 */
function mapUserData(bigEndian: boolean): Uint8Array {
  return Uint8Array.of(0, 4, bigEndian ? 2 : 1, 0, 0, 0, 1, 4, 0, 0, 0, 0, 6, 4, 0, 0, 0, 0)
}

function beginMessage(
  writer: MessageWriter,
  family: NftFamily | undefined,
  type: number,
  flags: number,
  seq: number,
): void {
  writeFamily(writer.begin((NFNL_SUBSYS_NFTABLES << 8) | type, NLM_F_REQUEST | flags, seq), family)
}

/** The family header (nfgenmsg) is family, version 0, resource 0. */
function writeFamily(writer: MessageWriter, family: NftFamily = 'inet'): MessageWriter {
  return writer.u8(NFPROTO[family]).u8(0).u16be(0)
}

function writeBatchMark(writer: MessageWriter, type: number, seq: number): void {
  writer.begin(type, NLM_F_REQUEST, seq).u8(0).u8(0).u16be(NFNL_SUBSYS_NFTABLES).end()
}
