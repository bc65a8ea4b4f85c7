import { MessageWriter, Nlm } from '../netlink/message.ts'
import { type Attribute, type Attributes, writeAttributes } from './attributes.ts'
import { encodeElement } from './elements.ts'
import type { NftMessage } from './message.ts'
import type { NftChainRef, NftCommand, NftElement, NftHook, NftRule, NftSet, NftTable } from './objects.ts'
import {
  ChainAttr,
  ElementListAttr,
  ExpressionAttr,
  HOOK_NUMBERS,
  HookAttr,
  ListAttr,
  Msg,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
  NFPROTO,
  NLM_F_NONREC,
  RuleAttr,
  SetAttr,
  SetDescriptionAttr,
  SetFlag,
  TABLE_OWNER,
  TableAttr,
} from './protocol.ts'
import { userDataOf } from './set_user_data.ts'

/** A transaction as bytes, and for each message the command that it is of. */
export type NftBatch = { readonly bytes: Uint8Array<ArrayBuffer>; readonly commandOf: readonly number[] }

type Numbered = NftMessage & { readonly command: number }

/** A list of attributes has at most 64 KiB: an element of two keys, a chain and a comment, all of the longest, has 600 bytes. */
const ELEMENTS_IN_MESSAGE = 100

/**
 * Returns one transaction as bytes for one send to NETLINK_NETFILTER. Message number i (from 0) has the sequence number
 * seq + i + 1, which the kernel puts on every refusal; `seq` itself means the batch as a whole. Only the last message
 * asks for an acknowledgement: the kernel answers in order after the whole batch, so its answer is the last one, and
 * success costs one receive however many commands there are. Source: nfnetlink_rcv_batch in net/netfilter/nfnetlink.c.
 */
export function encodeNftBatch(commands: readonly NftCommand[], seq = 0): NftBatch {
  const messages: Numbered[] = []
  for (const [index, command] of commands.entries()) addMessages(messages, command, index)
  const writer = new MessageWriter()
  writeBatchMark(writer, NFNL_MSG_BATCH_BEGIN, seq)
  for (const [i, { table, type, flags, attributes }] of messages.entries()) {
    const ack = i === messages.length - 1 ? Nlm.ack : 0
    writer.begin((NFNL_SUBSYS_NFTABLES << 8) | type, Nlm.request | flags | ack, seq + i + 1)
    writeAttributes(writeFamily(writer, table), attributes).end()
  }
  writeBatchMark(writer, NFNL_MSG_BATCH_END, seq + messages.length + 1)
  return { bytes: writer.finish(), commandOf: messages.map(({ command }) => command) }
}

/** The family header (nfgenmsg) is family, version 0, resource 0. */
export function writeFamily(writer: MessageWriter, table: NftTable): MessageWriter {
  return writer.u8(NFPROTO[table.family])
}

function writeBatchMark(writer: MessageWriter, type: number, seq: number): void {
  writer.begin(type, Nlm.request, seq).u8(0, 0, 0, NFNL_SUBSYS_NFTABLES).end()
}

/** Adds the messages of a command. `ensure…` has CREATE without EXCL: what exists already is accepted if it is the same. */
function addMessages(messages: Numbered[], command: NftCommand, index: number): void {
  const add = (table: NftTable, type: number, flags: number, attributes: Attributes) =>
    messages.push({ command: index, table, type, flags, attributes })
  switch (command.op) {
    case 'ensureTable':
      add(command.table, Msg.newTable, Nlm.create, [
        [TableAttr.name, command.table.name],
        ...(command.table.isOwned ? [[TableAttr.flags, TABLE_OWNER] as const] : []),
      ])
      break
    case 'wakeTable':
      add(command.table, Msg.newTable, Nlm.create, [
        [TableAttr.name, command.table.name],
        [TableAttr.flags, 0],
      ])
      break
    case 'removeTable':
      add(command.table, Msg.deleteTable, NLM_F_NONREC, [[TableAttr.name, command.table.name]])
      break
    case 'ensureChain':
      add(command.chain.table, Msg.newChain, Nlm.create, chainAttributes(command.chain))
      break
    case 'removeChain':
      add(command.chain.table, Msg.deleteChain, NLM_F_NONREC, chainAttributes(command.chain))
      break
    case 'flushChain':
      // A removal of rules that names a chain and no rule takes all rules of the chain.
      add(command.chain.table, Msg.deleteRule, 0, ruleOf(command.chain))
      break
    case 'addRule':
      addRule(messages, command.chain, command.rule, index)
      break
    case 'ensureSet':
      add(command.set.table, Msg.newSet, Nlm.create, setAttributes(command.set, messages.length + 1))
      break
    case 'removeSet': {
      const { table, name } = command.set
      const flags = command.elements ? 0 : NLM_F_NONREC
      add(table, Msg.deleteSet, flags, [
        [SetAttr.table, table.name],
        [SetAttr.name, name],
      ])
      break
    }
    case 'addElements':
    case 'removeElements': {
      const isAdding = command.op === 'addElements'
      const [type, flags] = isAdding ? [Msg.newElement, Nlm.create] : [Msg.deleteElement, 0]
      for (let at = 0; at < command.elements.length; at += ELEMENTS_IN_MESSAGE) {
        const some = command.elements.slice(at, at + ELEMENTS_IN_MESSAGE)
        const elements = isAdding ? some : some.map(({ key }) => ({ key }))
        add(command.set.table, type, flags, elementAttributes(command.set, elements))
      }
    }
  }
}

