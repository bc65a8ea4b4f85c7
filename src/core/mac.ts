import { Code, Fault } from './errors.ts'

/** A hardware address in canonical text: six lower-case hex pairs with colons. */
export type Mac = string & { readonly __mac: unique symbol }

/** The lower four of the six bytes, as a number of 48 bits. */
const LOW = 2 ** 32
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
  const bytes = new Uint8Array(6)
  const view = new DataView(bytes.buffer)
  const value = Number.parseInt(mac.replaceAll(':', ''), 16)
  view.setUint16(0, value / LOW)
  view.setUint32(2, value)
  return bytes
}

/** Reads the bytes of `macBytes`, or any other six bytes of the kernel. */
export function macFromBytes(bytes: Uint8Array): Mac {
  const view = new DataView(bytes.buffer, bytes.byteOffset)
  return macOfHex((view.getUint16(0) * LOW + view.getUint32(2)).toString(16).padStart(12, '0'))
}

/** Makes a locally administered unicast address from the first 12 hex digits of a hash. */
export function macFromHash(hex: string): Mac {
  const first = (Number.parseInt(hex.slice(0, 2), 16) & 0xfc) | 0x02
  return macOfHex(`${first < 16 ? '0' : ''}${first.toString(16)}${hex.slice(2)}`)
}

/**
 * Returns the address with the highest first byte of a unicast one. A bridge without a MAC of its own takes the lowest MAC
 * of its ports, so a port with this one does not change it. libvirt numbers its taps likewise.
 */
export function highestMac(mac: Mac): Mac {
  return `fe${mac.slice(2)}` as Mac
}

/** Reads twelve hex digits. */
function macOfHex(hex: string): Mac {
  const pair = (at: number): string => hex.slice(at, at + 2)
  return `${pair(0)}:${pair(2)}:${pair(4)}:${pair(6)}:${pair(8)}:${pair(10)}` as Mac
}
