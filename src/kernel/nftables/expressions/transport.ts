import { Cmp, compare, type Expression, type Field, type PayloadField } from '../expression.ts'
import { icmpv6Type as icmpv6, inetProto, inetService } from '../numbers.ts'
import { REGISTER_1 } from '../protocol.ts'
import { toNetworkOrder } from '../registers.ts'
import { isFamily, metaField } from './meta.ts'
import { payload } from './payload.ts'

const TRANSPORT = 2
/** By its number. */
const PORTS = { tcp: 6, udp: 17, sctp: 132 } as const
type Transport = keyof typeof PORTS

const protocol = metaField('meta l4proto', 16, inetProto)

/** The transport protocol. nft takes it for a number of this machine, so it turns it round where a range is looked up. */
export const l4proto: Field<number> = {
  ...protocol,
  loadForInterval: (register) => [...protocol.load(register), toNetworkOrder(register, 1)],
}

/** Tests the transport protocol, by its number. */
export function isProtocol(number: number): Expression {
  const kernel = [...protocol.load(REGISTER_1), compare(Cmp.eq, Uint8Array.of(number))]
  return { text: `meta l4proto ${inetProto.show(number)}`, kernel }
}

export function sport(transport: Transport): PayloadField<number> {
  return payload(`${transport} sport`, inetService, TRANSPORT, 0, isProtocol(PORTS[transport]))
}

export function dport(transport: Transport): PayloadField<number> {
  return payload(`${transport} dport`, inetService, TRANSPORT, 2, isProtocol(PORTS[transport]))
}

/** The destination port of whatever protocol has one: beside `l4proto`, in a key that names the protocol too. */
export const anyDport = payload('th dport', inetService, TRANSPORT, 2)

export const icmpv6Type = payload('icmpv6 type', icmpv6, TRANSPORT, 0, isFamily(6), isProtocol(58))
