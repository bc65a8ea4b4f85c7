import { ignoreErrnos } from '../core/errors.ts'
import type { Mac } from '../core/mac.ts'
import type { Sysctl } from '../core/shell.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import type { DesiredSysctl, Place } from '../state/desired.ts'
import { isWritable, restoreSysctl, writingSysctls } from './sysctls.ts'

/*
 * On a link of ours a router advertisement is a pod's, and a host that does not forward IPv6 would believe it
 * (CVE-2020-10749): the host takes neither routes nor addresses from it. The node's own links may live by those of the
 * network's router: they keep them.
 */

/** Makes a new link ignore router advertisements, before it is up. Does nothing on a host without IPv6. */
export function refuseAdvertisements(host: Netns, ifName: string): void {
  // The link will be gone when somebody reads this.
  writeRefusal(host, ifName, 'default')
}

/** Makes a link that was there before ignore router advertisements. */
export function ensureAdvertisementsRefused(host: Netns, link: Link, undo: UndoStack, ownMac?: Mac): void {
  if (!hearsPods(host, link, ownMac)) return
  undo.push(() => restoreSysctl(host, acceptRaKey(link.name), String(link.acceptRa)))
  writeRefusal(host, link.name, link.name)
}

/**
 * Returns whether a bridge, or a VLAN link on top of it, may believe what a pod advertises. For one that refuses all, as ours do,
 * no question is asked. One that the node itself lives by, with its router behind a port, is to stay as its administrator
 * has made it; `ownMac` is what a bridge of ours would have.
 */
function hearsPods(host: Netns, link: Link, ownMac?: Mac): boolean {
  if (!link.acceptRa) return false
  return link.mac === ownMac || !believes(link) || !host.advertisedLinks().includes(link.index)
}

/**
 * Returns the setting that a bridge, or a VLAN link on top of it, must have; nothing for one that may stay as it is. Where
 * nothing can be written, it is enough that the kernel believes nothing.
 */
export function advertisementObjects(
  place: Place,
  name: string,
  link: Link | undefined,
  ownMac?: Mac,
): DesiredSysctl[] {
  const isFine = link && !(hearsPods(place.netns, link, ownMac) && mustChange(place.netns, link))
  const otherwise = `${name} ${place.words} believes router advertisements`
  const setting = { leaf: 'accept_ra', value: '0', otherwise } as const
  return isFine ? [] : [{ kind: 'sysctl', place, link: name, ...setting }]
}

/** The kernel shows the setting with the link also where it has no such key, and would not heed it. */
function mustChange(host: Netns, link: Link): boolean {
  const key = acceptRaKey(link.name)
  return host.readSysctl(key) !== undefined && (believes(link) || isWritable(host, key))
}

/**
 * Returns the links whose default routes the node would lose when it forwards IPv6: the kernel drops their default routes at that
 * moment, and believes no advertisement from then on, unless `accept_ra` is 2.
 */
export function advertisementListeners(host: Netns): Link[] {
  const listening = host.links().filter((link) => link.acceptRa !== 2 && believes(link))
  if (listening.length === 0) return []
  const advertised = host.advertisedLinks()
  return listening.filter(({ index }) => advertised.includes(index))
}

/** Throws a Fault when a link that an ADD makes would believe advertisements, and nothing could be done about it. */
export function assertAdvertisementsRefusable(host: Netns): void {
  const key = acceptRaKey('default')
  if (host.readSysctl(key) === '0' || isDeafByForwarding(host, 'default')) return
  refusing('default', () => ignoreErrnos(['ENOENT'], () => host.probeSysctl(key)))
}

/** Returns the key of the setting, as in the kernel port. */
export function acceptRaKey(ifName: string): string {
  return `ipv6/conf/${ifName}/accept_ra`
}

/** Returns whether the kernel uses an advertisement that comes in by this link. */
function believes({ acceptRa, ipv6Forwarding }: Link): boolean {
  return ipv6Forwarding ? acceptRa === 2 : Boolean(acceptRa)
}

/** Writes the setting. A node whose settings can't be written serves as well, if the link ignores advertisements as it is. */
function writeRefusal(host: Netns, ifName: string, helpedBy: string): void {
  const key = acceptRaKey(ifName)
  refusing(helpedBy, () => {
    try {
      host.writeSysctl(key, '0')
    } catch (error) {
      const value = host.readSysctl(key)
      if (value === undefined || value === '0') return
      if (isWritable(host, key) || !isDeafByForwarding(host, ifName)) throw error
    }
  })
}

/** Where the node forwards IPv6 the kernel believes advertisements only if it is told so expressly. */
function isDeafByForwarding(host: Netns, ifName: string): boolean {
  const key = `ipv6/conf/${ifName}/forwarding`
  return host.readSysctl(acceptRaKey(ifName)) === '1' && host.readSysctl(key) === '1'
}

/** `helpedBy` is the link whose setting would help; one that is new begins with the default. */
function refusing(helpedBy: string, work: () => void): void {
  const settings: Sysctl[] = [[acceptRaKey(helpedBy), '0']]
  writingSysctls('keep the host from believing router advertisements of a pod', 'on the node', settings, work)
}
