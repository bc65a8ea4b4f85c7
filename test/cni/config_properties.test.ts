import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeConfig, decodeForRemoval, versionForErrors } from '../../src/cni/config.ts'
import { CONFIG_RULE, RESULT_RULE } from '../../src/cni/config_schema.gen.ts'
import type { FormatName } from '../../src/cni/formats.ts'
import { parseResult } from '../../src/cni/parse_result.ts'
import { jsonResult, networkConfig } from '../../src/cni/schema.ts'
import { applyRule, type Rule } from '../../src/cni/validate.ts'
import { Fault } from '../../src/core/errors.ts'
import { asText } from '../support/as_text.ts'
import { outcomeOf } from '../support/fault_of.ts'

const FITTING: Record<FormatName, string[]> = {
  address: ['10.1.0.5', 'fd00::5'],
  addressOrCidr: ['10.1.0.5', 'fd00::5/64'],
  cidr: ['10.1.0.0/24', '::/0'],
  network: ['10.0.0.0/8', 'fd00::/8'],
  mac: ['02:00:00:00:00:01'],
  interfaceName: ['cni0', 'br-0.1'],
  networkName: ['net', 'a.b_c-d'],
  path: ['/var/lib/x'],
  pluginName: ['bowline-ipam', 'host-local'],
}

/** Values for a rule: mostly ones that fit, among them some that do not. */
function valuesFor(rule: Rule): fc.Arbitrary<unknown> {
  return fc.oneof(
    { weight: 40, arbitrary: fittingFor(rule) },
    { weight: 1, arbitrary: fc.constantFrom(-1, 'x y', true, [], {}) },
  )
}

function fittingFor(rule: Rule): fc.Arbitrary<unknown> {
  if (rule.type === 'boolean') return fc.boolean()
  if (rule.type === 'integer')
    return fc.integer({ min: Math.max(0, (rule.min ?? 0) - 1), max: rule.max ?? 0 })
  if (rule.type === 'array')
    return fc.array(rule.items ? valuesFor(rule.items) : fc.jsonValue(), { maxLength: 3 })
  if (rule.type === 'object') return objectsFor(rule)
  if (rule.values) return fc.constantFrom(...rule.values)
  return rule.format ? fc.constantFrom(...FITTING[rule.format]) : fc.string({ minLength: 1 })
}

function objectsFor({ keys = {}, required = [] }: Rule): fc.Arbitrary<object> {
  const members = Object.fromEntries(Object.entries(keys).map(([key, rule]) => [key, valuesFor(rule)]))
  return fc.oneof(
    { weight: 20, arbitrary: fc.record(members, { requiredKeys: [...required] }) },
    { weight: 1, arbitrary: fc.record(members, { requiredKeys: [] }) },
  )
}

/** The same value with the known keys of its objects in another case. */
function recase(rule: Rule, value: unknown, upper: (key: string) => boolean): unknown {
  if (Array.isArray(value)) return value.map((item) => (rule.items ? recase(rule.items, item, upper) : item))
  if (typeof value !== 'object' || value === null || !rule.keys) return value
  const { keys } = rule
  const entries = Object.entries(value).map(([key, member]) => {
    const known = Object.hasOwn(keys, key) ? keys[key] : undefined
    const spelt = upper(key) ? key.toUpperCase() : key.toLowerCase()
    return known ? [spelt, recase(known, member, upper)] : [key, member]
  })
  return Object.fromEntries(entries)
}

describe('any input', () => {
  const anyKey = fc.constantFrom(
    ...Object.keys(CONFIG_RULE.keys ?? {}),
    ...Object.keys(RESULT_RULE.keys ?? {}),
  )
  const anyObject = fc.dictionary(fc.oneof(anyKey, fc.string()), fc.jsonValue())
  const anyText = fc.oneof(
    fc.string(),
    fc.json(),
    anyObject.map((value) => JSON.stringify(value)),
    anyObject.map((value) => JSON.stringify({ ...value, name: 'net', cniVersion: '1.1.0' })),
  )

  it('decodes into a config or a Fault, and nothing else', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        for (const decode of [decodeConfig, decodeForRemoval]) {
          const outcome = outcomeOf(() => decode(text))
          if (outcome instanceof Fault) expect([1, 6, 7]).toContain(outcome.code)
          else expect(outcome.name).toBeTypeOf('string')
        }
        versionForErrors(text)
      }),
      { numRuns: 1000 },
    )
  })

  it('parses as a result or into a Fault, and nothing else', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), anyObject, valuesFor(RESULT_RULE)), (json) => {
        const outcome = outcomeOf(() => parseResult(json, '1.1.0'))
        if (outcome instanceof Fault) expect([1, 7]).toContain(outcome.code)
        else expect(outcome.ips).toBeInstanceOf(Array)
      }),
      { numRuns: 1000 },
    )
  })
})

describe('the rules of the plugin path', () => {
  it.each([
    ['config', CONFIG_RULE, networkConfig],
    ['result', RESULT_RULE, jsonResult],
  ] as const)('accept what the schema of a %s accepts, and nothing else', (_, rule, schema) => {
    const seen = { accepted: 0, refused: 0 }
    fc.assert(
      fc.property(valuesFor(rule), (value) => {
        const accepted = !(outcomeOf(() => applyRule(rule, value, '')) instanceof Fault)
        expect(accepted).toBe(schema.safeParse(value).success)
        seen[accepted ? 'accepted' : 'refused']++
      }),
      { numRuns: 2000, seed: 7 },
    )
    expect(Math.min(seen.accepted, seen.refused)).toBeGreaterThan(100)
  })

  it('do not care for the case of keys', () => {
    fc.assert(
      fc.property(objectsFor(CONFIG_RULE), fc.func(fc.boolean()), (value, upper) => {
        const read = (given: unknown) => outcomeOf(() => applyRule(CONFIG_RULE, given, ''))
        expect(read(recase(CONFIG_RULE, value, upper))).toEqual(read(value))
      }),
      { numRuns: 500 },
    )
  })

  it('read what they have read as the same', () => {
    fc.assert(
      fc.property(objectsFor(CONFIG_RULE), (value) => {
        const once = outcomeOf(() => applyRule(CONFIG_RULE, value, ''))
        if (!(once instanceof Fault)) expect(applyRule(CONFIG_RULE, asText(once), '')).toEqual(once)
      }),
    )
  })

  it('leave out of a removal what an ADD would refuse, and nothing else', () => {
    fc.assert(
      fc.property(objectsFor(CONFIG_RULE), (value) => {
        const strict = outcomeOf(() => applyRule(CONFIG_RULE, { ...value, name: 'n' }, ''))
        const lenient = applyRule(CONFIG_RULE, { ...value, name: 'n' }, '', {
          invalid: () => true,
          repeated: () => true,
        })
        if (!(strict instanceof Fault)) expect(lenient).toEqual(strict)
        expect(outcomeOf(() => applyRule(CONFIG_RULE, asText(lenient), ''))).toEqual(lenient)
      }),
      { numRuns: 500 },
    )
  })
})
