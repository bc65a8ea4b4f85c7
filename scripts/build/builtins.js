/*
 * The engine makes a built-in function when it is first asked for. In a heap that is stored, all of them are made beforehand:
 * this module is evaluated when the executable is built, and only then.
 */
const { prototype: typedArray } = Object.getPrototypeOf(Uint8Array)
const iterators = [
  [][Symbol.iterator](),
  new Map()[Symbol.iterator](),
  new Set()[Symbol.iterator](),
  ''[Symbol.iterator](),
]
const constructors = [
  Array,
  ArrayBuffer,
  BigInt,
  Boolean,
  DataView,
  Error,
  Function,
  Map,
  Number,
  Object,
  Promise,
  RangeError,
]
constructors.push(RegExp, Set, String, Symbol, SyntaxError, TypeError, Uint8Array)
const holders = [
  globalThis,
  JSON,
  Math,
  Reflect,
  typedArray,
  Object.getPrototypeOf(Uint8Array),
  ...iterators.map((iterator) => Object.getPrototypeOf(iterator)),
  Object.getPrototypeOf(Object.getPrototypeOf(iterators[0])),
  ...constructors,
  ...constructors.map((one) => one.prototype),
]
for (const holder of holders)
  for (const key of Reflect.ownKeys(holder)) Reflect.getOwnPropertyDescriptor(holder, key)
