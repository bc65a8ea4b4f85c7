/**
 * The common part of all netlink protocols: messages, attributes, acknowledgements. Integers are in host byte order
 * (little-endian on all our targets) unless the name says `be`. Source: linux/netlink.h, RFC 3549.
 */
import { runtime } from '#runtime'
import { readText, textBytes } from '../../core/text.ts'

/** Message types, and flags (NLM_F_*). Source: linux/netlink.h. */
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
export const Nlm = {
  request: 0x1,
  /** Of answers to a dump. */
  multi: 0x2,
  ack: 0x4,
  dumpInterrupted: 0x10,
  /** Of answers to a dump: what was not asked about is left out. */
  dumpFiltered: 0x20,
  replace: 0x100,
  exclusive: 0x200,
  dump: 0x300,
  create: 0x400,
  append: 0x800,
  /** Only in acknowledgements: the body of the request is left out. */
  capped: 0x100,
  /** Only in acknowledgements: attributes of the extended acknowledgement follow. */
  ackAttributes: 0x200,
} as const

const NLA_F_NESTED = 0x8000
const NLA_TYPE_MASK = 0x3fff
const HEADER_LENGTH = 16
const HEADER_WORDS = 4
const NLMSGERR_ATTR_MSG = 1

/** Writes messages one after another, as a list of 32-bit words: all of netlink begins at a multiple of four bytes. */
export class MessageWriter {
  readonly #words: number[] = []
  #messageStart = 0

  /** Starts a message; `end` fills in its length. */
  begin(type: number, flags: number, seq: number): this {
    this.#messageStart = this.#words.push(0, (flags << 16) | type, seq, 0) - HEADER_WORDS
    return this
  }

  end(): this {
    const words = this.#words
    const start = this.#messageStart
    words[start] = 4 * (words.length - start)
    return this
  }

  u32(value: number): this {
    this.#words.push(value)
    return this
  }

  /** Four bytes in their order. */
  u8(first: number, second = 0, third = 0, fourth = 0): this {
    this.#words.push(first | (second << 8) | (third << 16) | (fourth << 24))
    return this
  }

  u16(first: number, second = 0): this {
    this.#words.push(first | (second << 16))
    return this
  }

  /** Bytes, and zeros up to a multiple of four. */
  bytes(value: Uint8Array): this {
    const padded = new Uint8Array((value.length + 3) & ~3)
    padded.set(value)
    this.#words.push(...new Uint32Array(padded.buffer))
    return this
  }

  attribute(type: number, value: Uint8Array): this {
    this.#words.push((type << 16) | (4 + value.length))
    return this.bytes(value)
  }

  attributeU8(type: number, value: number): this {
    this.#words.push((type << 16) | 5, value)
    return this
  }

  attributeU16(type: number, value: number): this {
    this.#words.push((type << 16) | 6, value)
    return this
  }

  attributeU16be(type: number, value: number): this {
    this.#words.push((type << 16) | 6, swapped(value) >>> 16)
    return this
  }

  attributeU32(type: number, value: number): this {
    this.#words.push((type << 16) | 8, value)
    return this
  }

  attributeU32be(type: number, value: number): this {
    this.#words.push((type << 16) | 8, swapped(value))
    return this
  }

  /** Text with the closing NUL. */
  attributeString(type: number, value: string): this {
    return this.attribute(type, textBytes(`${value}\0`))
  }

