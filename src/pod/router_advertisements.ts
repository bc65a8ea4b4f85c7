import { ignoring } from '../core/errors.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'

/*
 * On a link of ours a router advertisement is a pod's, and a host that does not forward IPv6 would believe it
 * (CVE-2020-10749): the host takes neither routes nor addresses from it.
 */

/** For a link that was just made, before it is up. Nothing is to be done on a host without IPv6. */
export function refuseAdvertisements(host: Netns, ifName: string): void {
  const key = acceptRaKey(ifName)
  try {
    host.writeSysctl(key, '0')
  } catch (error) {
    const value = host.readSysctl(key)
    if (value !== undefined && value !== '0') throw error
  }
}

/** The same for one that may have been there before, as `link` was read. */
export function ensureAdvertisementsRefused(host: Netns, link: Link, undo: UndoStack): void {
  if (!acceptsAdvertisements(link)) return
  // With its link the setting has gone already.
  undo.push(() => ignoring(['ENOENT'], () => host.writeSysctl(acceptRaKey(link.name), String(link.acceptRa))))
  refuseAdvertisements(host, link.name)
}

/** Known from the link as the kernel shows it: no further question is needed. */
export function acceptsAdvertisements({ acceptRa = 0 }: Link): boolean {
  return acceptRa !== 0
}

/** `key` as in the port. */
export function acceptRaKey(ifName: string): string {
  return `ipv6/conf/${ifName}/accept_ra`
}
