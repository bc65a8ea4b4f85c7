import { type Address, formatAddress } from '../../../core/address.ts'
import { type Mac, macBytes } from '../../../core/mac.ts'
import {
  arpDaddrIp,
  arpSaddrEther,
  arpSaddrIp,
  bridgedIcmpv6Type,
  bridgedSaddr,
  icmpv6TypeWithin,
  ndTarget,
} from '../../../kernel/nftables/expressions/bridge.ts'
import { differs, equals } from '../../../kernel/nftables/expressions/match.ts'
import { etherSaddr } from '../../../kernel/nftables/expressions/payload.ts'
import { dport } from '../../../kernel/nftables/expressions/transport.ts'
import { back, drop, jump } from '../../../kernel/nftables/expressions/verdicts.ts'
import type { NftRule } from '../../../kernel/nftables/objects.ts'
import type { PortCheck } from '../port_check.ts'

const NO_ADDRESS = { 4: { family: 4, value: 0n }, 6: { family: 6, value: 0n } } as const
/** ICMPv6 types. Source: RFC 4861, section 4; RFC 3590 and RFC 3810, section 5.2.13. */
const SOLICITATION = 135
const ADVERTISEMENT = 136
/** A host sends these before it has an address: it asks for routers, and says which multicast groups it is in. */
const WITHOUT_ADDRESS = [133, 131, 143]

/**
 * What a pod on a bridge may send: its own addresses as source of IP, in ARP, and as the target of neighbour advertisements, all
 * from its own hardware address; what a host sends before it has an address; and nothing that is neither IP nor ARP.
 */
export const SOURCE_CHECK: PortCheck = {
  key: 'ipspoofchk',
  // Behind the check of hardware addresses.
  base: { name: 'sources', priority: -299 },
  prefixes: ['nd-', 'ip-'],
  rules({ podMac, ips }, [ndChain = '']) {
    const addresses = ips.map(({ cidr }) => cidr.address)
    const ofFamily = (family: 4 | 6) => addresses.filter((address) => address.family === family)
    const own6 = [...ofFamily(6), linkLocalOf(podMac)]
    return [
      [...own6.map((address): NftRule => [equals(ndTarget, address), back]), [drop]],
      [
        [differs(etherSaddr, podMac), drop],
        [differs(arpSaddrEther, podMac), drop],
        ...ofFamily(4).flatMap(ipv4Rules),
        [equals(bridgedSaddr(4), NO_ADDRESS[4]), equals(dport('udp'), 67), back],
        [equals(bridgedIcmpv6Type, ADVERTISEMENT), jump(ndChain)],
        ...own6.map((address): NftRule => [equals(bridgedSaddr(6), address), back]),
        ...beforeAddress(own6),
        [drop],
      ],
    ]
  },
  words: {
    action: 'check the source addresses of what the pod sends',
    all: 'checks of source addresses',
    base: 'the rule that checks sources is missing in table bridge bowline',
  },
  isKnown: ({ ips }) => ips.length > 0,
  unchecked: ({ ips }) =>
    `the sources ${ips.map(({ cidr }) => formatAddress(cidr.address)).join(', ')} are not checked`,
}

function ipv4Rules(address: Address): NftRule[] {
  return [
    [equals(bridgedSaddr(4), address), back],
    [equals(arpSaddrIp, address), back],
    // Asks whether somebody else has the address (RFC 5227).
    [equals(arpDaddrIp, address), equals(arpSaddrIp, NO_ADDRESS[4]), back],
  ]
}

/** Duplicate detection (RFC 4862) asks without a source, and only for an address that is to be one's own. */
function beforeAddress(own: readonly Address[]): NftRule[] {
  const isSourceless = equals(bridgedSaddr(6), NO_ADDRESS[6])
  const isOfType = (type: number) => equals(icmpv6TypeWithin, type)
  return [
    ...own.map((address): NftRule => [isSourceless, isOfType(SOLICITATION), equals(ndTarget, address), back]),
    ...WITHOUT_ADDRESS.map((type): NftRule => [isSourceless, isOfType(type), back]),
  ]
}

/** Returns the address that the kernel makes of a hardware address. Source: RFC 4291, appendix A. */
function linkLocalOf(mac: Mac): Address {
  const [a = 0, b = 0, c = 0, ...rest] = macBytes(mac)
  const bytes = [a ^ 2, b, c, 0xff, 0xfe, ...rest]
  const identifier = bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n)
  return { family: 6, value: (0xfe80n << 112n) | identifier }
}
