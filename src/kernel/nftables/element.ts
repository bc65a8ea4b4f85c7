import { addressBytes, addressFromBytes, bitsOf, lastAddressOf } from '../../core/address.ts'
import { textBytes } from '../../core/text.ts'
import {
  listAttributes,
  type MessageWriter,
  readAttributes,
  readString,
  readU32be,
} from '../netlink/message.ts'
import type { NftElement, NftElementRef } from './commands.ts'
import {
  DataAttr,
  ElementAttr,
  ElementListAttr,
  ListAttr,
  NFT_SET_ELEM_INTERVAL_END,
  Verdict,
  VerdictAttr,
} from './protocol.ts'

/** The type of a comment within user data, and its longest text in bytes without NUL. Source: libnftnl/udata.h. */
const UDATA_COMMENT = 0
const MAX_COMMENT_BYTES = 127
/** The family header of every nfnetlink message, before its attributes: bytes. */
const NFGEN_LENGTH = 4

/** What the kernel tells about one element of a verdict map. */
export type NftElementReply = {
  readonly table: string
  readonly map: string
  readonly key: Uint8Array
  readonly goto?: string
  readonly comment?: string
}

/** Writes the attributes that name one element; with `goto`, also where it sends packets and its comment. */
export function writeElement(writer: MessageWriter, element: NftElementRef | NftElement): void {
  writer.attributeString(ElementListAttr.table, element.table)
  writer.attributeString(ElementListAttr.set, element.map)
  writer.nest(ElementListAttr.elements, () => {
    writer.nest(ListAttr.element, () => {
      writeKey(writer, element.key)
      if ('goto' in element) writeTarget(writer, element)
    })
    const end = endOf(element)
    if (!end) return
    writer.nest(ListAttr.element, () => {
      writer.attributeU32be(ElementAttr.flags, NFT_SET_ELEM_INTERVAL_END)
      writeKey(writer, end)
    })
  })
}

function writeKey(writer: MessageWriter, key: Uint8Array): void {
  writer.nest(ElementAttr.key, () => writer.attribute(DataAttr.value, key))
}

/** An interval is two elements, and the second is the first key behind it: none where it ends with the address space. */
function endOf({ key, prefix }: NftElementRef): Uint8Array | undefined {
  if (prefix === undefined) return undefined
  const { family, value } = lastAddressOf({ address: addressFromBytes(key), prefix })
  const next = value + 1n
  return next >> BigInt(bitsOf(family)) === 0n ? addressBytes({ family, value: next }) : undefined
}

/** Reads the elements in the body of an NFT_MSG_NEWSETELEM message. What makes no sense is left out. */
export function readElements(body: Uint8Array): NftElementReply[] {
  const list = readAttributes(body, NFGEN_LENGTH)
  const [table, map] = [list.get(ElementListAttr.table), list.get(ElementListAttr.set)]
  const elements = list.get(ElementListAttr.elements)
  if (!table || !map || !elements) return []
  const names = { table: readString(table), map: readString(map) }
  return listAttributes(elements).flatMap(([, value]) => {
    const attributes = readAttributes(value)
    const key = nested(attributes, ElementAttr.key).get(DataAttr.value)
    return key ? [{ ...names, key, ...readTarget(attributes), ...readComment(attributes) }] : []
  })
}

function writeTarget(writer: MessageWriter, { goto, comment }: NftElement): void {
  writer.nest(ElementAttr.data, () =>
    writer.nest(DataAttr.verdict, () =>
      writer.attributeU32be(VerdictAttr.code, Verdict.goto).attributeString(VerdictAttr.chain, goto),
    ),
  )
  if (comment) writer.attribute(ElementAttr.userData, commentData(comment))
}

/** Quotes and control characters would make the listing of nft unreadable. */
export function printableComment(comment: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not get through
  return comment.replace(/[\x00-\x1f\x7f"\\]/g, '_')
}

/** As nft writes it: type, length, text, NUL. */
function commentData(comment: string): Uint8Array {
  const bytes = textBytes(printableComment(comment))
  const text = bytes.subarray(0, wholeCharacters(bytes, MAX_COMMENT_BYTES))
  const data = new Uint8Array(2 + text.length + 1)
  data.set([UDATA_COMMENT, text.length + 1])
  data.set(text, 2)
  return data
}

/** How many of the first `limit` bytes make whole UTF-8 characters: half a character would break `nft -j`. */
function wholeCharacters(bytes: Uint8Array, limit: number): number {
  if (bytes.length <= limit) return bytes.length
  let end = limit
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return end
}

function readTarget(element: Map<number, Uint8Array>): { goto?: string } {
  const data = nested(element, ElementAttr.data)
  const verdict = nested(data, DataAttr.verdict)
  const chain = verdict.get(VerdictAttr.chain)
  return chain && readU32be(verdict.get(VerdictAttr.code)) === Verdict.goto ? { goto: readString(chain) } : {}
}

function readComment(element: Map<number, Uint8Array>): { comment?: string } {
  const data = element.get(ElementAttr.userData)
  if (!data) return {}
  for (let at = 0; at + 2 <= data.length; at += 2 + (data[at + 1] ?? 0)) {
    const end = at + 2 + (data[at + 1] ?? 0)
    if (end > data.length) break
    if (data[at] === UDATA_COMMENT) return { comment: readString(data.subarray(at + 2, end)) }
  }
  return {}
}

function nested(attributes: Map<number, Uint8Array>, type: number): Map<number, Uint8Array> {
  const value = attributes.get(type)
  return value ? readAttributes(value) : new Map()
}
