import type { Cidr } from '../core/address.ts'
import { Code, Fault, ignoreErrnos } from '../core/errors.ts'
import type { Sysctl } from '../core/shell.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { restoreSysctl, writingSysctls } from './sysctls.ts'

/*
 * IPv6 on the links that an attachment needs it on. It can be switched off for all new links of a namespace
 * (net.ipv6.conf.default.disable_ipv6), of the host or of the pod: then it is switched on where our addresses go, and
 * nowhere else. A kernel that was booted without it (ipv6.disable=1) has none of these settings.
 */

/** Source: RFC 8200, section 5; the kernel has no IPv6 on a link of less. */
const MIN_MTU = 1280
/** What a write to a /proc/sys that is read-only, or not ours, is refused with. */
const READ_ONLY = ['EROFS', 'EACCES', 'EPERM']

/**
 * Lets the pod's end have IPv6. Its addresses are to outlive the moment in which someone takes the interface down, as
 * those of IPv4 do; before Linux 4.6, and where nothing can be written, they can't.
 */
export function enablePodIpv6(netns: Netns, { name, mtu }: Link): void {
  const disabled = netns.readSysctl(disableKey(name))
  if (disabled === undefined) throw noIpv6(mtu)
  if (disabled !== '0') enable(netns, name, "in the pod's network namespace")
  ignoreErrnos(['ENOENT', ...READ_ONLY], () => netns.writeSysctl(`ipv6/conf/${name}/keep_addr_on_down`, '1'))
}

/** Lets `lo` of a pod with an IPv6 address have `::1`. */
export function enableLoopbackIpv6(netns: Netns, lo: Link): void {
  if (lo.ipv6Disabled) enable(netns, lo.name, "in the pod's network namespace")
}

/** Lets a link of the host have these addresses. */
export function enableHostIpv6(host: Netns, link: Link, addresses: readonly Cidr[], undo?: UndoStack): void {
  if (!addresses.some(({ address }) => address.family === 6)) return
  if (link.acceptRa === undefined) throw noIpv6(link.mtu)
  if (!link.ipv6Disabled) return
  undo?.push(() => restoreSysctl(host, disableKey(link.name), '1'))
  enable(host, link.name, 'on the node')
}

/** Throws a Fault when a link that an ADD makes would have no IPv6, and nothing could be done about it. */
export function assertIpv6Possible(host: Netns): void {
  const value = host.readSysctl(disableKey('default'))
  if (value === undefined) throw noIpv6(MIN_MTU)
  if (value !== '0') enabling('default', 'on the node', () => host.probeSysctl(disableKey('default')))
}

/** Returns the key of the setting, as in the kernel port. */
export function disableKey(ifName: string): string {
  return `ipv6/conf/${ifName}/disable_ipv6`
}

/** Returns the Fault for a node, or a link, that can have no address of IPv6. */
export function noIpv6(mtu: number): Fault {
  if (mtu < MIN_MTU) {
    return new Fault(`a link of the pod or its bridge has an MTU of ${mtu}, and IPv6 needs ${MIN_MTU}`, {
      code: Code.invalidConfig,
      hint: `Set "mtu" to ${MIN_MTU} or more, or give the pod no IPv6 address.`,
    })
  }
  return new Fault('the kernel of this node has no IPv6: net.ipv6 is missing below /proc/sys', {
    code: Code.invalidConfig,
    hint: 'Boot the node without ipv6.disable=1 (sysctl net.ipv6.conf.all.disable_ipv6 then shows a value), or take the IPv6 ranges out of "ipam".',
  })
}

type Where = Parameters<typeof writingSysctls>[1]

function enable(netns: Netns, ifName: string, where: Where): void {
  enabling(ifName, where, () => netns.writeSysctl(disableKey(ifName), '0'))
}

/** A link begins with the defaults, but `lo` was there before they were changed. */
function enabling(ifName: string, where: Where, work: () => void): void {
  const names = ifName === 'lo' ? ['default', 'lo'] : ['default']
  const settings = names.map((name): Sysctl => [disableKey(name), '0'])
  writingSysctls(`switch IPv6 on ${where}`, where, settings, work)
}
