import { endOfString, endOfValue, nextAfterComma, skipSpace } from './skim.ts'
import { canonicalKey, join, type Rule, repeatedKey, type Tolerance } from './validate.ts'

const [QUOTE, BACKSLASH, OPEN_BRACE, OPEN_BRACKET] = [0x22, 0x5c, 0x7b, 0x5b]

/**
 * Throws a Fault (invalid config) if a key stands twice in an object that the rule knows, be it in other case or with
 * escapes: readers of JSON keep the last without a word, and Go merges the two. Objects without known keys are not
 * looked into. `text` is what `value` was read from: nearly always as JSON prints it. Then no key can stand there twice but
 * in other case, which `applyRule` sees, and its characters need not be looked at one by one. Key paths begin with `where`.
 */
export function assertNoRepeatedKeys(
  rule: Rule,
  text: string,
  value: unknown,
  where = '',
  tolerates: Tolerance['repeated'] = () => false,
): void {
  const seek = { tolerates, text: text.trim() }
  if (JSON.stringify(value) !== seek.text) seekInText(seek, rule, 0, where)
}

type Seek = { readonly tolerates: Tolerance['repeated']; readonly text: string }

function seekInText(seek: Seek, rule: Rule, start: number, path: string): void {
  const { text } = seek
  const { items, keys } = rule
  const opening = text.charCodeAt(start)
  if (items && opening === OPEN_BRACKET) {
    let i = 0
    for (let at = skipSpace(text, start + 1); at < text.length; i++) {
      const end = endOfValue(text, at)
      if (end <= at) return
      seekInText(seek, items, at, `${path}[${i}]`)
      at = nextAfterComma(text, end)
    }
  } else if (keys && opening === OPEN_BRACE) {
    const seen = new Map<string, string>()
    for (let at = skipSpace(text, start + 1); text.charCodeAt(at) === QUOTE; ) {
      const keyEnd = endOfString(text, at)
      const member = skipSpace(text, skipSpace(text, keyEnd) + 1)
      const { known, at: memberPath } = note(seek, seen, keys, keyIn(text, at, keyEnd), path)
      if (known) seekInText(seek, known, member, memberPath)
      at = nextAfterComma(text, endOfValue(text, member))
    }
  }
}

/** The key that stands between these quotes. */
function keyIn(text: string, start: number, end: number): string {
  const key = text.slice(start + 1, end - 1)
  for (let i = 0; i < key.length; i++) {
    if (key.charCodeAt(i) === BACKSLASH) return JSON.parse(text.slice(start, end)) as string
  }
  return key
}

/** Remembers a key of an object. Throws if it was there before. */
function note(
  { tolerates }: Seek,
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
