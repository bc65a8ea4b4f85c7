import { type Expression, type Field, immediate, type KernelExpression } from '../expression.ts'
import { mark } from '../numbers.ts'
import { MetaAttr, REGISTER_1 } from '../protocol.ts'
import { keepAndTurn } from '../registers.ts'
import { metaField } from './meta.ts'

/** A mark, which a rule may set. */
export type MarkField = Field<number> & { readonly store: KernelExpression }

/** The mark of the packet. */
export const metaMark: MarkField = {
  ...metaField('meta mark', 3, mark),
  store: [
    'meta',
    [
      [MetaAttr.key, 3],
      [MetaAttr.source, REGISTER_1],
    ],
  ],
}

/** `meta mark set 0x00004000`, or to what a field has. */
export function setMark(target: MarkField, value: number | Field<number>): Expression {
  const isNumber = typeof value === 'number'
  const load = isNumber ? [immediate(REGISTER_1, mark.encode(value))] : value.load(REGISTER_1)
  return {
    text: `${target.text} set ${isNumber ? mark.show(value) : value.text}`,
    kernel: [...load, target.store],
    needs: isNumber ? [] : (value.needs ?? []),
  }
}

/** `meta mark set meta mark | 0x00004000` */
export function addMark(target: MarkField, bits: number): Expression {
  return changeMark(target, '|', mark.encode(~bits >>> 0), bits)
}

/** `meta mark set meta mark ^ 0x00004000`: turns the bits. */
export function toggleMark(target: MarkField, bits: number): Expression {
  return changeMark(target, '^', mark.encode(0xffffffff), bits)
}

function changeMark(target: MarkField, sign: string, kept: Uint8Array, bits: number): Expression {
  return {
    text: `${target.text} set ${target.text} ${sign} ${mark.show(bits)}`,
    kernel: [...target.load(REGISTER_1), keepAndTurn(kept, mark.encode(bits)), target.store],
  }
}
