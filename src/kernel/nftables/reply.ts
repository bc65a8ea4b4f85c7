import {
  type Attributes,
  readAck,
  readAttributes,
  readMessages,
  readString,
  readU32be,
} from '../netlink/message.ts'
import type { NftHook } from './objects.ts'
import {
  ChainAttr,
  HOOK_NUMBERS,
  HookAttr,
  Msg,
  NFNL_SUBSYS_NFTABLES,
  TABLE_DORMANT,
  TableAttr,
} from './protocol.ts'

export type NftRefusal = {
  /** Of the message in its batch; undefined when the kernel refused the batch as a whole, or a question. */
  readonly index: number | undefined
  /** A positive errno number. */
  readonly errno: number
  /** What the kernel says about it, if it says anything. */
  readonly text?: string
}

/** What one datagram says about a batch: whether anything was refused, and whether no more will come. */
export type BatchNews = { readonly refusal?: NftRefusal; readonly over: boolean }

/** Reads one datagram of answers to a batch of `count` messages, begun with `seq`. Passes over what is foreign or malformed. */
export function readBatchNews(datagram: Uint8Array, count: number, seq = 0): BatchNews {
  let refusal: NftRefusal | undefined
  let over = false
  for (const message of readMessages(datagram)) {
    const ack = readAck(message)
    const number = message.seq - seq
    if (!ack || number < 0 || number > count) continue
    if (ack.errno !== 0) refusal ??= { ...ack, index: number === 0 ? undefined : number - 1 }
    over ||= number === 0 ? ack.errno !== 0 : number === count
  }
  return refusal ? { refusal, over } : { over }
}

export type NftAnswer = {
  readonly refusal?: NftRefusal
  /** The body of the message that shows the element that was asked for. */
  readonly element?: Uint8Array
  /** How many rules, jumps and elements hold the chain that was asked for. */
  readonly chainUse?: number
  /** Where that chain hangs, if it is a base chain at a hook that we know. */
  readonly hook?: NftHook
  /** The table that was asked for is switched off. */
  readonly isDormant?: boolean
  /** The number of the last transaction, whoever made it. */
  readonly generation?: number | undefined
}

/** Source: linux/netfilter/nf_tables.h. */
const NFTA_GEN_ID = 1

/** Reads the answer to one question. Undefined if the datagram holds none, as when it is foreign or malformed. */
export function readAnswer(datagram: Uint8Array, seq: number): NftAnswer | undefined {
  for (const message of readMessages(datagram)) {
    if (message.seq !== seq) continue
    const ack = readAck(message)
    if (ack) return ack.errno === 0 ? {} : { refusal: { ...ack, index: undefined } }
    switch (message.type ^ (NFNL_SUBSYS_NFTABLES << 8)) {
      case Msg.newElement:
        // The receive buffer is used again.
        return { element: message.body.slice() }
      case Msg.newChain:
        return readChain(message.body)
      case Msg.newTable:
        return { isDormant: isDormant(readAttributes(message.body, 4)) }
      case Msg.newGeneration:
        return { generation: readU32be(readAttributes(message.body, 4).get(NFTA_GEN_ID)) }
    }
  }
  return undefined
}

/** Decides it by the attributes of a message that shows a table. */
export function isDormant(table: Attributes): boolean {
  return ((readU32be(table.get(TableAttr.flags)) ?? 0) & TABLE_DORMANT) !== 0
}

function readChain(body: Uint8Array): NftAnswer {
  const attributes = readAttributes(body, 4)
  const chainUse = readU32be(attributes.get(ChainAttr.use))
  const hook = readHook(attributes)
  return { ...(chainUse !== undefined && { chainUse }), ...(hook && { hook }) }
}

function readHook(chain: Attributes): NftHook | undefined {
  const attributes = chain.nested(ChainAttr.hook)
  const number = readU32be(attributes.get(HookAttr.number))
  const priority = readU32be(attributes.get(HookAttr.priority))
  const type = readString(chain.get(ChainAttr.type) ?? new Uint8Array())
  const hook = HOOKS.find((name) => HOOK_NUMBERS[name] === number)
  if (!hook || priority === undefined || (type !== 'filter' && type !== 'nat')) return undefined
  return { type, hook, priority: priority | 0 }
}

const HOOKS = Object.keys(HOOK_NUMBERS) as NftHook['hook'][]
