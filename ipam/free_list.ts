import { type Address, addressBytes, addressFromBytes, bitsOf, formatAddress } from '../src/core/address.ts'
import { Fault } from '../src/core/errors.ts'
import type { Files } from '../src/core/files.ts'
import {
  decodeHeader,
  encodeHeader,
  fingerprint,
  HEADER_BYTES,
  type Header,
  MAX_SLOTS,
} from './free_list_header.ts'
import {
  addressAt,
  formatRangeSet,
  isGateway,
  positionOf,
  type RangeSet,
  rangeOf,
  sizeOf,
} from './range_set.ts'

/*
 * The order in which the addresses of a range set are handed out, so that the one that has been free longest comes
 * first at the same cost however many there are. One file a set, `<dir>/free.<index>`: a header, then a ring of
 * addresses, oldest first. A released address goes to the end of the ring.
 *
 * A set of up to MAX_SLOTS addresses has all its free ones in the ring. A larger one begins with a sweep over the
 * addresses that were never used, and keeps the last MAX_SLOTS released ones for when the sweep has been round.
 *
 * All of it is hints, the lease files are the truth: a candidate that is held is skipped, and a file that is lost,
 * damaged, of other ranges or of another boot is built anew from one look at the leases.
 */

/** Above this a sweep never comes round: nothing released needs to be remembered. */
const MAX_REMEMBERED = 1n << 32n
/** Ring entries that are read at once. */
const READ_AHEAD = 64
/** More range sets than any configuration has; the bound of a loop. */
const MAX_SETS = 64

/** What a new list starts from. */
export type FreeListSource = {
  readonly bootId: string
  /** The address that was handed out last, by whomever: the order begins behind it. */
  readonly cursor: Address | undefined
  /** The values of the addresses that are held. */
  readonly held: ReadonlySet<bigint>
}

export class FreeList {
  readonly set: RangeSet
  readonly #files: Files
  readonly #path: string
  readonly #header: Header
  #ahead: { readonly slot: number; readonly entries: Uint8Array } = { slot: 0, entries: new Uint8Array() }

  private constructor(files: Files, path: string, set: RangeSet, header: Header) {
    this.#files = files
    this.#path = path
    this.set = set
    this.#header = header
  }

  /** The list of this set, or undefined if there is no sound one. */
  static load(files: Files, dir: string, set: RangeSet): FreeList | undefined {
    const path = listPath(dir, set.index)
    const header = asHint(() => decodeHeader(files.readAt(path, 0, HEADER_BYTES)))
    if (!header || header.ranges !== fingerprintOf(set)) return undefined
    const size = sizeOf(set)
    const fits = header.sweepNext < size && header.sweepLeft <= size && header.slots === slotsFor(size)
    return fits ? new FreeList(files, path, set, header) : undefined
  }

  /** Makes the list from nothing. The file is written by `save`, or by the first fill. */
  static build(files: Files, dir: string, set: RangeSet, source: FreeListSource): FreeList {
    asHint(() => files.ensureDirectory(dir))
    const size = sizeOf(set)
    const ends = set.ranges
      .flatMap(({ start, end }) => [start.value, end.value])
      .sort((a, b) => (a < b ? -1 : 1))
    const list = new FreeList(files, listPath(dir, set.index), set, {
      ranges: fingerprintOf(set),
      boot: fingerprint(source.bootId),
      family: set.family,
      lowest: ends[0] ?? 0n,
      highest: ends.at(-1) ?? 0n,
      cursor: source.cursor?.family === set.family ? source.cursor.value : 0n,
      sweepNext: positionBehind(set, source.cursor),
      sweepLeft: 0n,
      head: 0,
      count: 0,
      slots: slotsFor(size),
    })
    list.refill(source.held)
    return list
  }

  isOfBoot(bootId: string): boolean {
    return this.#header.boot === fingerprint(bootId)
  }

  /** The address that we handed out last, or undefined. */
  get cursor(): Address | undefined {
    const { cursor, family } = this.#header
    return cursor === 0n ? undefined : { family, value: cursor }
  }

  /** The next address in order, which may be held by now. Undefined when the list is at its end. */
  next(): Address | undefined {
    const header = this.#header
    while (header.sweepLeft > 0n) {
      const address = addressAt(this.set, header.sweepNext)
      header.sweepNext = (header.sweepNext + 1n) % sizeOf(this.set)
      header.sweepLeft -= 1n
      if (!isGateway(this.set, address)) return address
    }
    while (header.count > 0) {
      const address = this.#entryAt(header.head)
      header.head = (header.head + 1) % header.slots
      header.count -= 1
      if (address && rangeOf(this.set, address) && !isGateway(this.set, address)) return address
    }
    return undefined
  }

  /** Starts again with every address of the set that is not held, beginning behind the one handed out last. */
  refill(held: ReadonlySet<bigint>): void {
    const header = this.#header
    const size = sizeOf(this.set)
    if (size > MAX_SLOTS) {
      header.sweepLeft = size
      return
    }
    const start = Number(positionBehind(this.set, this.cursor))
    const values = valuesIn(this.set)
    const gateways = new Set(this.set.ranges.map(({ gateway }) => gateway.value))
    const free = [...values.slice(start), ...values.slice(0, start)].filter(
      (value) => !held.has(value) && !gateways.has(value),
    )
    this.#rewrite(encodeEntries(header, free))
  }

