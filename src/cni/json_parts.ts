import { parseJson } from '../core/json.ts'

const [QUOTE, BACKSLASH, COMMA, COLON, SPACE] = [0x22, 0x5c, 0x2c, 0x3a, 0x20]
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d]

/** A member of an object or an item of a list, as a text. An item has no key, nor has a member whose key is not JSON. */
type JsonPart = { readonly key: string | undefined; readonly value: string }

/**
 * Lists the parts of a text that is one JSON object or list, up to the first that is broken, and looks into none of them.
 * JSON.parse shows neither a repeated key nor the whole part of a broken text.
 */
export function* partsOf(text: string): Generator<JsonPart> {
  const hasKeys = text.charCodeAt(0) === OPEN_BRACE
  for (let at = skipSpace(text, 1); at < text.length - 1; ) {
    const keyEnd = hasKeys ? endOfKey(text, at) : at
    if (keyEnd < 0) break
    const start = hasKeys ? skipSpace(text, skipSpace(text, keyEnd) + 1) : at
    const end = endOfValue(text, start)
    if (end <= at) break
    yield {
      key: hasKeys ? (parseJson(text.slice(at, keyEnd)) as string | undefined) : undefined,
      value: text.slice(start, end),
    }
    const comma = skipSpace(text, end)
    at = text.charCodeAt(comma) === COMMA ? skipSpace(text, comma + 1) : text.length
  }
}

/** Returns the text of the object that is the whole text but for space; undefined if there is none. */
export function wholeObject(text: string): string | undefined {
  const start = skipSpace(text, 0)
  if (text.charCodeAt(start) !== OPEN_BRACE) return undefined
  const end = endOfValue(text, start)
  return end >= 0 && skipSpace(text, end) === text.length ? text.slice(start, end) : undefined
}

/** Returns the end of the value that begins at `start`; -1 if it has none. Counts brackets and does not match them. */
function endOfValue(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length; at++) {
    const char = text.charCodeAt(at)
    if (char === QUOTE) {
      at = endOfString(text, at) - 1
      if (at < 0) return -1
    } else if (char === OPEN_BRACE || char === OPEN_BRACKET) depth++
    else if (char === CLOSE_BRACE || char === CLOSE_BRACKET) {
      if (depth === 0) return at
      depth--
      if (depth === 0) return at + 1
      continue
    } else if (char === COMMA && depth === 0) return at
    if (depth === 0 && char === QUOTE) return at + 1
  }
  return -1
}

/** Returns the end of the key that begins at `start`; -1 if there is none, or no colon behind it. */
function endOfKey(text: string, start: number): number {
  const end = text.charCodeAt(start) === QUOTE ? endOfString(text, start) : -1
  return end >= 0 && text.charCodeAt(skipSpace(text, end)) === COLON ? end : -1
}

/** Returns the end of the string that begins at `start`; -1 if it has none. */
function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let escapes = 0
    while (text.charCodeAt(at - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return at + 1
  }
  return -1
}

function skipSpace(text: string, start: number): number {
  let at = start
  while (text.charCodeAt(at) <= SPACE && ' \t\r\n'.includes(text.charAt(at))) at++
  return at
}
