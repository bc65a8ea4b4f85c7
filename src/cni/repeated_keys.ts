import { partsOf } from './json_parts.ts'
import { canonicalKey, join, type Rule, repeatedKey, STRICT, type Tolerance } from './validate.ts'

/**
 * Throws a Fault (invalid config) if an object that the rule knows has a key twice, even if the spellings differ in case or
 * escapes: JSON.parse silently keeps the last, and Go merges the two. Objects without known keys are skipped. `value` was
 * parsed from `text`. A text as JSON.stringify or Go's encoder prints it repeats no key except in another case, which
 * `applyRule` finds; so such a text is not scanned, which would cost 0.3 ms a kilobyte. Key paths begin with `where`.
 */
export function assertNoRepeatedKeys(
  rule: Rule,
  text: string,
  value: unknown,
  where = '',
  tolerates = STRICT.repeated,
): void {
  const trimmed = text.trim()
  const printed = JSON.stringify(value)
  if (printed !== trimmed && asGoPrints(printed) !== trimmed) assertOnce(rule, trimmed, where, tolerates)
}

/** Go escapes the characters that could end a script in HTML, and two line terminators of JavaScript. */
function asGoPrints(json: string): string {
  return GO_ESCAPES.reduce((text, [char, escaped]) => text.replaceAll(char, escaped), json)
}

const GO_ESCAPES = [
  ['<', '\\u003c'],
  ['>', '\\u003e'],
  ['&', '\\u0026'],
  ['\u2028', '\\u2028'],
  ['\u2029', '\\u2029'],
] as const

function assertOnce(rule: Rule, text: string, path: string, tolerates: Tolerance['repeated']): void {
  const { keys, items } = rule
  if (items && text.startsWith('[')) {
    let i = 0
    for (const { value } of partsOf(text)) assertOnce(items, value, `${path}[${i++}]`, tolerates)
  }
  if (!keys || !text.startsWith('{')) return
  const seen = new Map<string, string>()
  for (const { key: given, value } of partsOf(text)) {
    if (given === undefined) continue
    const key = canonicalKey(keys, given) ?? given
    const known = Object.hasOwn(keys, key) ? keys[key] : undefined
    const at = join(path, key)
    const before = seen.get(key)
    if (before !== undefined && !tolerates(at, known !== undefined)) throw repeatedKey(at, before, given)
    seen.set(key, given)
    if (known) assertOnce(known, value, at, tolerates)
  }
}
