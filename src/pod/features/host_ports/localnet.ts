import type { LinkRef, Netns } from '../../../kernel/kernel.ts'
import { type Entry, LOCALNET_LINKS } from './entries.ts'

/*
 * 127.0.0.1 of the node leads to a pod only over a link with net.ipv4.conf.LINK.route_localnet: else the kernel lets no packet of such an
 * address out, and no answer in. The link of a pod of ours goes with the pod. A bridge, or the link of another plugin, may stay: it is
 * written down in a set, and the setting is taken back before the rules go that keep 127.0.0.0/8 shut.
 */
const LEAF = 'route_localnet'

export function localnetKey(link: string): string {
  return `ipv4/conf/${link}/${LEAF}`
}

/** Returns whether the setting is on, of the link itself or of all. */
export function isLocalnet(host: Netns, link: string): boolean {
  return [localnetKey('all'), localnetKey(link)].some((key) => host.readSysctl(key) === '1')
}

export function enableLocalnet(host: Netns, name: string): void {
  setLocalnet(host, { name }, true)
}

/** Leaves out the links on which the setting is on: somebody else has turned it on, or an earlier pod has written the link down. */
export function unlessLocalnet(host: Netns, entries: readonly Entry[]): Entry[] {
  const isLink = ({ set }: Entry) => set.name === LOCALNET_LINKS.name
  return entries.filter((one) => !isLink(one) || !isLocalnet(host, one.element.key as string))
}

/** Takes back the setting of those links that are among the entries. */
export function disableLocalnet(host: Netns, entries: readonly Entry[]): void {
  const names = entries
    .filter(({ set }) => set.name === LOCALNET_LINKS.name)
    .map(({ element }) => element.key)
  for (const name of names as string[]) if (host.link({ name })) setLocalnet(host, { name }, false)
}

function setLocalnet(host: Netns, link: LinkRef, routeLocalnet: boolean): void {
  host.apply([{ op: 'setLink', link, ipv4: { routeLocalnet } }])
}
