import { type Address, addressBytes } from '../../core/address.ts'
import type { FibEntry, FibEntryType } from '../kernel.ts'
import { familyNumber } from './changes.ts'
import { type MessageWriter, NLM_F_ACK, NLM_F_REQUEST } from './message.ts'
import { decodeRouteEntry } from './replies.ts'
import { RTM_F_FIB_MATCH, RTM_F_LOOKUP_TABLE, Rta, Rtm } from './rtnetlink.ts'

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
 * Asks for the entry of its tables by which the kernel would send a packet. Linux 4.13 returns the entry as it was made; an
 * older kernel ignores the flag and returns the one next hop that it has chosen. IPv6 always tells the table, and refuses
 * the flag that asks for it.
 */
export function writeLookup(writer: MessageWriter, address: Address, seq: number): void {
  const flags = address.family === 4 ? RTM_F_LOOKUP_TABLE | RTM_F_FIB_MATCH : RTM_F_FIB_MATCH
  writeGetRoute(writer, address, { seq, flags })
}

/**
 * Asks for the one next hop that the kernel chooses for a packet. The answer names its link even where an entry shows only
 * the number of a next hop object.
 */
export function writeHopLookup(writer: MessageWriter, address: Address, seq: number): void {
  writeGetRoute(writer, address, { seq, flags: 0 })
}

function writeGetRoute(
  writer: MessageWriter,
  address: Address,
  { seq, flags }: { readonly seq: number; readonly flags: number },
): void {
  const bytes = addressBytes(address)
  writer.begin(Rtm.getRoute, NLM_F_REQUEST | NLM_F_ACK, seq)
  writer
    .u8(familyNumber(address.family))
    .u8(8 * bytes.length)
    .u16(0)
    .u32(0)
    .u32(flags)
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
