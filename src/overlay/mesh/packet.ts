import { sha256 } from '../../core/names.ts'
import type { Cell } from './cell.ts'

/*
 * The probes between agents: one request and one answer over UDP, both of a fixed layout.
 *
 * A stranger's packet has no effect. An answer counts only if it repeats the 64 random bits of a request that waits for it, and only an
 * answer carries news. A request counts only if it names a node of the cluster as its sender, and its answer goes to the address that the
 * API server has for that node, whatever the packet's source was. No answer is longer than its request.
 *
 * An answer carries a part of the responder's own measurements, so every node learns the whole matrix at no packet more.
 */

/**
 * The ways from node to node: by the addresses of nodes, or by those of the ranges of their pods, in each family. The index is the number in
 * packets and in rows.
 */
export const WAYS = [
  { network: 'underlay', family: 4 },
  { network: 'underlay', family: 6 },
  { network: 'pods', family: 4 },
  { network: 'pods', family: 6 },
] as const

/** 16 hex digits, which follow from the name of a node. */
export type NodeId = string

/** What a node reports of another one. */
export type RowEntry = {
  /** The first 8 digits of a NodeId. */
  readonly shortId: string
  /** One for each of WAYS. */
  readonly cells: readonly Cell[]
}

export type Request = {
  readonly kind: 'request'
  readonly nonce: string
  readonly sender: NodeId
  readonly receiver: NodeId
  /** An index of WAYS. */
  readonly way: number
  /** The way by which the answer is to come, if it is another one. Agents of before answer by the way of the request. */
  readonly answerWay?: number
}

export type Answer = Omit<Request, 'kind' | 'answerWay'> & {
  readonly kind: 'answer'
  /** How many other nodes the responder knows, and how many of them it does not reach. */
  readonly peers: number
  readonly unreachable: number
  readonly entries: readonly RowEntry[]
}

/** `BWLM`. */
const MAGIC = 0x42574c4d
const VERSION = 1
const KINDS = { request: 1, answer: 2 } as const
const HEADER_BYTES = 40
/** Where a request has the index of `answerWay` and 1, or 0. */
const ANSWER_WAY_AT = 7
const ENTRY_BYTES = 4 + 2 * WAYS.length
/** A row of so many peers is whole in each answer. */
export const MAX_ENTRIES = 32

/** The UDP payload of a request and of an answer, in bytes. */
export const PROBE_BYTES = HEADER_BYTES + MAX_ENTRIES * ENTRY_BYTES

export function nodeIdOf(name: string): NodeId {
  return sha256(`mesh\0${name}`).slice(0, 16)
}

export function shortIdOf(id: NodeId): string {
  return id.slice(0, 8)
}

/** Writes a request of `bytes`, at least PROBE_BYTES: the rest is zeros. */
export function encodeRequest(request: Request, bytes: number = PROBE_BYTES): Uint8Array {
  const written = withHeader(request, Math.max(bytes, PROBE_BYTES))
  written[ANSWER_WAY_AT] = (request.answerWay ?? -1) + 1
  return written
}

export function encodeAnswer(answer: Answer): Uint8Array {
  const bytes = withHeader(answer, PROBE_BYTES)
  const view = new DataView(bytes.buffer)
  const entries = answer.entries.slice(0, MAX_ENTRIES)
  view.setUint16(32, Math.min(answer.peers, 0xffff))
  view.setUint16(34, Math.min(answer.unreachable, 0xffff))
  view.setUint16(36, entries.length)
  for (const [i, { shortId, cells }] of entries.entries()) {
    const at = HEADER_BYTES + i * ENTRY_BYTES
    view.setUint32(at, Number.parseInt(shortId, 16))
    for (let way = 0; way < WAYS.length; way++) view.setUint16(at + 4 + 2 * way, cells[way] ?? 0)
  }
  return bytes
}

/** Reads a packet; undefined for whatever no agent has sent. */
export function decodePacket(bytes: Uint8Array): Request | Answer | undefined {
  if (bytes.length < PROBE_BYTES) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const way = view.getUint8(6)
  if (view.getUint32(0) !== MAGIC || view.getUint8(4) !== VERSION || way >= WAYS.length) return undefined
  const [nonce, sender, receiver] = [hexAt(view, 8), hexAt(view, 16), hexAt(view, 24)]
  const kind = view.getUint8(5)
  if (kind === KINDS.request) {
    const by = view.getUint8(ANSWER_WAY_AT)
    if (by > WAYS.length) return undefined
    return { kind: 'request', nonce, sender, receiver, way, ...(by > 0 && { answerWay: by - 1 }) }
  }
  const count = view.getUint16(36)
  if (kind !== KINDS.answer || count > MAX_ENTRIES) return undefined
  return {
    kind: 'answer',
    nonce,
    sender,
    receiver,
    way,
    peers: view.getUint16(32),
    unreachable: view.getUint16(34),
    entries: Array.from({ length: count }, (_, i) => entryAt(view, HEADER_BYTES + i * ENTRY_BYTES)),
  }
}

/** Reads the nonce of a packet of which only the beginning is there; undefined if it is no request. */
export function nonceOf(bytes: Uint8Array): string | undefined {
  if (bytes.length < 16) return undefined
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  return view.getUint32(0) === MAGIC ? hexAt(view, 8) : undefined
}

function withHeader({ kind, way, nonce, sender, receiver }: Request | Answer, length: number): Uint8Array {
  const bytes = new Uint8Array(new ArrayBuffer(length))
  const view = new DataView(bytes.buffer)
  view.setUint32(0, MAGIC)
  view.setUint8(4, VERSION)
  view.setUint8(5, KINDS[kind])
  view.setUint8(6, way)
  for (const [i, hex] of [nonce, sender, receiver].entries()) {
    view.setUint32(8 + 8 * i, Number.parseInt(hex.slice(0, 8), 16))
    view.setUint32(12 + 8 * i, Number.parseInt(hex.slice(8), 16))
  }
  return bytes
}

function entryAt(view: DataView, at: number): RowEntry {
  return {
    shortId: hex32(view.getUint32(at)),
    cells: WAYS.map((_, way) => view.getUint16(at + 4 + 2 * way)),
  }
}

function hexAt(view: DataView, at: number): string {
  return hex32(view.getUint32(at)) + hex32(view.getUint32(at + 4))
}

function hex32(value: number): string {
  return value.toString(16).padStart(8, '0')
}