function chainAttributes({ table, name, hook }: NftChainRef & { readonly hook?: NftHook }): Attribute[] {
  return [[ChainAttr.table, table.name], [ChainAttr.name, name], ...(hook ? hookAttributes(hook) : [])]
}

function hookAttributes({ type, hook, priority }: NftHook): Attribute[] {
  return [
    [ChainAttr.type, type],
    [
      ChainAttr.hook,
      [
        [HookAttr.number, HOOK_NUMBERS[hook]],
        [HookAttr.priority, priority >>> 0],
      ],
    ],
  ]
}

function ruleOf({ table, name }: NftChainRef): Attribute[] {
  return [
    [RuleAttr.table, table.name],
    [RuleAttr.chain, name],
  ]
}

/** A map of the rule's own goes before the rule. Its number is that of its first message. */
function addRule(messages: Numbered[], chain: NftChainRef, rule: NftRule, command: number): void {
  const { table } = chain
  const whole = rule.map((expression) => {
    if (!expression.inline) return expression
    const made = expression.inline(table, messages.length + 1)
    for (const message of made.messages) messages.push({ ...message, command })
    return { ...expression, kernel: made.kernel }
  })
  const attributes: Attributes = [...ruleOf(chain), [RuleAttr.expressions, encodeRule(whole)]]
  messages.push({ command, table, type: Msg.newRule, flags: Nlm.create | Nlm.append, attributes })
}

/** Returns the list of a rule's expressions in the kernel's terms. What an expression needs is tested once in a rule. */
export function encodeRule(rule: NftRule): Attributes {
  const tested = new Set<string>()
  const kernel = rule.flatMap((expression) => {
    const needs = (expression.needs ?? []).filter(({ text }) => !tested.has(text) && tested.add(text))
    tested.add(expression.text)
    return [...needs, expression].flatMap((one) => one.kernel)
  })
  return kernel.map(([name, attributes]) => [
    ListAttr.element,
    [[ExpressionAttr.name, name], ...(attributes ? [[ExpressionAttr.data, attributes] as const] : [])],
  ])
}

/** `id` must be unique within the batch; the kernel insists on one although we refer to sets by name. */
export function setAttributes(set: NftSet<unknown, unknown>, id: number, moreFlags = 0): Attributes {
  const { table, name, key, data, timeoutMs } = set
  const parts = key.last && key.parts?.map(({ length }): Attribute => [1, [[1, length]]])
  return [
    [SetAttr.table, table.name],
    [SetAttr.name, name],
    [SetAttr.flags, flagsOf(set) | moreFlags],
    [SetAttr.keyType, key.number],
    [SetAttr.keyLength, key.length],
    ...(data
      ? ([
          [SetAttr.dataType, data.number],
          [SetAttr.dataLength, data.length],
        ] as const)
      : []),
    [SetAttr.id, id],
    ...(parts ? [[SetAttr.description, [[SetDescriptionAttr.concat, parts]]] as const] : []),
    ...(timeoutMs === undefined ? [] : [[SetAttr.timeout, BigInt(timeoutMs)] as const]),
    [SetAttr.userData, userDataOf(set)],
  ]
}

function flagsOf({ key, data, timeoutMs, dynamic }: NftSet<unknown, unknown>): number {
  return (
    (data ? SetFlag.map : 0) |
    (key.last ? SetFlag.interval : 0) |
    (key.last && key.parts ? SetFlag.concat : 0) |
    (timeoutMs === undefined ? 0 : SetFlag.timeout) |
    (dynamic ? SetFlag.dynamic : 0)
  )
}

/** Returns what names some elements of a set, with their data. `id`: of a set that this batch makes, and that has no name yet. */
export function elementAttributes(
  set: NftSet<unknown, unknown>,
  elements: readonly NftElement<unknown, unknown>[],
  id?: number,
): Attributes {
  return [
    [ElementListAttr.table, set.table.name],
    [ElementListAttr.set, set.name],
    ...(id === undefined ? [] : [[ElementListAttr.setId, id] as const]),
    [ElementListAttr.elements, elements.flatMap((one) => encodeElement(set, one))],
  ]
}
