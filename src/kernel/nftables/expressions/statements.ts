import type { Attribute } from '../attributes.ts'
import type { Expression, Field } from '../expression.ts'
import type { NftSet } from '../objects.ts'
import { REGISTER_1 } from '../protocol.ts'
import { isProtocol } from './transport.ts'

/** Counts packets and bytes from 0 on. */
export const counter: Expression = { text: 'counter', kernel: [['counter', []]] }

/** No connection tracking for this packet. Only in chains with a priority before -200. */
export const notrack: Expression = { text: 'notrack', kernel: [['notrack']] }

/** Refuses with `port unreachable` of the packet's family. */
export const reject = refuse('reject', 2, 1)
export const rejectAdmin = refuse('reject with icmpx admin-prohibited', 2, 3)
export const rejectTcp = { ...refuse('reject with tcp reset', 1, 0), needs: [isProtocol(6)] }

const SECONDS = { second: 1n, minute: 60n, hour: 3600n } as const
/** What nft takes where no burst is given: packets. */
const DEFAULT_BURST = 5

/** `limit rate 10/second`: meets as many packets; with `over`, the rest of them. */
export function limit(
  rate: number,
  unit: keyof typeof SECONDS,
  { over = false, burst = DEFAULT_BURST }: { readonly over?: boolean; readonly burst?: number } = {},
): Expression {
  const attributes: Attribute[] = [
    [1, BigInt(rate)],
    [2, SECONDS[unit]],
    [3, burst],
    [4, 0],
    [5, over ? 1 : 0],
  ]
  const more = burst === DEFAULT_BURST ? '' : ` burst ${burst} packets`
  return { text: `limit rate ${over ? 'over ' : ''}${rate}/${unit}${more}`, kernel: [['limit', attributes]] }
}

/** `log prefix "D|ns1/p1" group 7`: hands the packet to whoever listens to the group (NFLOG). */
export function log(prefix: string, group: number): Expression {
  const attributes: Attribute[] = [
    [2, prefix],
    [1, Uint8Array.of(group >> 8, group)],
  ]
  return { text: `log prefix ${JSON.stringify(prefix)} group ${group}`, kernel: [['log', attributes]] }
}

/** `update @recent { ip saddr }`: adds the packet's key to a dynamic set, or begins its time anew. */
export function update(set: NftSet<unknown, unknown>, field: Field<unknown>): Expression {
  const attributes: Attribute[] = [
    [4, REGISTER_1],
    [3, 1],
    [1, set.name],
  ]
  return {
    text: `update @${set.name} { ${field.text} }`,
    kernel: [...field.load(REGISTER_1), ['dynset', attributes]],
    needs: field.needs ?? [],
    set: set.name,
  }
}

function refuse(text: string, type: number, code: number): Expression {
  return {
    text,
    kernel: [
      [
        'reject',
        [
          [1, type],
          [2, Uint8Array.of(code)],
        ],
      ],
    ],
  }
}
