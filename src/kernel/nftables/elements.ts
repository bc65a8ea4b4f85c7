import { textBytes } from '../../core/text.ts'
import { listAttributes, readAttributes, readString, readU32be } from '../netlink/message.ts'
import type { Attribute, Attributes } from './attributes.ts'
import type { Datatype } from './datatypes.ts'
import type { NftElement, NftSet } from './objects.ts'
import { DataAttr, ElementAttr, ElementListAttr, ListAttr, NFT_SET_ELEM_INTERVAL_END } from './protocol.ts'
import { type NftVerdict, targetOf, verdict } from './verdict.ts'

/** The type of a comment within user data, and its longest text in bytes without NUL. Source: libnftnl/udata.h. */
const UDATA_COMMENT = 0
export const MAX_COMMENT_BYTES = 127
/** The family header of every nfnetlink message, before its attributes: bytes. */
const NFGEN_LENGTH = 4

type Keys = Pick<NftSet<unknown, unknown>, 'key' | 'data'>

/** An element as a message shows it. */
export type RawElement = {
  /** Empty for the element that is met where no other is. */
  readonly key: Uint8Array
  /** In a set of ranges of several fields, the last key. */
  readonly keyEnd?: Uint8Array
  readonly flags: number
  readonly data?: Uint8Array
  readonly comment?: string
}

/** Returns the entries of an element list that make this element: two for an interval of one field. */
export function encodeElement(
  { key: type, data: dataType }: Keys,
  element: NftElement<unknown, unknown>,
): Attributes {
  const { key, data, comment, timeoutMs } = element
  const isRange = type.last && type.parts
  const attributes: Attribute[] = [
    ...(timeoutMs === undefined ? [] : [[ElementAttr.timeout, BigInt(timeoutMs)] as const]),
    [ElementAttr.key, [[DataAttr.value, type.encode(key)]]],
    ...(isRange ? [[ElementAttr.keyEnd, [[DataAttr.value, type.last?.(key) ?? []]]] as const] : []),
    ...(dataType && data !== undefined ? [[ElementAttr.data, encodeData(dataType, data)] as const] : []),
    ...(comment ? [[ElementAttr.userData, commentData(comment)] as const] : []),
  ]
  const end = isRange ? undefined : endOf(type, key)
  return [[ListAttr.element, attributes], ...(end ? [[ListAttr.element, end] as const] : [])]
}

function encodeData(type: Datatype<unknown>, value: unknown): Attributes {
  return type.toData?.(value) ?? [[DataAttr.value, type.encode(value)]]
}

/** The second element of an interval: the first key behind it. None where it ends with the last key of all. */
function endOf(type: Datatype<unknown>, key: unknown): Attributes | undefined {
  const end = type.last?.(key)
  if (!end || end.every((byte) => byte === 255)) return undefined
  let at = end.length - 1
  for (; end[at] === 255; at--) end[at] = 0
  end[at] = (end[at] ?? 0) + 1
  return [
    [ElementAttr.flags, NFT_SET_ELEM_INTERVAL_END],
    [ElementAttr.key, [[DataAttr.value, end]]],
  ]
}

/** Reads the elements in the bodies of NFT_MSG_NEWSETELEM messages. What makes no sense is left out. */
export function readRawElements(bodies: readonly Uint8Array[]): RawElement[] {
  return bodies.flatMap((body) => {
    const list = readAttributes(body, NFGEN_LENGTH).get(ElementListAttr.elements)
    return (list ? listAttributes(list) : []).map(([, value]) => {
      const attributes = readAttributes(value)
      const key = dataValue(attributes.get(ElementAttr.key)) ?? new Uint8Array()
      const [keyEnd, data] = [dataValue(attributes.get(ElementAttr.keyEnd)), attributes.get(ElementAttr.data)]
      const flags = readU32be(attributes.get(ElementAttr.flags)) ?? 0
      const comment = readComment(attributes.get(ElementAttr.userData))
      return {
        key,
        flags,
        ...(keyEnd && { keyEnd }),
        ...(data && { data }),
        ...(comment !== undefined && { comment }),
      }
    })
  })
}

