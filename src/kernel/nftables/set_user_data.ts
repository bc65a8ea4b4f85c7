import { ByteOrder, type Datatype } from './datatypes.ts'
import type { NftSet } from './objects.ts'

/*
 * What nft leaves itself in a set, as (type, length, value): the byte orders of key and data, their types where they are
 * concatenations, and for a map that the data is no interval. Without it nft shows the keys of an ifname map backwards.
 * Source: NFTNL_UDATA_SET_* in libnftnl/udata.h.
 */
const KEY_ORDER = 0
const DATA_ORDER = 1
const KEY_TYPE = 3
const DATA_TYPE = 4
const DATA_INTERVAL = 6
/** A concatenation (13) without more about its parts, in a list of the same kind. */
const CONCATENATION = [0, 4, 13, 0, 0, 0, 1, 0]

export function userDataOf({ key, data }: Pick<NftSet<unknown, unknown>, 'key' | 'data'>): Uint8Array {
  return Uint8Array.from([
    ...word(KEY_ORDER, key.order),
    ...(data ? word(DATA_ORDER, data.order) : []),
    ...typeOf(KEY_TYPE, key),
    ...(data ? [...typeOf(DATA_TYPE, data), ...word(DATA_INTERVAL, ByteOrder.none)] : []),
  ])
}

function typeOf(kind: number, { parts }: Datatype<unknown>): number[] {
  return parts ? [kind, CONCATENATION.length, ...CONCATENATION] : []
}

function word(kind: number, value: number): number[] {
  return [kind, 4, value, 0, 0, 0]
}
