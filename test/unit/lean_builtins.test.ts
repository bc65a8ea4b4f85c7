import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { installLeanBuiltins } from '../../src/core/lean_builtins.ts'

/*
 * The lean functions against the engine's own, which are kept aside before the exchange and put back after each run:
 * vitest and fast-check themselves go on with the originals.
 */
const NAMES = ['map', 'filter', 'flatMap', 'reduce', 'some', 'every', 'find', 'findIndex', 'at'] as const
const BYTE_NAMES = ['some', 'every', 'find', 'findIndex', 'at'] as const

type Methods = Record<string, (this: unknown, ...args: unknown[]) => unknown>

const bytesPrototype = Object.getPrototypeOf(Uint8Array.prototype)
const own = { array: pick(Array.prototype, NAMES), bytes: pick(bytesPrototype, BYTE_NAMES), from: Array.from }
let lean: typeof own

beforeAll(() => {
  installLeanBuiltins()
  lean = { array: pick(Array.prototype, NAMES), bytes: pick(bytesPrototype, BYTE_NAMES), from: Array.from }
  restore()
})

afterAll(restore)

describe('the lean built-in', () => {
  it.each([
    ['map', [(value: number, i: number) => [value, i]]],
    ['filter', [(value: number) => value % 3 > 0]],
    ['flatMap', [(value: number) => (value % 2 ? [value, [value]] : value)]],
    ['reduce', [(sum: number, value: number, i: number) => sum * 2 + value - i, 7]],
    ['some', [(value: number) => value > 90]],
    ['every', [(value: number) => value < 90]],
    ['find', [(value: number) => value > 50]],
    ['findIndex', [(value: number) => value > 50]],
    ['at', [-2]],
    ['at', [3]],
  ] as const)('%s gives what the engine gives', (name, args) => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 100 })), (values) => {
        expect(lean.array[name]?.apply(values, [...args])).toEqual(own.array[name]?.apply(values, [...args]))
        if (!lean.bytes[name]) return
        const bytes = new Uint8Array(values)
        expect(lean.bytes[name]?.apply(bytes, [...args])).toEqual(own.bytes[name]?.apply(bytes, [...args]))
      }),
    )
  })

  it('reduce without a start takes the first value, and refuses an empty array', () => {
    const sum = (a: number, b: number) => a + b
    expect(lean.array['reduce']?.call([1, 2, 3], sum)).toBe(6)
    expect(() => lean.array['reduce']?.call([], sum)).toThrow(TypeError)
  })

  it('Array.from reads iterables, array-likes and a mapping function', () => {
    for (const source of [new Set([1, 2]), 'ab', [3, 4], { length: 2 }]) {
      expect(lean.from(source as never)).toEqual(own.from(source as never))
      const double = (value: unknown, i: number) => [value, i]
      expect(lean.from(source as never, double)).toEqual(own.from(source as never, double))
    }
  })

  it('is not seen by a loop over the keys of an array', () => {
    installLeanBuiltins()
    const keys: string[] = []
    for (const key in ['x']) keys.push(key)
    restore()
    expect(keys).toEqual(['0'])
  })
})

function pick(from: object, names: readonly string[]): Methods {
  const methods: Methods = {}
  for (const name of names) methods[name] = (from as Methods)[name] as Methods[string]
  return methods
}

function restore(): void {
  Object.assign(Array.prototype, own.array)
  Object.assign(bytesPrototype, own.bytes)
  Array.from = own.from
}