/** Reads all elements of a set from a dump of it, or one from an answer. Those that are none of its types are left out. */
export function readElements<K, D>(
  set: Pick<NftSet<K, D>, 'key' | 'data'>,
  bodies: readonly Uint8Array[],
): NftElement<K, D>[] {
  const raw = readRawElements(bodies).filter(({ key }) => key.length === set.key.length)
  const isIntervals = set.key.last !== undefined && set.key.parts === undefined
  return (isIntervals ? pairIntervals(raw) : raw).flatMap((one) => {
    const key = set.key.decode(one.key, one.keyEnd ?? one.key)
    const data = one.data && set.data && readData(set.data, one.data)
    if (key === undefined || (set.data && data === undefined)) return []
    return [
      {
        key,
        ...(data !== undefined && { data }),
        ...(one.comment !== undefined && { comment: one.comment }),
      },
    ]
  })
}

/** Returns whether an answer shows an element, with the data of this one if it has any. */
export function showsElement<K, D>(
  { data: type }: Pick<NftSet<K, D>, 'data'>,
  { data: wanted }: NftElement<K, D>,
  body: Uint8Array | undefined,
): boolean {
  return readRawElements(body ? [body] : []).some(({ data }) => {
    if (!type || wanted === undefined) return true
    const shown = data && readData(type, data)
    return shown !== undefined && type.show(shown) === type.show(wanted)
  })
}

/** Returns the chain that an element of a verdict map leads to, if it does. */
export function targetOfElement(
  { data: type }: Keys,
  element: NftElement<unknown, unknown> | undefined,
): string | undefined {
  return type === (verdict as unknown) && element?.data ? targetOf(element.data as NftVerdict) : undefined
}

/**
 * Gives each interval of one field its last key. An interval begins with an element, and ends before the next one, which says
 * so; the last may have no end.
 */
export function pairIntervals(raw: readonly RawElement[]): RawElement[] {
  const sorted = [...raw].sort((a, b) => compareKeys(a.key, b.key) || (b.flags & 1) - (a.flags & 1))
  return sorted.flatMap((start, i) => {
    if (isIntervalEnd(start.flags)) return []
    const next = sorted[i + 1]?.key
    return [{ ...start, keyEnd: next ? before(next) : start.key.map(() => 255) }]
  })
}

/** Decides by its flags whether an element only says where an interval ends. */
export function isIntervalEnd(flags: number): boolean {
  return (flags & NFT_SET_ELEM_INTERVAL_END) !== 0
}

function compareKeys(a: Uint8Array, b: Uint8Array): number {
  const at = a.findIndex((byte, i) => byte !== b[i])
  return (a[at] ?? 0) - (b[at] ?? 0)
}

function before(key: Uint8Array): Uint8Array {
  const bytes = key.slice()
  let at = bytes.length - 1
  for (; at > 0 && bytes[at] === 0; at--) bytes[at] = 255
  bytes[at] = (bytes[at] ?? 0) - 1
  return bytes
}

function readData<D>(type: Datatype<D>, data: Uint8Array): D | undefined {
  const value = dataValue(data) ?? new Uint8Array()
  return type.fromData ? type.fromData(data) : type.decode(value, value)
}

function dataValue(data: Uint8Array | undefined): Uint8Array | undefined {
  return data && readAttributes(data).get(DataAttr.value)
}

/** Replaces quotes and control characters, which would make the listing of nft unreadable. */
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

function readComment(data: Uint8Array | undefined): string | undefined {
  if (!data) return undefined
  for (let at = 0; at + 2 <= data.length; at += 2 + (data[at + 1] ?? 0)) {
    const end = at + 2 + (data[at + 1] ?? 0)
    if (end > data.length) break
    if (data[at] === UDATA_COMMENT) return readString(data.subarray(at + 2, end))
  }
  return undefined
}
