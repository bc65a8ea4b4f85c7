import { type Address, addressBytes } from '../../core/address.ts'
import type { FibEntry, FibEntryType } from '../kernel.ts'
import { familyNumber } from './changes.ts'
import { type MessageWriter, Nlm } from './message.ts'
import { decodeRouteEntry } from './replies.ts'
import { Rta, Rtm, RtmFlag } from './rtnetlink.ts'

/** RTN_*: what a route does with a packet. Source: linux/rtnetlink.h. */
const TYPES: readonly (FibEntryType | undefined)[] = [
  undefined,
  'unicast',
  'local',
  'broadcast',
  'local',
  undefined,
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
]

/** The errno that the kernel answers for a route of this type: EINVAL, EHOSTUNREACH, EACCES. ENETUNREACH: no route. */
const REFUSALS: Readonly<Record<number, FibEntryType>> = {
  22: 'blackhole',
  113: 'unreachable',
  13: 'prohibit',
}

/**
 * Asks by which entry of its tables the kernel would send a packet, or to which next hop. Linux 4.13 returns the entry as it
 * was made; an older kernel ignores the flag and returns the one next hop that it has chosen. IPv6 always tells the table,
 * and refuses the flag that asks for it. The answer of a next hop names its link even where an entry shows only the number of
 * a next hop object.
 */
export function writeLookup(
  writer: MessageWriter,
  address: Address,
  seq: number,
  wanted: 'entry' | 'nextHop',
): void {
  const bytes = addressBytes(address)
  const ofEntry = address.family === 4 ? RtmFlag.lookupTable | RtmFlag.fibMatch : RtmFlag.fibMatch
  writer.begin(Rtm.getRoute, Nlm.request | Nlm.ack, seq)
  writer
    .u8(familyNumber(address.family), 8 * bytes.length)
    .u32(0)
    .u32(wanted === 'entry' ? ofEntry : 0)
  writer.attribute(Rta.dst, bytes).end()
}

/** Reads the body of an RTM_NEWROUTE message, of any table and type. */
export function decodeLookup(body: Uint8Array): FibEntry {
  const { type, isClone, route, hops, nextHopId } = decodeRouteEntry(body)
  return {
    type: TYPES[type] ?? 'other',
    ...(!isClone && { dst: route.dst }),
    table: route.table,
    protocol: body[5] ?? 0,
    ...(route.priority !== undefined && { priority: route.priority }),
    hops,
    ...(nextHopId !== undefined && { nextHopId }),
    // The receive buffer is reused.
    entry: body.slice(),
  }
}

/** Returns the entry that a refused lookup stands for. */
export function refusedLookup(errno: number): FibEntry {
  return { type: REFUSALS[errno] ?? 'none', hops: [] }
}
