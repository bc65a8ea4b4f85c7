import type { Address, Family } from '../../../core/address.ts'
import { type Datatype, etherAddr, ipAddress } from '../datatypes.ts'
import type { Expression, PayloadField } from '../expression.ts'
import { etherType, icmpv6Type as icmpv6 } from '../numbers.ts'
import { equals } from './match.ts'
import { metaField } from './meta.ts'
import { payload } from './payload.ts'
import { isProtocol } from './transport.ts'

/* Fields in chains of family bridge, which see frames: a field of IP means nothing before the type of the frame is known. */
const LINK = 0
const NETWORK = 1
const TRANSPORT = 2
const SOURCES = { 4: { name: 'ip', offset: 12 }, 6: { name: 'ip6', offset: 8 } } as const

export function bridgedSaddr(family: Family): PayloadField<Address> {
  const { name, offset } = SOURCES[family]
  return payload(`${name} saddr`, ipAddress(family), NETWORK, offset, isFrameOf(family))
}

/** What a sender of ARP says of itself, and whom it asks for. Not two neighbouring fields in one rule: nft makes one test of them. */
export const arpSaddrEther = payload('arp saddr ether', etherAddr, NETWORK, 8, hasEtherType('arp'))
export const arpSaddrIp = payload('arp saddr ip', ipAddress(4), NETWORK, 14, hasEtherType('arp'))
export const arpDaddrIp = payload('arp daddr ip', ipAddress(4), NETWORK, 24, hasEtherType('arp'))

/** In a rule that tests a field of IPv6 before. */
export const icmpv6TypeWithin = payload('icmpv6 type', icmpv6, TRANSPORT, 0, isProtocol(58))
export const bridgedIcmpv6Type = payload(
  'icmpv6 type',
  icmpv6,
  TRANSPORT,
  0,
  hasEtherType('ip6'),
  isProtocol(58),
)
/** The address that neighbour discovery is about. nft has a name for it only since 1.0.7, and shows a number before. */
const target: Datatype<Address> = {
  ...ipAddress(6),
  name: 'integer',
  number: 4,
  show: ({ value }) => `0x${value.toString(16)}`,
}
export const ndTarget = payload('@th,64,128', target, TRANSPORT, 8)

function isFrameOf(family: Family): Expression {
  return equals(metaField('meta protocol', 1, etherType), SOURCES[family].name)
}

/** By the field of the frame, as nft has it where the rule does not know the family yet. */
function hasEtherType(type: 'arp' | 'ip6'): Expression {
  return equals(payload('ether type', etherType, LINK, 12), type)
}
