import {
  bitsOf,
  type Cidr,
  type Family,
  networkOf,
  parseCidr,
  sameAddress,
  sameCidr,
} from '../../../src/core/address.ts'
import { macBytes } from '../../../src/core/mac.ts'
import type { Change } from '../../../src/kernel/kernel.ts'
import { addPrefixRoute, dropRoutes, dropRoutesOf, forgetSource } from './routes.ts'
import {
  AddressFlag,
  type FakeAddress,
  type FakeLink,
  isRunning,
  type Namespace,
  requireLink,
  Scope,
} from './state.ts'
import { refusal } from './steps.ts'
import { confOf } from './sysctls.ts'

const LOOPBACK = { 4: parseCidr('127.0.0.1/8'), 6: parseCidr('::1/128') }
const IPV6_LINK_LOCAL = parseCidr('fe80::/64')

/** Refusals: ENODEV, EEXIST. */
export function addAddress(
  namespace: Namespace,
  { linkIndex, cidr, noDad }: Extract<Change, { op: 'addAddress' }>,
): void {
  const link = requireLink(namespace, { index: linkIndex })
  const { address } = cidr
  if (link.addresses.some((one) => sameAddress(one.cidr.address, address)))
    throw refusal('EEXIST', 'address already assigned')
  const detection = noDad ? AddressFlag.nodad : AddressFlag.tentative
  const flags = AddressFlag.permanent | (address.family === 4 ? 0 : detection)
  place(link, { cidr, scope: Scope.universe, flags })
  link.addresses = link.addresses.map((one) => settle(link, one))
}

/** Refusals: ENODEV, EADDRNOTAVAIL when the link has no such address with this prefix. */
export function removeAddress(namespace: Namespace, linkIndex: number, cidr: Cidr): void {
  const link = requireLink(namespace, { index: linkIndex })
  const found = link.addresses.find((one) => sameCidr(one.cidr, cidr))
  if (!found) throw refusal('EADDRNOTAVAIL', 'address not found')
  dropAddresses(link, [found])
  if (cidr.address.family === 6) forgetSource(namespace, cidr.address)
}

/** What the kernel does to addresses when a link comes up: routes of prefixes, and those of the loopback. */
export function addressesOnUp(link: FakeLink): void {
  if (link.kind === '' && !link.addresses.some(({ cidr }) => cidr.address.family === 4)) {
    place(link, { cidr: LOOPBACK[4], scope: Scope.host, flags: AddressFlag.permanent })
  }
  if (link.kind === '' && !link.addresses.some(({ cidr }) => sameCidr(cidr, LOOPBACK[6]))) {
    place(link, { cidr: LOOPBACK[6], scope: Scope.host, flags: AddressFlag.permanent })
  }
  for (const address of link.addresses) addRouteOf(link, address)
}

/**
 * What the kernel does when a link goes down: routes and neighbours of both families go, IPv6 addresses too (unless
 * keep_addr_on_down, and never the link-local ones); IPv4 addresses stay.
 */
export function addressesOnDown(link: FakeLink): void {
  const keep = confOf(link, 'ipv6/keep_addr_on_down') === '1'
  dropRoutesOf(link)
  link.neighbours = []
  const gone = link.addresses.filter(
    ({ cidr, scope }) => cidr.address.family === 6 && (!keep || scope !== Scope.universe),
  )
  dropAddresses(link, gone)
}

/** Gives every link that has come to run its link-local address, unless it is told not to make one. */
export function makeLinkLocals(namespace: Namespace): void {
  for (const link of namespace.links.values()) {
    if (link.kind === '' || !isRunning(link)) continue
    link.addresses = link.addresses.map((one) => settle(link, one))
    if (confOf(link, 'ipv6/addr_gen_mode') !== '0') continue
    if (link.addresses.some(({ cidr, scope }) => cidr.address.family === 6 && scope === Scope.link)) continue
    place(link, { cidr: linkLocalOf(link), scope: Scope.link, flags: AddressFlag.permanent })
  }
}

/** Takes all addresses away, with what depends on them: the link itself goes. */
export function dropAllAddresses(link: FakeLink): void {
  dropAddresses(link, link.addresses)
}

function place(link: FakeLink, address: FakeAddress): void {
  link.addresses.push(address)
  addRouteOf(link, address)
}

/** Only while the link is up; not for a host prefix of family 4, or the loopback's. */
function addRouteOf(link: FakeLink, { cidr }: FakeAddress): void {
  const { family } = cidr.address
  if (!link.up || link.kind === '') return
  if (family === 4 && cidr.prefix === bitsOf(family)) return
  addPrefixRoute(link, cidr)
}

function dropAddresses(link: FakeLink, gone: readonly FakeAddress[]): void {
  if (gone.length === 0) return
  link.addresses = link.addresses.filter((one) => !gone.includes(one))
  for (const { cidr } of gone) {
    dropPrefixRoute(link, cidr)
    // In family 6 a source is forgotten only when its address is removed by hand, not when the link goes.
    if (cidr.address.family === 4) forgetSource(link.namespace, cidr.address)
  }
  for (const family of new Set(gone.map(({ cidr }) => cidr.address.family))) forgetFamily(link, family)
}

/** The last IPv4 address takes all IPv4 routes and neighbours of the link with it; IPv6 has no such rule. */
function forgetFamily(link: FakeLink, family: Family): void {
  if (family === 6 || link.addresses.some(({ cidr }) => cidr.address.family === family)) return
  dropRoutesOf(link, family)
  link.neighbours = link.neighbours.filter(({ address }) => address.family !== family)
}

/** The route of a prefix goes with the last address that has this prefix. */
function dropPrefixRoute(link: FakeLink, cidr: Cidr): void {
  const network = networkOf(cidr)
  if (link.addresses.some((one) => sameCidr(networkOf(one.cidr), network))) return
  dropRoutes(
    link.namespace,
    ({ kernel, linkIndex, dst }) => kernel && linkIndex === link.index && sameCidr(dst, network),
  )
}

/** Duplicate detection begins when the link runs, and finds none. */
function settle(link: FakeLink, address: FakeAddress): FakeAddress {
  const { clock } = link.namespace
  if ((address.flags & AddressFlag.tentative) === 0 || !isRunning(link)) return address
  const { settlesAtMs = clock.nowMs + clock.duplicateDetectionMs, ...rest } = address
  if (clock.nowMs < settlesAtMs) return { ...rest, settlesAtMs }
  return { ...rest, flags: rest.flags & ~AddressFlag.tentative }
}

/** Modified EUI-64 (RFC 4291, appendix A). */
function linkLocalOf({ mac }: FakeLink): Cidr {
  const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = macBytes(mac)
  const id = [a ^ 0x02, b, c, 0xff, 0xfe, d, e, f].reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n)
  return { address: { family: 6, value: IPV6_LINK_LOCAL.address.value | id }, prefix: IPV6_LINK_LOCAL.prefix }
}
