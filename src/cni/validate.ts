import { Code, Fault } from '../core/errors.ts'
import { isObject, shown } from '../core/json.ts'
import { FORMATS, type Format, type FormatName } from './formats.ts'

/** A rule for a value: the part of the schema that the plugin path needs. Made by scripts/generate.ts. */
export type Rule = {
  readonly type: 'string' | 'integer' | 'boolean' | 'array' | 'object'
  /** null is a value, not an absent key. */
  readonly nullable?: true
  readonly format?: FormatName
  /** The allowed strings, compared without regard to case. */
  readonly values?: readonly string[]
  readonly min?: number
  readonly max?: number
  readonly items?: Rule
  /** The known keys of an object; without any the object is taken as it is. */
  readonly keys?: Readonly<Record<string, Rule>>
  readonly required?: readonly string[]
}

/** Decides which errors at a key path are not thrown. */
export type Tolerance = {
  /** An invalid value is left out. */
  readonly invalid: (path: string) => boolean
  /** The last of the values of a repeated key is taken. The spellings of a key may differ in case. */
  readonly repeated: (path: string, isKnown: boolean) => boolean
}

export const STRICT: Tolerance = { invalid: () => false, repeated: () => false }

/**
 * Reads a JSON value by a rule, as Go's decoder does, which runtimes are written for: known keys match without regard to
 * case (the last one wins) and get the spelling of the rule; null and the empty string count as absent keys; unknown keys
 * stay. A text with a format becomes its value, such as an address. Throws a Fault (code 7) that names the key path and the
 * value. A tolerated optional key is left out instead; a list is kept whole or not at all.
 */
export function applyRule(rule: Rule, value: unknown, path: string, tolerates: Tolerance = STRICT): unknown {
  if (value === null && rule.nullable) return null
  if (rule.type === 'object') return readObject(rule, value, path, tolerates)
  if (rule.type === 'array') return readArray(rule, value, path, tolerates)
  if (rule.type === 'string') return readString(rule, value, path)
  if (rule.type === 'boolean' ? typeof value === 'boolean' : isIntegerOf(rule, value)) return value
  throw refusal(rule, value, path)
}

/** Returns the value of a key, matched as `applyRule` does; undefined if it is absent or null. */
export function memberOf(object: unknown, key: string): unknown {
  if (!isObject(object)) return undefined
  let found: unknown
  for (const given of Object.keys(object)) {
    if (object[given] !== null && sameKey(given, key)) found = object[given]
  }
  return found
}

/** Reports whether lists and objects are nested more than `levels` deep. */
export function isDeeperThan(levels: number, value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  return levels === 0 || Object.values(value).some((member) => isDeeperThan(levels - 1, member))
}

function readObject(rule: Rule, value: unknown, path: string, tolerates: Tolerance): unknown {
  if (!isObject(value)) throw refusal(rule, value, path)
  const { keys, required = [] } = rule
  if (!keys) return value
  const read: Record<string, unknown> = {}
  for (const given of Object.keys(value)) {
    // An assignment to this one key would change the prototype.
    if (given === '__proto__') continue
    const key = canonicalKey(keys, given)
    const memberRule = key === undefined ? undefined : keys[key]
    if (key === undefined || !memberRule) {
      read[given] = value[given]
      continue
    }
    const at = join(path, key)
    if (Object.hasOwn(read, key) && !tolerates.repeated(at, true))
      throw repeatedKey(at, spelling(value, key), given)
    if (!isAbsent(memberRule, value[given])) readMember(read, key, memberRule, value[given], at, tolerates)
  }
  for (const key of required) if (read[key] === undefined) throw missing(join(path, key))
  return read
}

function readMember(
  into: Record<string, unknown>,
  key: string,
  rule: Rule,
  value: unknown,
  path: string,
  tolerates: Tolerance,
): void {
  try {
    into[key] = applyRule(rule, value, path, tolerates)
  } catch (error) {
    if (!tolerates.invalid(path)) throw error
  }
}

/** Returns the first spelling of a key that an object has. */
function spelling(object: object, key: string): string {
  return Object.keys(object).find((given) => sameKey(given, key)) ?? key
}

/** Go leaves a field unset when it reads null, and cannot tell an empty string from an absent one. */
function isAbsent(rule: Rule, value: unknown): boolean {
  return value === null ? !rule.nullable : value === '' && rule.type === 'string'
}

/** Returns the key as the rule spells it; undefined for an unknown key. */
export function canonicalKey(keys: Readonly<Record<string, Rule>>, given: string): string | undefined {
  if (Object.hasOwn(keys, given)) return given
  for (const key of Object.keys(keys)) if (sameKey(given, key)) return key
  return undefined
}

/** Compares the lengths first: folding every pair of keys costs more than the rest of the decoding. */
function sameKey(given: string, key: string): boolean {
  return given === key || (given.length === key.length && given.toLowerCase() === key.toLowerCase())
}

function readArray(rule: Rule, value: unknown, path: string, tolerates: Tolerance): unknown {
  const { items } = rule
  if (!Array.isArray(value)) throw refusal(rule, value, path)
  return items ? value.map((item, i) => applyRule(items, item, `${path}[${i}]`, tolerates)) : value
}

function readString(rule: Rule, value: unknown, path: string): unknown {
  if (typeof value !== 'string') throw refusal(rule, value, path)
  if (rule.values) {
    const found = rule.values.find((one) => one === value.toLowerCase())
    if (found === undefined) throw refusal(rule, value, path)
    return found
  }
  const read = rule.format ? FORMATS[rule.format].read(value) : value
  if (read === undefined) throw refusal(rule, value, path)
  return read
}

function isIntegerOf({ min = 0, max = 0 }: Rule, value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= min && Number(value) <= max
}

/** Returns the path of a member. */
export function join(path: string, key: string): string {
  return path ? `${path}.${key}` : key
}

/** Returns the refusal of a repeated key, with both spellings. */
export function repeatedKey(path: string, one: string, other: string): Fault {
  const spelt = one === other ? '' : `, as ${shown(one)} and as ${shown(other)}`
  return new Fault(`key "${path}" stands twice${spelt}`, {
    code: Code.invalidConfig,
    hint: 'Remove one of the two. They are the same key, and the second would replace the first.',
  })
}

function missing(path: string): Fault {
  return new Fault(`key "${path}" is missing`, { code: Code.invalidConfig, hint: `Add the key "${path}".` })
}

function refusal(rule: Rule, value: unknown, path: string): Fault {
  const format: Format | undefined = rule.format && FORMATS[rule.format]
  const what = format?.what ?? wanted(rule)
  return new Fault(`key "${path}": ${shown(value)} is not ${what}`, {
    code: Code.invalidConfig,
    hint: format ? `Write it like ${format.example}.` : `Set "${path}" to ${what}.`,
  })
}

function wanted({ type, values, min, max }: Rule): string {
  if (values) return `one of ${values.map((one) => `"${one}"`).join(', ')}`
  if (type === 'integer') return `an integer from ${min} to ${max}`
  return { string: 'a string', boolean: 'true or false', array: 'a list', object: 'an object' }[type]
}
