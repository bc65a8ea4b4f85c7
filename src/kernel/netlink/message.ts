/**
 * The common part of all netlink protocols: messages, attributes, acknowledgements. Integers are in host byte order
 * (little-endian on all our targets) unless the name says `be`. Source: linux/netlink.h, RFC 3549.
 */
import { readText, textBytes } from '../../core/text.ts'

/** Message types, and flags (NLM_F_*). Source: linux/netlink.h. */
const NLMSG_ERROR = 2
const NLMSG_DONE = 3
export const Nlm = {
  request: 0x1,
  ack: 0x4,
  dumpInterrupted: 0x10,
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
const NLMSGERR_ATTR_MSG = 1

/** Writes messages one after another into a buffer that grows. */
export class MessageWriter {
  #bytes: Uint8Array<ArrayBuffer>
  #view: DataView
  #length = 0
  #messageStart = 0

  constructor(capacity = 2048) {
    this.#bytes = new Uint8Array(new ArrayBuffer(capacity))
    this.#view = new DataView(this.#bytes.buffer)
  }

  /** Starts a message; `end` fills in its length. */
  begin(type: number, flags: number, seq: number): this {
    this.#messageStart = this.#length
    return this.u32(0).#pair(type, flags).u32(seq).u32(0)
  }

  end(): this {
    this.#view.setUint32(this.#messageStart, this.#length - this.#messageStart, true)
    return this
  }

  u8(value: number): this {
    const at = this.#grow(1)
    this.#view.setUint8(at, value)
    return this
  }

  u16(value: number): this {
    const at = this.#grow(2)
    this.#view.setUint16(at, value, true)
    return this
  }

  u16be(value: number): this {
    const at = this.#grow(2)
    this.#view.setUint16(at, value)
    return this
  }

  u32(value: number): this {
    const at = this.#grow(4)
    this.#view.setUint32(at, value, true)
    return this
  }

  u32be(value: number): this {
    const at = this.#grow(4)
    this.#view.setUint32(at, value)
    return this
  }

  bytes(value: Uint8Array): this {
    const at = this.#grow(value.length)
    this.#bytes.set(value, at)
    return this
  }

  attribute(type: number, value: Uint8Array): this {
    return this.#head(type, value.length).bytes(value).#pad()
  }

  attributeU8(type: number, value: number): this {
    return this.#head(type, 1).u8(value).#pad()
  }

  attributeU16(type: number, value: number): this {
    return this.#head(type, 2).u16(value).#pad()
  }

  attributeU16be(type: number, value: number): this {
    return this.#head(type, 2).u16be(value).#pad()
  }

  attributeU32(type: number, value: number): this {
    const at = this.#grow(8)
    this.#view.setUint32(at, (type << 16) | 8, true)
    this.#view.setUint32(at + 4, value, true)
    return this
  }

  attributeU32be(type: number, value: number): this {
    return this.#head(type, 4).u32be(value)
  }

  /** Text with the closing NUL. */
  attributeString(type: number, value: string): this {
    const text = textBytes(value)
    return this.#head(type, text.length + 1)
      .bytes(text)
      .u8(0)
      .#pad()
  }

  /** An attribute that holds what `fill` writes; `flagged` sets NLA_F_NESTED, which newer protocols ask for. */
  nest(type: number, fill: (writer: this) => void, flagged = true): this {
    const start = this.#length
    this.#head(flagged ? type | NLA_F_NESTED : type, 0)
    fill(this)
    this.#view.setUint16(start, this.#length - start, true)
    return this
  }

  /** Returns the written bytes, as a view of the writer's own buffer. */
  finish(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length)
  }

  #head(type: number, length: number): this {
    return this.#pair(4 + length, type)
  }

  /** Two 16-bit values in one go. */
  #pair(first: number, second: number): this {
    const at = this.#grow(4)
    this.#view.setUint32(at, (second << 16) | first, true)
    return this
  }

  #pad(): this {
    this.#grow(-this.#length & 3)
    return this
  }

  #grow(count: number): number {
    const at = this.#length
    const end = at + count
    if (end > this.#bytes.length) this.#enlarge(end)
    this.#length = end
    return at
  }

  #enlarge(least: number): void {
    const larger = new Uint8Array(new ArrayBuffer(Math.max(2 * this.#bytes.length, least)))
    larger.set(this.#bytes)
    this.#bytes = larger
    this.#view = new DataView(larger.buffer)
  }
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
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const messages: Message[] = []
  let at = 0
  while (at + HEADER_LENGTH <= bytes.length) {
    const length = view.getUint32(at, true)
    if (length < HEADER_LENGTH || at + length > bytes.length) break
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      seq: view.getUint32(at + 8, true),
      body: bytes.subarray(at + HEADER_LENGTH, at + length),
    })
    at += (length + 3) & ~3
  }
  return messages
}

/** Lists the attributes from `offset` on as [type, value], without the flags of the type. A malformed one ends the list. */
export function listAttributes(bytes: Uint8Array, offset = 0): [type: number, value: Uint8Array][] {
  const attributes: [number, Uint8Array][] = []
  eachAttribute(bytes, offset, (type, at, end) => attributes.push([type, bytes.subarray(at + 4, end)]))
  return attributes
}

/** Returns the attributes by type; the last of one type counts, as in the kernel. */
export function readAttributes(bytes: Uint8Array, offset = 0): Attributes {
  return new Attributes(bytes, offset)
}

/** Attributes by type. A value becomes an object when it is asked for: the kernel tells 50 of a link, and we want 10. */
export class Attributes {
  readonly #bytes: Uint8Array
  readonly #places: Map<number, number>

  constructor(bytes: Uint8Array, offset: number) {
    const places = new Map<number, number>()
    eachAttribute(bytes, offset, (type, at) => places.set(type, at))
    this.#bytes = bytes
    this.#places = places
  }

  get(type: number): Uint8Array | undefined {
    const at = this.#places.get(type)
    if (at === undefined) return undefined
    const bytes = this.#bytes
    const length = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)
    return bytes.subarray(at + 4, at + length)
  }

  has(type: number): boolean {
    return this.#places.has(type)
  }

  types(): number[] {
    return [...this.#places.keys()]
  }
}

/** Calls `visit` with the type, the place of the header, and the end of each attribute. */
function eachAttribute(
  bytes: Uint8Array,
  offset: number,
  visit: (type: number, at: number, end: number) => void,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
  const size = bytes.length
  for (let at = offset; at + 4 <= size; ) {
    const head = view.getUint32(at, true)
    const length = head & 0xffff
    if (length < 4 || at + length > size) break
    visit((head >>> 16) & NLA_TYPE_MASK, at, at + length)
    at += (length + 3) & ~3
  }
}

export type Ack = {
  /** 0 is success; else a positive errno number. */
  readonly errno: number
  /** The explanation of the kernel, if there is one. */
  readonly text?: string
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

export function readU32(bytes: Uint8Array | undefined): number | undefined {
  return bytes && bytes.length >= 4
    ? new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
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
