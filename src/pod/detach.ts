import { ignoring, isErrno } from '../core/errors.ts'
import type { LinkRef, Netns } from '../kernel/kernel.ts'

/** Removes a link; its peer, addresses, routes and neighbours go with it. False if it was gone already. */
export function removeLink(netns: Netns, link: LinkRef): boolean {
  try {
    netns.apply([{ op: 'removeLink', link }])
    return true
  } catch (error) {
    if (isErrno(error, 'ENODEV')) return false
    throw error
  }
}

/** Takes a port off this bridge. Nothing is done if it is gone, or a port of another bridge by now. */
export function leaveBridge(host: Netns, ifIndex: number, bridge: string): void {
  const port = host.link({ index: ifIndex })
  if (!port?.master || port.master !== host.link({ name: bridge })?.index) return
  ignoring(['ENODEV'], () => host.apply([{ op: 'setLink', link: { index: ifIndex }, master: 0 }]))
}

/**
 * Removes the interface of a pod from inside its namespace: for attachments that left no record. Only a veth or
 * another virtual link is removed; the loopback and plain devices are not ours to take.
 */
export function removePodInterface(netns: Netns, ifName: string): void {
  const link = netns.link({ name: ifName })
  if (link && link.kind !== '') removeLink(netns, { index: link.index })
}
