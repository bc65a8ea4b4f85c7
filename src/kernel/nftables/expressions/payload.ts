import type { Address, Family } from '../../../core/address.ts'
import { type Datatype, etherAddr, ipAddress } from '../datatypes.ts'
import type { Expression, PayloadField } from '../expression.ts'
import { PayloadAttr } from '../protocol.ts'
import { isFamily } from './meta.ts'

/* Fields in the headers of a packet: base, offset and length in bytes. */
const LINK = 0
const NETWORK = 1
const IP = { 4: 'ip', 6: 'ip6' } as const
const SOURCE = { 4: 12, 6: 8 } as const
const DESTINATION = { 4: 16, 6: 24 } as const

/** In chains of family bridge. */
export const etherSaddr = payload('ether saddr', etherAddr, LINK, 6)

/** In chains of family inet. */
export function saddr(family: Family): PayloadField<Address> {
  return payload(`${IP[family]} saddr`, ipAddress(family), NETWORK, SOURCE[family], isFamily(family))
}

export function daddr(family: Family): PayloadField<Address> {
  return payload(`${IP[family]} daddr`, ipAddress(family), NETWORK, DESTINATION[family], isFamily(family))
}

/** Returns a field by its place in the header `base`. */
export function payload<T>(
  text: string,
  type: Datatype<T>,
  base: number,
  offset: number,
  ...needs: readonly Expression[]
): PayloadField<T> {
  return {
    text,
    type,
    needs,
    load: (register: number, length: number = type.length) => [
      [
        'payload',
        [
          [PayloadAttr.target, register],
          [PayloadAttr.base, base],
          [PayloadAttr.offset, offset],
          [PayloadAttr.length, length],
        ],
      ],
    ],
  }
}
