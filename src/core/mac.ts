import { Code, Fault } from './errors.ts'

/** A hardware address in canonical text: six lower-case hex pairs with colons. */
export type Mac = string & { readonly __mac: unique symbol }

/** Reads `02:00:00:00:00:01` (colons or dashes). Throws a Fault on a bad, multicast or all-zero address. */
export function parseMac(text: string): Mac {
  const canonical = text.toLowerCase().replaceAll('-', ':')
  const wrong = !/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(canonical)
  if (wrong || Number.parseInt(canonical.slice(0, 2), 16) & 1 || canonical === '00:00:00:00:00:00') {
    throw new Fault(`${JSON.stringify(text)} is not a unicast hardware address`, {
      code: Code.invalidConfig,
      cure: 'Write six hex pairs, the first one even, like 02:00:00:00:00:01.',
    })
  }
  return canonical as Mac
}

/** Six bytes, as on the wire. */
export function macBytes(mac: Mac): Uint8Array {
  return Uint8Array.from(mac.split(':'), (pair) => Number.parseInt(pair, 16))
}

/** The reverse of `macBytes`, for any six bytes that the kernel shows. */
export function macFromBytes(bytes: Uint8Array): Mac {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':') as Mac
}

/** A locally administered unicast address from the first 12 hex digits of a hash. */
export function macFromHash(hex: string): Mac {
  const bytes = Uint8Array.from({ length: 6 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16))
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02
  return macFromBytes(bytes)
}
