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
  return bytesOfHex(mac, 3)
}

/** The reverse of `macBytes`, for any six bytes that the kernel shows. */
export function macFromBytes(bytes: Uint8Array): Mac {
  let text = ''
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0
    text += `${text && ':'}${byte < 16 ? '0' : ''}${byte.toString(16)}`
  }
  return text as Mac
}

/** A locally administered unicast address from the first 12 hex digits of a hash. */
export function macFromHash(hex: string): Mac {
  const bytes = bytesOfHex(hex, 2)
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02
  return macFromBytes(bytes)
}

/**
 * The same address with the highest first byte of a unicast one. A bridge without a MAC of its own takes the lowest of its
 * ports': with such a port beside it, it keeps what it has. libvirt numbers its taps likewise.
 */
export function highestMac(mac: Mac): Mac {
  return `fe${mac.slice(2)}` as Mac
}

/** Six bytes from hex pairs that begin every `step` characters. */
function bytesOfHex(hex: string, step: number): Uint8Array {
  const bytes = new Uint8Array(6)
  for (let i = 0; i < 6; i++) bytes[i] = Number.parseInt(hex.slice(step * i, step * i + 2), 16)
  return bytes
}
