import { addressFromBytes, type Family } from '../../core/address.ts'
import type { Listener } from '../traffic.ts'
import { familyNumber } from './changes.ts'
import { type MessageWriter, readAttributes } from './message.ts'

/* What sockets there are. Source: linux/inet_diag.h, linux/sock_diag.h. */
export const NETLINK_SOCK_DIAG = 4
const SOCK_DIAG_BY_FAMILY = 20
const INET_DIAG_SKV6ONLY = 11
/** Bytes of struct inet_diag_msg, before its attributes; where the source port and the source address are in it. */
const MSG_LENGTH = 72
const SPORT = 4
const SOURCE = 8
const ID_LENGTH = 48
/** A socket of UDP without a peer has the state "closed", and one of the others that waits for clients "listen". */
const States = { closed: 1 << 7, listen: 1 << 10 } as const
const UDP = 17
/** ::ffff:0:0/96. */
const MAPPED = 0xffffn

/** Asks for the sockets of one family that wait for whoever comes. `protocol`: a number such as 6 for TCP. */
export function listenerDump(family: Family, protocol: number) {
  return {
    request: SOCK_DIAG_BY_FAMILY,
    reply: SOCK_DIAG_BY_FAMILY,
    body: (writer: MessageWriter) =>
      writer
        .u8(familyNumber(family), protocol)
        .u32(protocol === UDP ? States.closed : States.listen)
        .bytes(new Uint8Array(ID_LENGTH)),
  }
}

/** Reads the answers. A socket of IPv6 may take what comes for an address of IPv4 as well. */
export function readListeners(family: Family, bodies: readonly Uint8Array[]): Listener[] {
  return bodies.flatMap((body) => {
    if (body.length < MSG_LENGTH) return []
    const port = ((body[SPORT] ?? 0) << 8) | (body[SPORT + 1] ?? 0)
    const address = addressFromBytes(body.subarray(SOURCE, SOURCE + (family === 4 ? 4 : 16)))
    // A socket without a port takes nothing.
    if (port === 0) return []
    if (family === 6 && address.value >> 32n === MAPPED) {
      return [{ address: { family: 4, value: address.value & 0xffffffffn }, port }]
    }
    const isDual = family === 6 && address.value === 0n && !isIpv6Only(body)
    return [{ address, port }, ...(isDual ? [{ address: { family: 4, value: 0n } as const, port }] : [])]
  })
}

function isIpv6Only(body: Uint8Array): boolean {
  return readAttributes(body, MSG_LENGTH).get(INET_DIAG_SKV6ONLY)?.[0] === 1
}
