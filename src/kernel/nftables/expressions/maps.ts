import { Nlm } from '../../netlink/message.ts'
import { elementAttributes, setAttributes } from '../batch.ts'
import type { Datatype } from '../datatypes.ts'
import type { Expression, Field } from '../expression.ts'
import type { NftElement, NftSet } from '../objects.ts'
import { LookupAttr, Msg, REGISTER_1, REGISTER_VERDICT, SetFlag } from '../protocol.ts'
import { type NftVerdict, verdict } from '../verdict.ts'
import { lookUp } from './lookup.ts'

/** The name of a map within a rule: the kernel puts a number in. */
const INLINE_MAP = '__map%d'

/**
 * `ip daddr map @endpoints`: the value that the map has for the packet, to be used like a field. A packet that the map does
 * not have meets no more of the rule.
 */
export function mapped<D>(
  field: Field<unknown>,
  map: NftSet<unknown, D> & { readonly data: Datatype<D> },
): Field<D> {
  const { text, kernel, needs = [] } = lookUp(field, map, ` map @${map.name}`, [], REGISTER_1)
  return { text, type: map.data, needs, load: () => [...kernel] }
}

/** `numgen random mod 2 vmap { 0 : goto a, 1 : goto b }`: a map of the rule's own, which goes with the rule. */
export function inlineVmap<K>(
  field: Field<K>,
  ...elements: readonly (NftElement<K, NftVerdict> & { readonly data: NftVerdict })[]
): Expression {
  const { type: key } = field
  const shown = elements.map((one) => `${key.show(one.key)} : ${verdict.show(one.data)}`).join(', ')
  const look = (...more: [number, number][]) =>
    lookUp(
      field,
      { key: key as Datatype<unknown>, name: INLINE_MAP },
      ` vmap { ${shown} }`,
      more,
      REGISTER_VERDICT,
    )
  const { set: _, ...expression } = look()
  return {
    ...expression,
    inline(table, id) {
      const set: NftSet<unknown, unknown> = { table, name: INLINE_MAP, key, data: verdict }
      const message = { table, flags: Nlm.create }
      const attributes = setAttributes(set, id, SetFlag.anonymous | SetFlag.constant)
      const filled = elementAttributes(set, elements, id)
      return {
        kernel: look([LookupAttr.setId, id]).kernel,
        messages: [
          { ...message, type: Msg.newSet, attributes },
          { ...message, type: Msg.newElement, attributes: filled },
        ],
      }
    },
  }
}
