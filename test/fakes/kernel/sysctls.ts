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
  return new Map(Object.entries(CONF_DEFAULTS))
}

/** What a new interface begins with. */
export function inheritConf({ conf }: Namespace): Conf {
  return new Map(conf.default)
}

/** Undefined when there is no such key, or no such interface. */
export function readSysctl(namespace: Namespace, key: string): string | undefined {
  const place = locate(namespace, key)
  return place?.conf.get(place.leaf)
}

/** Sets a value and spreads it as the kernel does. ENOENT for an unknown key, EINVAL for what is no number. */
export function writeSysctl(namespace: Namespace, key: string, value: string): void {
  const place = locate(namespace, key)
  if (!place?.conf.has(place.leaf)) throw refusal('ENOENT')
  const text = value.trim()
  if (!/^-?\d+$/.test(text)) throw refusal('EINVAL')
  const { conf, leaf } = place
  conf.set(leaf, text)
  if (conf === namespace.conf.all && SPREADING.includes(leaf)) {
    namespace.conf.default.set(leaf, text)
    for (const link of namespace.links.values()) link.conf.set(leaf, text)
  }
}

export function confOf(link: FakeLink, leaf: string): string {
  return link.conf.get(leaf) ?? ''
}

/** The values that are not as in a fresh namespace, for a dump. */
export function changedConf(conf: Conf): Record<string, string> {
  return Object.fromEntries([...conf].filter(([leaf, value]) => value !== CONF_DEFAULTS[leaf]).sort())
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
