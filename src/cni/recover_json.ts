import { isObject, parseJson } from '../core/json.ts'
import { partsOf, wholeObject } from './json_parts.ts'
import { isDeeperThan } from './validate.ts'

/** Bounds of a value that is read as a whole: room for a pod's annotations (256 KiB) with every character escaped. */
export const MAX_LENGTH = 4 << 20
export const MAX_DEPTH = 64
/** The depth to which the members of an object that breaks a bound are read one by one: `prevResult.interfaces[0].name`. */
const MAX_LEVELS = 5

/**
 * Reads the members of a JSON object that can be read, however large, deep or broken the others are: a removal needs few
 * and small ones. Leaves out a member that breaks a bound or is not JSON, and a list with such an item, since its order
 * may matter. Returns undefined if the text is not one whole object. Looks at each character a bounded number of times,
 * and does not recurse into a member that it leaves out.
 */
export function recoverObject(text: string): Record<string, unknown> | undefined {
  const object = wholeObject(text)
  const value = object && recoverValue(object, MAX_LEVELS)
  return isObject(value) ? value : undefined
}

/** Returns the value of a text that is one JSON value; undefined if no part of it can be read. */
function recoverValue(text: string, levels: number): unknown {
  if (text.length <= MAX_LENGTH) {
    const value = parseJson(text)
    if (value !== undefined && !isDeeperThan(MAX_DEPTH, value)) return value
  }
  if (levels === 0) return undefined
  if (text.startsWith('{')) return recoverMembers(text, levels - 1)
  // No removal needs an item of a list that is too long.
  if (text.startsWith('[') && text.length <= MAX_LENGTH) return recoverItems(text, levels - 1)
  return undefined
}

function recoverMembers(text: string, levels: number): Record<string, unknown> {
  const members: Record<string, unknown> = {}
  for (const { key, value: part } of partsOf(text)) {
    const value = recoverValue(part, levels)
    // An assignment to `__proto__` would change the prototype.
    if (key !== undefined && key !== '__proto__' && value !== undefined) members[key] = value
  }
  return members
}

function recoverItems(text: string, levels: number): unknown[] | undefined {
  const items: unknown[] = []
  for (const { value } of partsOf(text)) {
    const item = recoverValue(value, levels)
    if (item === undefined) return undefined
    items.push(item)
  }
  return items
}