  /** An attribute that holds what `fill` writes; `flagged` sets NLA_F_NESTED, which newer protocols ask for. */
  nest(type: number, fill: (writer: this) => void, flagged = true): this {
    const start = this.#words.push(0) - 1
    fill(this)
    const length = 4 * (this.#words.length - start)
    this.#words[start] = ((flagged ? type | NLA_F_NESTED : type) << 16) | length
    return this
  }

  /** Clears NLM_F_ACK on all messages but the last, and on a question. Returns whether the last has one answer. */
  askOnlyLast(): boolean {
    const words = this.#words
    const last = this.#messageStart
    for (let at = 0; at < last; at += (words[at] ?? 0) >> 2) {
      words[at + 1] = (words[at + 1] ?? 0) & ~(Nlm.ack << 16)
    }
    const head = words[last + 1] ?? 0
    // Message types come in fours: new, delete, get, set.
    const isQuestion = (head & 3) === 2
    if (isQuestion) words[last + 1] = head & ~(Nlm.ack << 16)
    return isQuestion && !(head & (Nlm.dump << 16))
  }

  /** Returns the written bytes. */
  finish(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(new Uint32Array(this.#words).buffer)
  }
}

/** Returns the four bytes of a word in the other order. */
function swapped(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24)
}

export type Message = {
  readonly type: number
  readonly flags: number
  readonly seq: number
  /** Without the header. A view of the bytes that were read. */
  readonly body: Uint8Array
}

/** Lists the messages of one datagram. A truncated or malformed message ends the list. */
export function readMessages(bytes: Uint8Array): Message[] {
  const { buffer, byteOffset, length: size } = bytes
  const view = new DataView(buffer, byteOffset, size)
  const messages: Message[] = []
  let at = 0
  while (at + HEADER_LENGTH <= size) {
    const length = view.getUint32(at, true)
    if (length < HEADER_LENGTH || at + length > size) break
    const head = view.getUint32(at + 4, true)
    messages.push({
      type: head & 0xffff,
      flags: head >>> 16,
      seq: view.getUint32(at + 8, true),
      // Quicker than subarray, which asks the class of the bytes for a constructor.
      body: new Uint8Array(buffer, byteOffset + at + HEADER_LENGTH, length - HEADER_LENGTH),
    })
    at += (length + 3) & ~3
  }
  return messages
}

/** Lists the attributes as [type, value], without the flags of the type. A malformed one ends the list. */
export function listAttributes(bytes: Uint8Array): [type: number, value: Uint8Array][] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const attributes: [number, Uint8Array][] = []
  for (let at = 0; at + 4 <= bytes.length; ) {
    const head = view.getUint32(at, true)
    const length = head & 0xffff
    if (length < 4 || at + length > bytes.length) break
    attributes.push([(head >>> 16) & NLA_TYPE_MASK, bytes.subarray(at + 4, at + length)])
    at += (length + 3) & ~3
  }
  return attributes
}

/** Returns the attributes from `offset` on. */
export function readAttributes(bytes: Uint8Array, offset = 0): Attributes {
  return new Attributes(bytes, offset)
}

/** Attributes, each searched for when it is asked for: the kernel tells 50 of a link, and we want 10. */
export class Attributes {
  readonly #bytes: Uint8Array
  readonly #offset: number

  constructor(bytes: Uint8Array, offset: number) {
    this.#bytes = bytes
    this.#offset = offset
  }

  /** Returns the value as a view. The last of one type counts, as in the kernel. */
  get(type: number): Uint8Array | undefined {
    return runtime.attribute(this.#bytes, this.#offset, type)
  }

  u32(type: number): number | undefined {
    return readU32(runtime.attribute(this.#bytes, this.#offset, type))
  }

  /** Returns those in an attribute; none if it is missing. */
  nested(type: number): Attributes {
    const bytes = this.get(type)
    return bytes ? new Attributes(bytes, 0) : NONE
  }
}

const NONE = new Attributes(new Uint8Array(), 0)

export type Ack = {
  /** 0 is success; else a positive errno number. */
  readonly errno: number
  /** The explanation of the kernel, if there is one. */
  readonly text?: string
}

/** Reads what ends an answer: an acknowledgement, or the end of a dump. Returns undefined for any other message. */
export function readEnd(message: Message): Ack | undefined {
  return message.type > NLMSG_DONE ? undefined : (readAck(message) ?? readDone(message))
}

/** Reads an NLMSG_ERROR message, which is an acknowledgement as well. Returns undefined for any other message. */
export function readAck({ type, flags, body }: Message): Ack | undefined {
  if (type !== NLMSG_ERROR || body.length < 4 + HEADER_LENGTH) return undefined
  const view = new DataView(body.buffer, body.byteOffset, body.length)
  // Not unary minus, which would make a success -0.
  const errno = 0 - view.getInt32(0, true)
  if (!(flags & Nlm.ackAttributes)) return { errno }
  const echoed = flags & Nlm.capped ? HEADER_LENGTH : view.getUint32(4, true)
  // No bit operation on the sum: a broken length of 2^31 or more would become negative.
  const text = readAttributes(body, 4 + echoed + (-echoed & 3)).get(NLMSGERR_ATTR_MSG)
  return text ? { errno, text: readString(text) } : { errno }
}

/** Reads the end of a dump (NLMSG_DONE), which may be a refusal. Returns undefined for any other message. */
export function readDone({ type, flags, body }: Message): Ack | undefined {
  if (type !== NLMSG_DONE) return undefined
  // Old kernels end with no errno at all.
  if (body.length < 4) return { errno: 0 }
  const errno = 0 - new DataView(body.buffer, body.byteOffset, body.length).getInt32(0, true)
  const text = flags & Nlm.ackAttributes ? readAttributes(body, 4).get(NLMSGERR_ATTR_MSG) : undefined
  return text ? { errno, text: readString(text) } : { errno }
}

export function readU32(bytes: Uint8Array | undefined, at = 0): number | undefined {
  return bytes && bytes.length >= at + 4
    ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true)
    : undefined
}

export function readU32be(bytes: Uint8Array | undefined): number | undefined {
  return bytes && bytes.length >= 4 ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) : undefined
}

/** Reads text up to the first NUL. */
export function readString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return readText(end < 0 ? bytes : bytes.subarray(0, end))
}
