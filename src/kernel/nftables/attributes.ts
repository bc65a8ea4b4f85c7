import type { MessageWriter } from '../netlink/message.ts'

/** One attribute as data: numbers are 32 bits, bigints 64 bits, both in network order; text gets a closing NUL; lists nest. */
export type Attribute = readonly [type: number, value: number | bigint | string | Uint8Array | Attributes]
export type Attributes = readonly Attribute[]

/** Writes the attributes in their order. */
export function writeAttributes(writer: MessageWriter, attributes: Attributes): MessageWriter {
  for (const [type, value] of attributes) {
    if (typeof value === 'number') writer.attributeU32be(type, value)
    else if (typeof value === 'string') writer.attributeString(type, value)
    else if (typeof value === 'bigint') writer.attribute(type, bytes64(value))
    else if (value instanceof Uint8Array) writer.attribute(type, value)
    else writer.nest(type, () => writeAttributes(writer, value))
  }
  return writer
}

function bytes64(value: bigint): Uint8Array {
  return Uint8Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(56 - 8 * i)) & 255n))
}
