import { type Address, formatAddress, parseAddress } from '../src/core/address.ts'
import { asHint } from './order.ts'
import { addressAt, gatewaysOf, isGateway, positionOf, type RangeSet, rangeOf, sizeOf } from './range_set.ts'

/** What the search asks of the leases. Addresses are named as their files are. */
export type Leases = {
  /** Reports whether nobody holds this address: one look at its file. */
  isFree(name: string): boolean
  /** The names of all leases, of other files, and of what is not to be given: costs as much as there are. */
  names(): Names
}

type Names = Pick<ReadonlySet<string>, 'has'>

/** Addresses behind the cursor that are looked at before the search goes elsewhere. */
const MAX_NEAR = 32
/** Addresses all over a large set that are looked at: with nine of ten held, one in 850 searches finds none of them free. */
const MAX_SPREAD = 64
/** More than are ever leased on a node: what is not to be given may be a prefix of IPv6, which has no end. */
const MAX_WALK = 200_000
/** Below this a listing of the directory costs no more than the looks all over the set. */
const LARGE_SET = 1024n

/**
 * Returns the next free address behind the cursor, which is the address handed out last. The end of the set is followed
 * by its beginning. Released addresses, given oldest first, are passed over as long as there is another: neighbours
 * and connections may still know the pod that had it. When only those are left, it is the one released first.
 *
 * The cost has a bound that does not grow with the leases until nearly all addresses of a large set are held: where
 * many neighbours in a row are, the search jumps all over the set, and lists the directory only when that finds
 * nothing. A plain walk would open 60,000 files at the edge of as many leases.
 *
 * Undefined when every address is held.
 */
export function nextFree(
  set: RangeSet,
  cursor: Address | undefined,
  released: readonly string[],
  leases: Leases,
): Address | undefined {
  const size = sizeOf(set)
  const skipped = new Set([...released, ...gatewaysOf(set).map(formatAddress)])
  const search = (stride: bigint, maxLooks: number, isFree: Leases['isFree']) =>
    firstFree(candidates(set, positionBehind(set, cursor), stride, skipped), maxLooks, isFree)
  const quick =
    search(1n, MAX_NEAR, leases.isFree) ??
    (size < LARGE_SET ? undefined : search(strideOf(size), MAX_SPREAD, leases.isFree))
  if (quick) return quick
  const names = leases.names()
  return search(1n, MAX_WALK, (name) => !names.has(name)) ?? firstReleased(set, released, names)
}

type Candidate = { readonly address: Address; readonly name: string }

/** Looks at `maxLooks` candidates at most. */
function firstFree(
  from: Iterable<Candidate>,
  maxLooks: number,
  isFree: Leases['isFree'],
): Address | undefined {
  let looks = 0
  for (const { address, name } of from) {
    if (isFree(name)) return address
    if (++looks >= maxLooks) return undefined
  }
  return undefined
}

/** Every address of the set that is not skipped, each position `stride` behind the one before. */
function* candidates(
  set: RangeSet,
  start: bigint,
  stride: bigint,
  skipped: ReadonlySet<string>,
): Iterable<Candidate> {
  const size = sizeOf(set)
  for (let i = 0n; i < size; i++) {
    const address = addressAt(set, (start + i * stride) % size)
    const name = formatAddress(address)
    if (!skipped.has(name)) yield { address, name }
  }
}

/** Positions so many apart, taken round the set, are spread evenly however many they are: the golden ratio's property. */
function strideOf(size: bigint): bigint {
  return (size * 618n) / 1000n
}

/** The address behind the cursor, else the first of all. */
function positionBehind(set: RangeSet, cursor: Address | undefined): bigint {
  const position = cursor && positionOf(set, cursor)
  return position === undefined ? 0n : (position + 1n) % sizeOf(set)
}

function firstReleased(set: RangeSet, released: readonly string[], names: Names): Address | undefined {
  const addresses = released.map((name) => asHint(() => parseAddress(name)))
  return addresses.find(
    (one) => one && rangeOf(set, one) && !isGateway(set, one) && !names.has(formatAddress(one)),
  )
}
