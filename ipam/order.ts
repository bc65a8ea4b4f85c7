import { type Address, formatAddress, parseAddress } from '../src/core/address.ts'
import { Fault } from '../src/core/errors.ts'
import type { Files } from '../src/core/files.ts'
import { isObject, parseJson } from '../src/core/json.ts'
import { readText, textBytes } from '../src/core/text.ts'

/*
 * What one ADD leaves for the next about the order of addresses. The cursor, the address handed out last, is where
 * host-local keeps it: `<dataDir>/<network>/last_reserved_ip.<index>`. The rest is one small file a network, `order`.
 *
 * All of it is hints, the lease files are the truth. A file that is lost, damaged or of another boot costs one look at
 * the leases.
 */
export type Order = {
  /** The boot in which the leases were reconciled. */
  readonly bootId: string
  /** The cursor of each range set as we wrote it, '' for none. */
  readonly cursors: readonly string[]
  /** The addresses of all sets that were released last, oldest first. */
  readonly released: readonly string[]
}

/** How many released addresses are remembered: a minute of a node on which a pod ends every second. */
const MAX_RELEASED = 64
/** As much as is read: 64 addresses of IPv6 fit. */
const ORDER_BYTES = 4096
/** Ends the text. Behind it may be the rest of a longer one. */
const LINE_FEED = 10
/** More range sets than any configuration has; the bound of a loop. */
const MAX_SETS = 64

/** Returns the order that is kept in `dir`, or undefined if there is no sound one. */
export function readOrder(files: Files, dir: string): Order | undefined {
  return asHint(() => {
    const bytes = files.readAt(orderPath(dir), 0, ORDER_BYTES)
    const end = bytes.indexOf(LINE_FEED)
    return end < 0 ? undefined : parseOrder(readText(bytes.subarray(0, end)))
  })
}

/** Writes the order down, in place: on ext4 a new file costs a hundred times as much. */
export function writeOrder(files: Files, dir: string, order: Order): void {
  const released = order.released.slice(-MAX_RELEASED)
  const text = `${JSON.stringify({ ...order, released })}\n`
  asHint(() => files.writeAt(orderPath(dir), 0, textBytes(text)))
}

/** Adds released addresses to the order. Needs no configuration: a DEL has none that could be trusted. */
export function rememberReleased(files: Files, dir: string, addresses: readonly Address[]): void {
  if (addresses.length === 0) return
  const order = readOrder(files, dir)
  if (!order) return
  const names = addresses.map(formatAddress)
  writeOrder(files, dir, { ...order, released: [...without(order.released, names), ...names] })
}

export function without(released: readonly string[], names: readonly string[]): string[] {
  return released.filter((name) => !names.includes(name))
}

/** Decides whether nobody but us has handed out addresses since the order was written. */
export function isUntouched(order: Order | undefined, cursors: readonly (Address | undefined)[]): boolean {
  if (!order) return false
  return cursors.every((cursor, i) => (order.cursors[i] ?? '') === (cursor ? formatAddress(cursor) : ''))
}

/** Removes the lists that an earlier version kept here, `free.0` and so on. */
export function removeFreeLists(files: Files, dir: string): void {
  asHint(() => {
    for (let index = 0; index < MAX_SETS; index++) if (!files.remove(`${dir}/free.${index}`)) return
  })
}

/** Returns where the cursor of a range set is. */
export function cursorPath(dir: string, index: number): string {
  return `${dir}/last_reserved_ip.${index}`
}

/** Returns the text of a cursor, '' if there is none. */
export function readCursor(files: Files, dir: string, index: number): string {
  return asHint(() => files.read(cursorPath(dir, index))) ?? ''
}

/** Returns the address that the text of a cursor names, or undefined. */
export function parseCursor(text: string): Address | undefined {
  return asHint(() => parseAddress(text.trim()))
}

/** Runs what only serves the order. If the disk refuses it, the order is lost and no address: undefined, no Fault. */
export function asHint<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof Fault) return undefined
    throw error
  }
}

function parseOrder(text: string): Order | undefined {
  const value = parseJson(text)
  return isOrder(value) ? value : undefined
}

function isOrder(value: unknown): value is Order {
  if (!isObject(value)) return false
  const { bootId, cursors, released } = value
  return typeof bootId === 'string' && isTextList(cursors) && isTextList(released)
}

function isTextList(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string')
}

function orderPath(dir: string): string {
  return `${dir}/order`
}
