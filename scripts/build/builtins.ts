/*
 * The engine creates a built-in function when it is first used. The build creates those that our modules name, so that the
 * stored heap has them and no call does it.
 */
const typedArray = Object.getPrototypeOf(Uint8Array)
const iterators = [
  [][Symbol.iterator](),
  new Map()[Symbol.iterator](),
  new Set()[Symbol.iterator](),
  ''[Symbol.iterator](),
]
const constructors: { readonly prototype: object }[] = [
  Array,
  ArrayBuffer,
  BigInt,
  DataView,
  Error,
  Map,
  Number,
  Object,
  RangeError,
  RegExp,
  Set,
  String,
  Symbol,
]
constructors.push(TypeError, Uint8Array, Uint32Array, typedArray)

/** The objects that own built-in functions. */
const holders: readonly object[] = [
  globalThis,
  JSON,
  Math,
  ...iterators.map((iterator) => Object.getPrototypeOf(iterator)),
  ...constructors,
  ...constructors.map((one) => one.prototype),
]

/** Returns the names that are names of built-in functions. */
export function builtinNames(names: readonly string[]): string[] {
  const known = new Set(holders.flatMap((holder) => Object.getOwnPropertyNames(holder)))
  return names.filter((name) => known.has(name))
}

/** Creates the built-in functions of these names, and those with a symbol in place of a name. */
export function makeBuiltins(names: readonly string[]): void {
  for (const holder of holders) {
    for (const key of Reflect.ownKeys(holder)) {
      if (typeof key === 'symbol' || names.includes(key)) Reflect.getOwnPropertyDescriptor(holder, key)
    }
  }
}
