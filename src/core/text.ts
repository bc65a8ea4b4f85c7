export { latin1, readText, textBytes } from '../runtime/utf8.ts'

/** Reports whether a text is empty or only NULs. A power failure may leave zeros in place of data (XFS, ext4). */
export function isBlank(text: string): boolean {
  return text.replaceAll('\0', '') === ''
}

/** Returns each value once. Values are equal if their texts are. */
export function distinct<T>(values: readonly T[], textOf: (value: T) => string): T[] {
  const seen = new Set<string>()
  return values.filter((value) => {
    const text = textOf(value)
    return !seen.has(text) && seen.add(text)
  })
}
