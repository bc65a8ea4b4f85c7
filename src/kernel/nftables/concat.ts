import { ByteOrder, type Datatype } from './datatypes.ts'

/** The parts of a concatenation begin at multiples of it, and types are shifted by TYPE_BITS. */
const WORD_BYTES = 4
const TYPE_BITS = 6

type Values<P extends readonly unknown[]> = { readonly [I in keyof P]: Datatype<P[I]> }

/** Returns the type of keys of several fields. With an interval among its types, all of its parts are intervals. */
export function concat<P extends readonly unknown[]>(...parts: Values<P>): Datatype<Readonly<P>> {
  const all = parts as readonly Datatype<unknown>[]
  const starts = all.map((_, i) => padded(all.slice(0, i)))
  const joined = (values: Readonly<P>, bytesOf: (part: Datatype<unknown>, value: unknown) => Uint8Array) => {
    const bytes = new Uint8Array(padded(all))
    for (const [i, part] of all.entries()) bytes.set(bytesOf(part, values[i]), starts[i])
    return bytes
  }
  const cut = (bytes: Uint8Array, i: number) =>
    bytes.slice(starts[i], (starts[i] ?? 0) + (all[i]?.length ?? 0))
  return {
    name: all.map(({ name }) => name).join(' . '),
    number: all.reduce((sum, part) => (sum << TYPE_BITS) | part.number, 0),
    length: padded(all),
    order: ByteOrder.none,
    encode: (values) => joined(values, (part, value) => part.encode(value)),
    ...(all.some(({ last }) => last) && {
      last: (values: Readonly<P>) => joined(values, (part, value) => (part.last ?? part.encode)(value)),
    }),
    decode: (first, last) => {
      const values = all.map((part, i) => part.decode(cut(first, i), cut(last, i)))
      return values.includes(undefined) ? undefined : (values as unknown as P)
    },
    show: (values) => all.map((part, i) => part.show(values[i])).join(' . '),
    parts: all,
  }
}

function padded(parts: readonly Datatype<unknown>[]): number {
  return parts.reduce((sum, { length }) => sum + Math.ceil(length / WORD_BYTES) * WORD_BYTES, 0)
}
