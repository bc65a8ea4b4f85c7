import type { Attribute } from '../attributes.ts'
import type { Expression, Field, KernelExpression } from '../expression.ts'
import type { NftSet } from '../objects.ts'
import { LookupAttr, NFT_LOOKUP_F_INV, REGISTER_1, REGISTER_VERDICT } from '../protocol.ts'
import type { NftVerdict } from '../verdict.ts'

/** `ip saddr @pods` */
export function inSet(field: Field<unknown>, set: NftSet<unknown, unknown>): Expression {
  return lookUp(field, set, ` @${set.name}`, [])
}

/** `ip saddr != @pods` */
export function notInSet(field: Field<unknown>, set: NftSet<unknown, unknown>): Expression {
  return lookUp(field, set, ` != @${set.name}`, [[LookupAttr.flags, NFT_LOOKUP_F_INV]])
}

/** `ip saddr vmap @pods`: the verdict is the map's, if it has one for the packet. */
export function vmap(field: Field<unknown>, map: NftSet<unknown, NftVerdict>): Expression {
  return lookUp(field, map, ` vmap @${map.name}`, [], REGISTER_VERDICT)
}

/** Looks a field up by its value in register 1. `target`: the register that gets what a map has for it. */
export function lookUp(
  field: Field<unknown>,
  { key, name }: Pick<NftSet<unknown>, 'key' | 'name'>,
  text: string,
  more: readonly Attribute[],
  target?: number,
): Expression {
  const load = (key.last && field.loadForInterval) || field.load
  const lookup: KernelExpression = [
    'lookup',
    [
      [LookupAttr.source, REGISTER_1],
      ...(target === undefined ? [] : [[LookupAttr.target, target] as const]),
      [LookupAttr.set, name],
      ...more,
    ],
  ]
  return {
    text: field.text + text,
    kernel: [...load(REGISTER_1), lookup],
    needs: field.needs ?? [],
    set: name,
  }
}
