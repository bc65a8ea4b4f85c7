import { textBytes } from '../core/text.ts'

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

/** Returns the base64 of a text's UTF-8, as Go writes bytes into JSON. */
export function base64(text: string): string {
  const bytes = textBytes(text)
  let encoded = ''
  for (let at = 0; at < bytes.length; at += 3) {
    const [a = 0, b = 0, c = 0] = bytes.subarray(at, at + 3)
    const word = (a << 16) | (b << 8) | c
    const digits = [18, 12, 6, 0].map((shift) => DIGITS.charAt((word >> shift) & 63)).join('')
    const missing = Math.max(0, at + 3 - bytes.length)
    encoded += digits.slice(0, 4 - missing) + '='.repeat(missing)
  }
  return encoded
}
