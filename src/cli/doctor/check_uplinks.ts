import { bitsOf, parseAddress } from '../../core/address.ts'
import { distinct } from '../../core/text.ts'
import type { Link, Netns } from '../../kernel/kernel.ts'
import { uplinksOf } from '../../pod/uplink.ts'
import { named } from './check_networks.ts'
import { error, type Finding, warning } from './finding.ts'

/** Returns what is wrong with the node's ways out. `own` are the links of Bowline. */
export function checkUplinks(host: Netns, own: readonly Link[]): Finding[] {
  const [by4, by6] = [waysOut(host, '0.0.0.1'), waysOut(host, '::1')]
  const all = distinct([...by4, ...by6], ({ name }) => name)
  return all.length === 0 ? linksDown(host, own) : [...withoutCarrier(all), ...strictFilters(host, by4)]
}

/** Returns the links by which a sender of this family leaves the node; of the other one, if there is none. */
function waysOut(host: Netns, sender: string): Link[] {
  const address = parseAddress(sender)
  const cidr = { address, prefix: bitsOf(address.family) }
  const uplinks = uplinksOf(host, { hostIfName: '', ips: [{ cidr }] })
  return distinct(
    uplinks.map(({ link }) => link),
    ({ name }) => name,
  )
}

/** The kernel keeps the routes of a link that has no carrier, and drops what is sent by them. */
function withoutCarrier(links: readonly Link[]): Finding[] {
  const off = links.filter(({ running }) => !running)
  if (off.length === 0) return []
  const isOnly = off.length === links.length
  const others = isOnly ? 'the node has no other way out' : 'the node has other ways out'
  const message = `no carrier on ${named(off)}, where default routes lead: the cable, the switch or the other end is off; ${others}`
  const hint = off.map(({ name }) => `ip link set dev ${name} up; ip -d link show dev ${name}`).join('; ')
  return [(isOnly ? error : warning)('uplink', message, hint)]
}

/**
 * A link that is set down loses its routes, and all its addresses of IPv6. One with an address of IPv4 was a way out; another device may have
 * been, or nobody uses it.
 */
function linksDown(host: Netns, own: readonly Link[]): Finding[] {
  const isOwn = ({ index }: Link): boolean => own.some((link) => link.index === index)
  const addressed = new Set(host.allAddresses().map(({ linkIndex }) => linkIndex))
  const isUplink = ({ index, name, kind, up }: Link): boolean =>
    !up && name !== 'lo' && (kind === '' || addressed.has(index))
  const down = host.links().filter((link) => isUplink(link) && !isOwn(link))
  if (down.length === 0) return []
  const message = `the node has no default route, and ${named(down)} ${down.length === 1 ? 'is' : 'are'} down`
  const commands = down.map(({ name }) => `ip link set dev ${name} up`).join(' && ')
  const hint = `${commands} # and let the network service of the node set its routes again`
  const isCertain = down.some(({ index }) => addressed.has(index))
  return [(isCertain ? error : warning)('uplink', message, hint)]
}

/** With several ways out, an answer may come in by another link than the one that the node would use. Source: RFC 3704. */
function strictFilters(host: Netns, links: readonly Link[]): Finding[] {
  if (links.length < 2) return []
  const filterOf = (name: string) => Number(host.readSysctl(`ipv4/conf/${name}/rp_filter`) ?? 0)
  const all = filterOf('all')
  const strict = links.filter(({ name }) => Math.max(all, filterOf(name)) === 1)
  if (strict.length === 0) return []
  const settings = strict.map(({ name }) => `net.ipv4.conf.${name}.rp_filter=2`)
  const message = `the node has several ways out, and ${named(strict)} drop answers that come by another one (strict rp_filter)`
  return [warning('rp_filter', message, `sysctl -w ${settings.join(' ')}`)]
}
