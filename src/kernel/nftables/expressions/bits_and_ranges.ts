import { Cmp, compare, type Expression, type Field, mask } from '../expression.ts'
import type { PortRange } from '../numbers.ts'
import { REGISTER_1 } from '../protocol.ts'
import { keepAndTurn, toNetworkOrder } from '../registers.ts'
import { match } from './match.ts'

/** `tcp dport 80-90`; of ports and other numbers in network order. */
export function between(field: Field<number>, { from, to }: PortRange): Expression {
  const [first, last] = [compare(Cmp.gte, field.type.encode(from)), compare(Cmp.lte, field.type.encode(to))]
  return match(field, '', `${from}-${to}`, first, last)
}

/** `numgen random mod 100 < 5`; of numbers of this machine. */
export function below(field: Field<number>, limit: number): Expression {
  const bytes = field.type.encode(limit).reverse()
  return match(field, '< ', `${limit}`, toNetworkOrder(REGISTER_1, bytes.length), compare(Cmp.lt, bytes))
}

/** `ct state established,related`: one of the bits, or several. */
export function hasAny<T>(field: Field<T>, bits: T): Expression {
  const value = field.type.encode(bits)
  return match(field, '', field.type.show(bits), mask(value), compare(Cmp.neq, new Uint8Array(value.length)))
}

/** `meta mark & 0x00004000 == 0x00004000`: all of the bits. */
export function hasBits<T>(field: Field<T>, bits: T): Expression {
  const value = field.type.encode(bits)
  const text = field.type.show(bits)
  const kept = keepAndTurn(value, new Uint8Array(value.length))
  return match(field, `& ${text} == `, text, kept, compare(Cmp.eq, value))
}
