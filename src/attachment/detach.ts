import { type Address, formatCidr, hostCidr } from '../core/address.ts'
import { ignoreErrnos, isErrno } from '../core/errors.ts'
import type { LinkRef, Netns, Route } from '../kernel/kernel.ts'

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
  ignoreErrnos(['ENODEV'], () => host.apply([{ op: 'setLink', link: { index: ifIndex }, master: 0 }]))
}

/**
 * Turns the host routes to these addresses back from the bridge to the link that they were taken from, see
 * `attachChained`; takes them away if it is gone or down.
 */
export function returnRoutes(
  host: Netns,
  ifIndex: number,
  bridge: string,
  addresses: readonly Address[],
): void {
  const from = host.link({ name: bridge })
  const turned = from ? host.routes(from.index).filter(isHostRouteTo(addresses)) : []
  const isUp = turned.length > 0 && host.link({ index: ifIndex })?.up === true
  for (const route of turned) {
    if (isUp) host.apply([{ op: 'addRoute', route: { ...route, linkIndex: ifIndex }, replace: true }])
    else ignoreErrnos(['ESRCH'], () => host.apply([{ op: 'removeRoute', route }]))
  }
}

/** Whether a route leads to exactly one of these addresses, without a gateway. */
export function isHostRouteTo(addresses: readonly Address[]): (route: Route) => boolean {
  const wanted = new Set(addresses.map((address) => formatCidr(hostCidr(address))))
  return ({ dst, gateway }) => !gateway && wanted.has(formatCidr(dst))
}
