import { isDeeperThan, isObject } from './validate.ts'

/** Bounds of a value that is read as a whole: room for a pod's annotations (256 KiB) with every character escaped. */
export const MAX_LENGTH = 4 << 20
export const MAX_DEPTH = 64
/** The depth to which the members of an object that breaks a bound are read one by one: `prevResult.interfaces[0].name`. */
const MAX_LEVELS = 5

const QUOTE = 0x22
const BACKSLASH = 0x5c
const [OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET] = [0x7b, 0x7d, 0x5b, 0x5d]
const [COMMA, COLON, SPACE] = [0x2c, 0x3a, 0x20]

/**
 * Reads the members of a JSON object that can be read, however large, deep or broken the others are: a removal needs few
 * and small ones. Leaves out a member that breaks a bound or is not JSON, and a list with such an item, since its order
 * may matter. Returns undefined if the text is not one whole object. Looks at each character a bounded number of times,
 * and does not recurse into a member that it leaves out.
 */
export function recoverObject(text: string): Record<string, unknown> | undefined {
  const start = skipSpace(text, 0)
  if (text.charCodeAt(start) !== OPEN_BRACE) return undefined
  const end = endOfValue(text, start)
  if (end < 0 || skipSpace(text, end) !== text.length) return undefined
  const value = recoverValue(text.slice(start, end), MAX_LEVELS)
  return isObject(value) ? value : undefined
}

/** Returns the value of a text that is one JSON value; undefined if no part of it can be read. */
function recoverValue(text: string, levels: number): unknown {
  if (text.length <= MAX_LENGTH) {
    try {
      const value: unknown = JSON.parse(text)
      if (!isDeeperThan(MAX_DEPTH, value)) return value
    } catch {
      // Its members may still be readable.
    }
  }
  if (levels === 0) return undefined
  if (text.charCodeAt(0) === OPEN_BRACE) return recoverMembers(text, levels - 1)
  // No removal needs an item of a list that is too long.
  if (text.charCodeAt(0) === OPEN_BRACKET && text.length <= MAX_LENGTH) return recoverItems(text, levels - 1)
  return undefined
}

function recoverMembers(text: string, levels: number): Record<string, unknown> {
  const members: Record<string, unknown> = {}
  for (let at = skipSpace(text, 1); text.charCodeAt(at) === QUOTE; ) {
    const keyEnd = endOfString(text, at)
    const colon = keyEnd < 0 ? -1 : skipSpace(text, keyEnd)
    if (colon < 0 || text.charCodeAt(colon) !== COLON) break
    const start = skipSpace(text, colon + 1)
    const end = endOfValue(text, start)
    if (end < 0) break
    const key = recoverValue(text.slice(at, keyEnd), 0)
    const value = recoverValue(text.slice(start, end), levels)
    // An assignment to this one key would change the prototype.
    if (typeof key === 'string' && key !== '__proto__' && value !== undefined) members[key] = value
    at = nextAfterComma(text, end)
  }
  return members
}

function recoverItems(text: string, levels: number): unknown[] | undefined {
  const items: unknown[] = []
  for (let at = skipSpace(text, 1); at < text.length - 1; ) {
    const end = endOfValue(text, at)
    if (end <= at) break
    const item = recoverValue(text.slice(at, end), levels)
    if (item === undefined) return undefined
    items.push(item)
    at = nextAfterComma(text, end)
  }
  return items
}

/** Returns the position of the next member or item; the end of the text if there is none. */
function nextAfterComma(text: string, end: number): number {
  const comma = skipSpace(text, end)
  return text.charCodeAt(comma) === COMMA ? skipSpace(text, comma + 1) : text.length
}

/** Returns the end of the value that begins at `start`; -1 if it has none. Counts brackets and does not match them. */
export function endOfValue(text: string, start: number): number {
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

/** Returns the end of the string that begins at `start`; -1 if it has none. */
export function endOfString(text: string, start: number): number {
  for (let at = text.indexOf('"', start + 1); at >= 0; at = text.indexOf('"', at + 1)) {
    let escapes = 0
    while (text.charCodeAt(at - 1 - escapes) === BACKSLASH) escapes++
    if (escapes % 2 === 0) return at + 1
  }
  return -1
}

export function skipSpace(text: string, start: number): number {
  let at = start
  while (text.charCodeAt(at) <= SPACE && ' \t\r\n'.includes(text.charAt(at))) at++
  return at
}
