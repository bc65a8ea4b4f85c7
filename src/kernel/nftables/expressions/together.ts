import { concat } from '../concat.ts'
import type { Datatype } from '../datatypes.ts'
import type { Field, KernelExpression } from '../expression.ts'
import { registerAt } from '../registers.ts'

/** Returns the fields as one: `ip daddr . meta l4proto . th dport`, for sets whose keys have as many parts. */
export function together<P extends readonly unknown[]>(
  ...fields: { readonly [I in keyof P]: Field<P[I]> }
): Field<P> {
  const parts = fields as readonly Field<unknown>[]
  return {
    text: parts.map(({ text }) => text).join(' . '),
    type: concat(...parts.map(({ type }) => type)) as unknown as Datatype<P>,
    needs: parts.flatMap(({ needs = [] }) => needs),
    load: () => loadAll(parts, ({ load }) => load),
    loadForInterval: () => loadAll(parts, ({ load, loadForInterval = load }) => loadForInterval),
  }
}

/** One field behind another from register 1 on, each from a word of its own on. */
function loadAll(
  fields: readonly Field<unknown>[],
  loadOf: (field: Field<unknown>) => (register: number) => KernelExpression[],
): KernelExpression[] {
  let words = 0
  return fields.flatMap((field) => {
    const register = registerAt(words)
    words += Math.ceil(field.type.length / 4)
    return loadOf(field)(register)
  })
}
