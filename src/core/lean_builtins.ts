/*
 * The engine keeps part of its standard library as JavaScript source, and parses and compiles each of those functions
 * when it is first called: 0.05 ms for `map`, 0.1 ms for `Array.from`, in a process that lives for a few milliseconds.
 * The same functions in our bundle come out of its bytecode at a tenth of that. So the one-shot process puts these in
 * their place before it does anything else; a process that lives longer keeps the engine's own, which are faster warm.
 */

type Callback<T, R> = (value: T, index: number, all: ArrayLike<T>) => R

/** What stands in for a method: it works on any array-like `this`, and like the original never visits what is added. */
const ARRAY_METHODS = {
  map<T, R>(this: ArrayLike<T>, work: Callback<T, R>): R[] {
    const length = this.length
    const results: R[] = []
    for (let i = 0; i < length; i++) results[i] = work(this[i] as T, i, this)
    return results
  },
  filter<T>(this: ArrayLike<T>, accepts: Callback<T, unknown>): T[] {
    const length = this.length
    const results: T[] = []
    for (let i = 0; i < length; i++) {
      const value = this[i] as T
      if (accepts(value, i, this)) results.push(value)
    }
    return results
  },
  flatMap<T, R>(this: ArrayLike<T>, work: Callback<T, R | readonly R[]>): R[] {
    const length = this.length
    const results: R[] = []
    for (let i = 0; i < length; i++) {
      const part = work(this[i] as T, i, this)
      if (!Array.isArray(part)) results.push(part as R)
      else for (let at = 0; at < part.length; at++) results.push(part[at])
    }
    return results
  },
  reduce<T, R>(this: ArrayLike<T>, work: (sum: R, value: T, index: number) => R, ...start: [R?]): R {
    if (start.length === 0 && this.length === 0)
      throw new TypeError('reduce of an empty array without a start')
    let sum = (start.length > 0 ? start[0] : this[0]) as R
    for (let i = start.length > 0 ? 0 : 1; i < this.length; i++) sum = work(sum, this[i] as T, i)
    return sum
  },
}

const SEARCH_METHODS = {
  some<T>(this: ArrayLike<T>, accepts: Callback<T, unknown>): boolean {
    return indexOfFirst(this, accepts) >= 0
  },
  every<T>(this: ArrayLike<T>, accepts: Callback<T, unknown>): boolean {
    return indexOfFirst(this, (value, i) => !accepts(value, i, this)) < 0
  },
  find<T>(this: ArrayLike<T>, accepts: Callback<T, unknown>): T | undefined {
    return this[indexOfFirst(this, accepts)]
  },
  findIndex<T>(this: ArrayLike<T>, accepts: Callback<T, unknown>): number {
    return indexOfFirst(this, accepts)
  },
  at<T>(this: ArrayLike<T>, index: number): T | undefined {
    return this[index < 0 ? this.length + index : index]
  },
}

/** Puts the lean functions in place of the engine's. For a process that makes one call and ends. */
export function installLeanBuiltins(): void {
  // An assignment keeps the attributes that the property has: `for … in` still does not see it.
  Object.assign(Array.prototype, ARRAY_METHODS, SEARCH_METHODS)
  Object.assign(Object.getPrototypeOf(Uint8Array.prototype), SEARCH_METHODS)
  Object.assign(Array, { from: arrayFrom })
}

function indexOfFirst<T>(values: ArrayLike<T>, accepts: Callback<T, unknown>): number {
  const length = values.length
  for (let i = 0; i < length; i++) if (accepts(values[i] as T, i, values)) return i
  return -1
}

function arrayFrom<T>(
  source: Iterable<T> | ArrayLike<T>,
  work?: (value: T, index: number) => unknown,
): unknown[] {
  const values: unknown[] = []
  if (isIterable(source)) for (const value of source) values.push(value)
  else for (let i = 0; i < source.length; i++) values.push(source[i])
  if (work) for (let i = 0; i < values.length; i++) values[i] = work(values[i] as T, i)
  return values
}

/** Also for text, which `in` refuses. */
function isIterable<T>(source: Iterable<T> | ArrayLike<T>): source is Iterable<T> {
  return (source as Partial<Iterable<T>>)[Symbol.iterator] !== undefined
}
