import { endOfString, endOfValue, skipSpace } from './recover_json.ts'
import { canonicalKey, join, type Rule, repeatedKey, type Tolerance } from './validate.ts'

const [QUOTE, BACKSLASH, COMMA] = [0x22, 0x5c, 0x2c]
const [OPEN_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x5b, 0x5d]

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
  tolerates: Tolerance['repeated'] = () => false,
): void {
  const scan = { tolerates, text: text.trim() }
  const printed = JSON.stringify(value)
  if (printed === scan.text || asGoPrints(printed) === scan.text) return
  scanValue(scan, rule, 0, where)
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

type Scan = { readonly tolerates: Tolerance['repeated']; readonly text: string }

/** Returns the end of the value that begins at `start`; -1 if the text is not JSON. */
function scanValue(scan: Scan, rule: Rule | undefined, start: number, path: string): number {
  const opening = scan.text.charCodeAt(start)
  if (rule?.keys && opening === OPEN_BRACE) return scanObject(scan, rule.keys, start, path)
  if (rule?.items && opening === OPEN_BRACKET) return scanList(scan, rule.items, start, path)
  return endOfValue(scan.text, start)
}

function scanObject(scan: Scan, keys: NonNullable<Rule['keys']>, start: number, path: string): number {
  const { text } = scan
  const seen = new Map<string, string>()
  let at = skipSpace(text, start + 1)
  while (text.charCodeAt(at) === QUOTE) {
    const keyEnd = endOfString(text, at)
    if (keyEnd < 0) return -1
    const { known, at: member } = recordKey(scan, seen, keys, keyIn(text, at, keyEnd), path)
    const end = scanValue(scan, known, skipSpace(text, skipSpace(text, keyEnd) + 1), member)
    if (end < keyEnd) return -1
    at = skipComma(text, end)
  }
  return at + 1
}

function scanList(scan: Scan, items: Rule, start: number, path: string): number {
  const { text } = scan
  let at = skipSpace(text, start + 1)
  for (let i = 0; at < text.length && text.charCodeAt(at) !== CLOSE_BRACKET; i++) {
    const end = scanValue(scan, items, at, `${path}[${i}]`)
    if (end <= at) return -1
    at = skipComma(text, end)
  }
  return at + 1
}

function skipComma(text: string, end: number): number {
  const at = skipSpace(text, end)
  return text.charCodeAt(at) === COMMA ? skipSpace(text, at + 1) : at
}

/** Returns the key between these quotes. */
function keyIn(text: string, start: number, end: number): string {
  const key = text.slice(start + 1, end - 1)
  for (let i = 0; i < key.length; i++) {
    if (key.charCodeAt(i) === BACKSLASH) return JSON.parse(text.slice(start, end)) as string
  }
  return key
}

/** Records a key of an object. Throws if the object has it already. */
function recordKey(
  { tolerates }: Scan,
  seen: Map<string, string>,
  keys: Readonly<Record<string, Rule>>,
  given: string,
  path: string,
): { readonly known: Rule | undefined; readonly at: string } {
  const key = canonicalKey(keys, given) ?? given
  const before = seen.get(key)
  const at = join(path, key)
  const known = Object.hasOwn(keys, key) ? keys[key] : undefined
  if (before !== undefined && !tolerates(at, known !== undefined)) throw repeatedKey(at, before, given)
  seen.set(key, given)
  return { known, at }
}
