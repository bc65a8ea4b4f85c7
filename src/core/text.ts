export { latin1, readText, textBytes } from '../runtime/utf8.ts'

/** Reports whether a text is empty or only NULs. A power failure may leave zeros in place of data (XFS, ext4). */
export function isBlank(text: string): boolean {
  return text.replaceAll('\0', '') === ''
}

/** Returns each value once. Values are equal if their texts are. */
export function distinct<T>(values: readonly T[], textOf: (value: T) => string): T[] {
  const texts = values.map((value) => textOf(value))
  return values.filter((_, i) => texts.indexOf(texts[i] as string) === i)
}
