import { MessageWriter, Nlm } from '../netlink/message.ts'
import { type Attributes, writeAttributes } from './attributes.ts'
import { writeFamily } from './batch.ts'
import { encodeElement } from './elements.ts'
import type { NftChainRef, NftElement, NftSet, NftSetRef, NftTable } from './objects.ts'
import { ChainAttr, ElementListAttr, Msg, NFNL_SUBSYS_NFTABLES, RuleAttr, TableAttr } from './protocol.ts'

/** Asks for one element; of an interval set, for the one that holds the key. The answer is the element, or the refusal ENOENT; no transaction is begun. */
export function encodeGetElement<K, D>(
  set: NftSet<K, D>,
  { key }: Pick<NftElement<K>, 'key'>,
  seq: number,
): Uint8Array<ArrayBuffer> {
  // Of an interval of one field, the first key alone: with its end, the kernel would answer twice.
  const [element] = encodeElement(set as NftSet<unknown, unknown>, { key })
  const attributes: Attributes = [
    [ElementListAttr.table, set.table.name],
    [ElementListAttr.set, set.name],
    [ElementListAttr.elements, element ? [element] : []],
  ]
  return question(set.table, Msg.getElement, attributes, seq)
}

/** Asks for one table. */
export function encodeGetTable(table: NftTable, seq: number): Uint8Array<ArrayBuffer> {
  return question(table, Msg.getTable, [[TableAttr.name, table.name]], seq)
}

/** Asks for one chain, without its rules. */
export function encodeGetChain({ table, name }: NftChainRef, seq: number): Uint8Array<ArrayBuffer> {
  const attributes: Attributes = [
    [ChainAttr.table, table.name],
    [ChainAttr.name, name],
  ]
  return question(table, Msg.getChain, attributes, seq)
}

/** Asks for the number of the ruleset's generation: the question that every nftables can answer. */
export function encodeGetGeneration(seq: number): Uint8Array<ArrayBuffer> {
  return question({ family: 'inet', name: '' }, Msg.getGeneration, [], seq)
}

/** The message types and the body of a dump, for whoever sends dumps. */
type Dump = { request: number; reply: number; body: (writer: MessageWriter) => unknown }

/** Asks for the rules of one chain. */
export function ruleDump({ table, name }: NftChainRef): Dump {
  return dump(Msg.getRule, Msg.newRule, table, [
    [RuleAttr.table, table.name],
    [RuleAttr.chain, name],
  ])
}

/** Asks for all elements of a set. */
export function elementDump({ table, name }: NftSetRef): Dump {
  return dump(Msg.getElement, Msg.newElement, table, [
    [ElementListAttr.table, table.name],
    [ElementListAttr.set, name],
  ])
}

function question(
  table: NftTable,
  type: number,
  attributes: Attributes,
  seq: number,
): Uint8Array<ArrayBuffer> {
  const writer = new MessageWriter().begin((NFNL_SUBSYS_NFTABLES << 8) | type, Nlm.request, seq)
  writeAttributes(writeFamily(writer, table), attributes)
  return writer.end().finish()
}

function dump(request: number, reply: number, table: NftTable, attributes: Attributes): Dump {
  return {
    request: (NFNL_SUBSYS_NFTABLES << 8) | request,
    reply: (NFNL_SUBSYS_NFTABLES << 8) | reply,
    body: (writer) => writeAttributes(writeFamily(writer, table), attributes),
  }
}
