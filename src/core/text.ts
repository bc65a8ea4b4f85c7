export { latin1, readText, textBytes } from '../runtime/utf8.ts'

/** Whether nothing is said. A power failure may leave zeros in place of what was written (XFS, ext4). */
export function isBlank(text: string): boolean {
  return text.replaceAll('\0', '') === ''
}

/** Each value once: those whose text is the same are the same. */
export function distinct<T>(values: readonly T[], textOf: (value: T) => string): T[] {
  const texts = values.map((value) => textOf(value))
  return values.filter((_, i) => texts.indexOf(texts[i] as string) === i)
}
