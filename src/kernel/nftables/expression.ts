import type { Attributes } from './attributes.ts'
import type { Datatype } from './datatypes.ts'
import type { NftMessage, NftTable } from './message.ts'
import { BitwiseAttr, CmpAttr, DataAttr, ImmediateAttr, REGISTER_1 } from './protocol.ts'

/*
 * A rule is a list of expressions. Each is a value that a constructor in expressions/ makes: its words for nft, and the
 * kernel's expressions, which hand values on in registers. They are the same, in the same order and with the same
 * attributes as nft writes them, so that `nft list ruleset` finds the statement in them again. The executable holds
 * only the constructors that it uses.
 */
export type Expression = {
  /** As nft reads it: `ip daddr 10.1.0.0/24`. */
  readonly text: string
  readonly kernel: readonly KernelExpression[]
  /** Tests that must come before, unless the rule has them already: a port means nothing before the protocol is known. */
  readonly needs?: readonly Expression[]
  /** The name of the set that it looks into, or of the chain that it goes to. */
  readonly set?: string
  readonly chain?: string
  /** Makes the messages of a map that is written before the rule and goes with it, by a number that no other set of the batch has. */
  readonly inline?: (table: NftTable, id: number) => Inline
}

export type KernelExpression = readonly [name: string, attributes?: Attributes]

export type Inline = {
  readonly messages: readonly NftMessage[]
  readonly kernel: readonly KernelExpression[]
}

/** What is known of a packet: it is loaded into registers, from `register` on, and compared or looked up. */
export type Field<T> = {
  /** As nft reads it: `ip saddr`. */
  readonly text: string
  readonly type: Datatype<T>
  readonly needs?: readonly Expression[]
  /** As `load`, for a look-up in an interval set, where the two differ. */
  loadForInterval?(register: number): KernelExpression[]
  load(register: number): KernelExpression[]
}

/** A field whose bytes are in the packet, of which the first ones can be loaded alone. */
export type PayloadField<T> = Field<T> & { load(register: number, length?: number): KernelExpression[] }

/** NFT_CMP_*. */
export const Cmp = { eq: 0, neq: 1, lt: 2, lte: 3, gte: 5 } as const

export function compare(operator: number, value: Uint8Array): KernelExpression {
  return [
    'cmp',
    [
      [CmpAttr.source, REGISTER_1],
      [CmpAttr.operator, operator],
      [CmpAttr.data, [[DataAttr.value, value]]],
    ],
  ]
}

/** Keeps the bits of `kept` in register 1. */
export function mask(kept: Uint8Array): KernelExpression {
  return [
    'bitwise',
    [
      [BitwiseAttr.source, REGISTER_1],
      [BitwiseAttr.target, REGISTER_1],
      [BitwiseAttr.length, kept.length],
      [BitwiseAttr.mask, [[DataAttr.value, kept]]],
      [BitwiseAttr.xor, [[DataAttr.value, new Uint8Array(kept.length)]]],
    ],
  ]
}

/** Puts a value, or a verdict, into a register. */
export function immediate(register: number, data: Uint8Array | Attributes): KernelExpression {
  return [
    'immediate',
    [
      [ImmediateAttr.register, register],
      [ImmediateAttr.data, data instanceof Uint8Array ? [[DataAttr.value, data]] : data],
    ],
  ]
}