  /** Takes an address out of its turn, because somebody has asked for it. Costs one look through the ring. */
  forget(address: Address): void {
    const { head, count, slots } = this.#header
    const [older, newer] = [Math.min(count, slots - head), Math.max(0, count - (slots - head))]
    const entries = joined(this.#read(head, older), this.#read(0, newer))
    const wanted = addressBytes(address)
    const width = wanted.length
    for (let at = entries.length - width; at >= 0; at -= width) {
      if (!wanted.every((byte, i) => entries[at + i] === byte)) continue
      this.#rewrite(joined(entries.subarray(0, at), entries.subarray(at + width)))
      return
    }
  }

  /** Writes down how far the list has come, and the address that was handed out. */
  save(cursor: Address | undefined = this.cursor): void {
    this.#header.cursor = cursor?.value ?? 0n
    this.#write(0, encodeHeader(this.#header))
  }

  #rewrite(entries: Uint8Array): void {
    this.#header.head = 0
    this.#header.count = entries.length / widthOf(this.#header)
    this.#ahead = { slot: 0, entries }
    if (this.#write(HEADER_BYTES, entries)) this.save()
  }

  /** False if the disk refused. */
  #write(offset: number, bytes: Uint8Array): boolean {
    const written = asHint(() => {
      this.#files.writeAt(this.#path, offset, bytes)
      return true
    })
    return written === true
  }

  #entryAt(slot: number): Address | undefined {
    const width = widthOf(this.#header)
    const index = slot - this.#ahead.slot
    if (index < 0 || (index + 1) * width > this.#ahead.entries.length) {
      const { count, slots } = this.#header
      this.#ahead = { slot, entries: this.#read(slot, Math.min(READ_AHEAD, count, slots - slot)) }
    }
    const start = (slot - this.#ahead.slot) * width
    const entry = this.#ahead.entries.subarray(start, start + width)
    return entry.length === width ? addressFromBytes(entry) : undefined
  }

  #read(slot: number, count: number): Uint8Array {
    const width = widthOf(this.#header)
    return count === 0
      ? new Uint8Array()
      : this.#files.readAt(this.#path, HEADER_BYTES + slot * width, count * width)
  }
}

/** Whether none of these lists was made or used in this boot. */
export function isNewBoot(lists: readonly (FreeList | undefined)[], bootId: string): boolean {
  return lists.every((list) => list?.isOfBoot(bootId) !== true)
}

/**
 * Runs what only serves the order. If the disk refuses it, the order is lost and no address: undefined, no Fault.
 */
export function asHint<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof Fault) return undefined
    throw error
  }
}

/**
 * Puts released addresses at the end of the lists that they come from. Needs no configuration: a DEL has none that
 * could be trusted. What belongs to no list is not remembered.
 */
export function rememberReleased(files: Files, dir: string, addresses: readonly Address[]): void {
  for (let index = 0; index < MAX_SETS; index++) {
    const path = listPath(dir, index)
    const bytes = files.readAt(path, 0, HEADER_BYTES)
    if (bytes.length === 0) return
    const header = decodeHeader(bytes)
    if (header)
      append(
        files,
        path,
        header,
        addresses.filter((address) => belongsTo(header, address)),
      )
  }
}

function append(files: Files, path: string, header: Header, addresses: readonly Address[]): void {
  if (addresses.length === 0) return
  for (const address of addresses) {
    const slot = (header.head + header.count) % header.slots
    files.writeAt(path, HEADER_BYTES + slot * widthOf(header), addressBytes(address))
    // A full ring loses its oldest entry: it is found again when the list has come to its end.
    if (header.count < header.slots) header.count += 1
    else header.head = (header.head + 1) % header.slots
  }
  files.writeAt(path, 0, encodeHeader(header))
}

function belongsTo({ family, lowest, highest, slots }: Header, address: Address): boolean {
  return slots > 0 && address.family === family && lowest <= address.value && address.value <= highest
}

/** The first position of the order: the one after the address that was handed out last, else the first of all. */
function positionBehind(set: RangeSet, last: Address | undefined): bigint {
  const position = last && positionOf(set, last)
  return position === undefined ? 0n : (position + 1n) % sizeOf(set)
}

function slotsFor(size: bigint): number {
  if (size <= MAX_SLOTS) return Number(size)
  return size <= MAX_REMEMBERED ? MAX_SLOTS : 0
}

function widthOf({ family }: Pick<Header, 'family'>): number {
  return bitsOf(family) / 8
}

/** Every value of a set that is small enough to be listed, in the order of positions. */
function valuesIn({ ranges }: RangeSet): bigint[] {
  const values: bigint[] = []
  for (const { start, end } of ranges) {
    for (let value = start.value; value <= end.value; value++) values.push(value)
  }
  return values
}

/** `addressBytes` for 65,536 addresses in a few milliseconds. */
function encodeEntries(header: Header, values: readonly bigint[]): Uint8Array {
  const width = widthOf(header)
  const entries = new Uint8Array(values.length * width)
  const view = new DataView(entries.buffer)
  for (const [i, value] of values.entries()) {
    if (width === 4) view.setUint32(4 * i, Number(value))
    else {
      view.setBigUint64(16 * i, value >> 64n)
      view.setBigUint64(16 * i + 8, BigInt.asUintN(64, value))
    }
  }
  return entries
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  const whole = new Uint8Array(a.length + b.length)
  whole.set(a)
  whole.set(b, a.length)
  return whole
}

function listPath(dir: string, index: number): string {
  return `${dir}/free.${index}`
}

function fingerprintOf(set: RangeSet): string {
  return fingerprint(
    `${formatRangeSet(set)} ${set.ranges.map(({ gateway }) => formatAddress(gateway)).join()}`,
  )
}
