import { type Conf, type FakeLink, findLink, MIN_IPV6_MTU, type Namespace } from './state.ts'
import { refusal } from './steps.ts'

/** The per-interface sysctls that the fake knows, with the kernel's defaults. */
const CONF_DEFAULTS: Readonly<Record<string, string>> = {
  'ipv4/accept_local': '0',
  'ipv4/accept_redirects': '1',
  'ipv4/arp_accept': '0',
  'ipv4/arp_announce': '0',
  'ipv4/arp_ignore': '0',
  'ipv4/arp_notify': '0',
  'ipv4/forwarding': '0',
  'ipv4/promote_secondaries': '0',
  'ipv4/proxy_arp': '0',
  'ipv4/route_localnet': '0',
  'ipv4/rp_filter': '0',
  'ipv4/secure_redirects': '1',
  'ipv4/send_redirects': '1',
  'ipv6/accept_dad': '1',
  'ipv6/accept_ra': '1',
  'ipv6/accept_redirects': '1',
  'ipv6/addr_gen_mode': '0',
  'ipv6/autoconf': '1',
  'ipv6/dad_transmits': '1',
  'ipv6/disable_ipv6': '0',
  'ipv6/enhanced_dad': '1',
  'ipv6/forwarding': '0',
  'ipv6/keep_addr_on_down': '0',
  'ipv6/proxy_ndp': '0',
}
/** Written for `all`, these go to `default` and to every interface at once. */
const SPREADING = ['ipv4/forwarding', 'ipv6/forwarding', 'ipv6/disable_ipv6']
const ALIASES: Readonly<Record<string, string>> = { 'ipv4/ip_forward': 'ipv4/conf/all/forwarding' }

/** A fresh set of the defaults. */
export function freshConf(): Conf {
  return { values: new Map(Object.entries(CONF_DEFAULTS)), chosen: new Set() }
}

/** What a new interface begins with. */
export function inheritConf({ conf }: Namespace): Conf {
  return { values: new Map(conf.default.values), chosen: new Set(conf.default.chosen) }
}

/** Undefined when there is no such key, or no such interface. */
export function readSysctl(namespace: Namespace, key: string): string | undefined {
  const place = locate(namespace, key)
  return place?.conf.values.get(place.leaf)
}

/** Sets a value and spreads it as the kernel does. ENOENT for an unknown key, EINVAL for what is no number. */
export function writeSysctl(namespace: Namespace, key: string, value: string): void {
  const place = locate(namespace, key)
  if (!place?.conf.values.has(place.leaf)) throw refusal('ENOENT')
  const text = value.trim()
  if (!/^-?\d+$/.test(text)) throw refusal('EINVAL')
  const { conf, leaf } = place
  setConf(conf, leaf, text)
  if (conf === namespace.conf.all && SPREADING.includes(leaf)) {
    setConf(namespace.conf.default, leaf, text)
    for (const link of namespace.links.values()) setConf(link.conf, leaf, text)
  }
  if (conf === namespace.conf.default && leaf.startsWith('ipv4/')) spreadDefault(namespace, leaf, text)
}

export function setConf(conf: Conf, leaf: string, value: string): void {
  conf.values.set(leaf, value)
  conf.chosen.add(leaf)
}

/** With its first IPv4 address an interface stops following the defaults. */
export function pinConf({ conf }: FakeLink): void {
  for (const leaf of conf.values.keys()) conf.chosen.add(leaf)
}

export function confOf(link: FakeLink, leaf: string): string {
  return link.conf.values.get(leaf) ?? ''
}

/** The values that are not as in a fresh namespace, for a dump. */
export function changedConf({ values }: Conf): Record<string, string> {
  return Object.fromEntries([...values].filter(([leaf, value]) => value !== CONF_DEFAULTS[leaf]).sort())
}

/** Whether the link can have IPv6 addresses, routes and neighbours at all. */
export function hasIpv6(link: FakeLink): boolean {
  return link.mtu >= MIN_IPV6_MTU && confOf(link, 'ipv6/disable_ipv6') === '0'
}

/** Throws `whenDisabled` on a link where IPv6 is switched off, EINVAL on one whose MTU is too small for it. */
export function assertIpv6(link: FakeLink, whenDisabled: string): void {
  if (link.mtu < MIN_IPV6_MTU) throw refusal('EINVAL', 'the MTU is too small for IPv6')
  if (!hasIpv6(link)) throw refusal(whenDisabled, 'IPv6 is disabled on this device')
}

/** Unlike IPv6, IPv4 hands a new default on to the interfaces that were never told otherwise. */
function spreadDefault(namespace: Namespace, leaf: string, value: string): void {
  for (const { conf } of namespace.links.values()) if (!conf.chosen.has(leaf)) conf.values.set(leaf, value)
}

function locate(namespace: Namespace, key: string): { conf: Conf; leaf: string } | undefined {
  const match = /^(ipv[46])\/conf\/([^/]+)\/([^/]+)$/.exec(ALIASES[key] ?? key)
  const [, family, name = '', leaf] = match ?? []
  if (!match) return undefined
  if (name === 'all' || name === 'default') return { conf: namespace.conf[name], leaf: `${family}/${leaf}` }
  const link = findLink(namespace, { name })
  if (!link || (family === 'ipv6' && link.mtu < MIN_IPV6_MTU)) return undefined
  return { conf: link.conf, leaf: `${family}/${leaf}` }
}
