import { Code, Fault } from './errors.ts'

/** A hardware address in canonical text: six lower-case hex pairs with colons. */
export type Mac = string & { readonly __mac: unique symbol }

const NO_MAC = '00:00:00:00:00:00'

/** Reads any form that `readMac` knows. Throws a Fault on a bad, multicast or all-zero address. */
export function parseMac(text: string): Mac {
  const mac = readMac(text)
  if (mac && mac !== NO_MAC && !(Number.parseInt(mac.slice(0, 2), 16) & 1)) return mac
  throw new Fault(`${JSON.stringify(text)} is not a unicast hardware address of 6 bytes`, {
    code: Code.invalidConfig,
    hint: 'Write six hex pairs, the first one even, like 02:00:00:00:00:01.',
  })
}

/**
 * Returns any hardware address of six bytes in canonical text, undefined for other text. Takes the forms of Go's
 * net.ParseMAC: `02:00:00:00:00:01`, `02-00-00-00-00-01` and `0200.0000.0001`, one kind of separator in each.
 */
export function readMac(text: string): Mac | undefined {
  const lower = text.toLowerCase()
  const separator = lower.charAt(4) === '.' ? '.' : lower.charAt(2)
  const parts = lower.split(separator)
  const [count, digits] = separator === '.' ? [3, 4] : [6, 2]
  if (!':-.'.includes(separator) || parts.length !== count) return undefined
  if (parts.some((part) => part.length !== digits || !isHex(part))) return undefined
  return parts.flatMap((part) => (digits === 4 ? [part.slice(0, 2), part.slice(2)] : part)).join(':') as Mac
}

function isHex(text: string): boolean {
  return /^[0-9a-f]*$/.test(text)
}

/** Returns the six bytes, as on the wire. */
export function macBytes(mac: Mac): Uint8Array {
  return bytesOfHex(mac, 3)
}

/** Reads the bytes of `macBytes`, or any other six bytes of the kernel. */
export function macFromBytes(bytes: Uint8Array): Mac {
  let text = ''
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0
    text += `${text && ':'}${byte < 16 ? '0' : ''}${byte.toString(16)}`
  }
  return text as Mac
}

/** Makes a locally administered unicast address from the first 12 hex digits of a hash. */
export function macFromHash(hex: string): Mac {
  const bytes = bytesOfHex(hex, 2)
  bytes[0] = ((bytes[0] ?? 0) & 0xfc) | 0x02
  return macFromBytes(bytes)
}

/**
 * Returns the address with the highest first byte of a unicast one. A bridge without a MAC of its own takes the lowest MAC
 * of its ports, so a port with this one does not change it. libvirt numbers its taps likewise.
 */
export function highestMac(mac: Mac): Mac {
  return `fe${mac.slice(2)}` as Mac
}

/** Reads six bytes from hex pairs that begin every `step` characters. */
function bytesOfHex(hex: string, step: number): Uint8Array {
  const bytes = new Uint8Array(6)
  for (let i = 0; i < 6; i++) bytes[i] = Number.parseInt(hex.slice(step * i, step * i + 2), 16)
  return bytes
}
