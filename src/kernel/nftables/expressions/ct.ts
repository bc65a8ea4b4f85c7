import type { Address, Family } from '../../../core/address.ts'
import { ByteOrder, type Datatype, ipAddress } from '../datatypes.ts'
import type { Field } from '../expression.ts'
import { inetService, mark, namedType } from '../numbers.ts'
import { CtAttr, REGISTER_1 } from '../protocol.ts'
import type { MarkField } from './marks.ts'

/* What connection tracking knows of the packet's connection. The numbers are NFT_CT_*. */
const STATES = { invalid: 1, established: 2, related: 4, new: 8, untracked: 64 } as const
const STATUSES = { expected: 1, 'seen-reply': 2, assured: 4, confirmed: 8, snat: 16, dnat: 32 } as const
const DIRECTIONS = { original: 0, reply: 1 } as const
const ADDRESS_KEYS = { 4: { saddr: 19, daddr: 20 }, 6: { saddr: 21, daddr: 22 } } as const

type Direction = keyof typeof DIRECTIONS

/** For `hasAny`. */
export const ctState = ctField('ct state', 0, bitsType('ct_state', 26, STATES))
export const ctStatus = ctField('ct status', 2, bitsType('ct_status', 28, STATUSES))
export const ctDirection = ctField(
  'ct direction',
  1,
  namedType({ name: 'ct_dir', number: 27, length: 1, order: ByteOrder.host }, DIRECTIONS),
)

/** The mark of the connection, which a rule may set. */
export const ctMark: MarkField = {
  ...ctField('ct mark', 3, mark),
  store: [
    'ct',
    [
      [CtAttr.key, 3],
      [CtAttr.source, REGISTER_1],
    ],
  ],
}

/** `ct original ip daddr`: an address before or after translation, whichever way this packet goes. */
export function ctAddress(
  direction: Direction,
  family: Family,
  end: keyof (typeof ADDRESS_KEYS)[Family],
): Field<Address> {
  const text = `ct ${direction} ip${family === 6 ? '6' : ''} ${end}`
  return ctField(text, ADDRESS_KEYS[family][end], ipAddress(family), direction)
}

/** `ct original proto-dst`: needs a test of the protocol before it. */
export function ctDport(direction: Direction): Field<number> {
  return ctField(`ct ${direction} proto-dst`, 12, inetService, direction)
}

function ctField<T>(text: string, key: number, type: Datatype<T>, direction?: Direction): Field<T> {
  return {
    text,
    type,
    load: (register) => [
      [
        'ct',
        [
          [CtAttr.key, key],
          [CtAttr.target, register],
          ...(direction ? [[CtAttr.direction, Uint8Array.of(DIRECTIONS[direction])] as const] : []),
        ],
      ],
    ],
  }
}

function bitsType<N extends string>(
  name: string,
  number: number,
  bits: Record<N, number>,
): Datatype<readonly N[]> {
  return {
    name,
    number,
    length: 4,
    order: ByteOrder.host,
    encode: (names) => mark.encode(names.reduce((sum, one) => sum | bits[one], 0)),
    decode: (first, last) =>
      (Object.keys(bits) as N[]).filter((one) => ((mark.decode(first, last) ?? 0) & bits[one]) !== 0),
    show: (names) => names.join(','),
  }
}
