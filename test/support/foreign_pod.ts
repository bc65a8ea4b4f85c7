import { formatCidr, parseCidr } from '../../src/core/address.ts'
import { createFakeNode, type FakeNode, L2, NETNS } from '../fakes/node.ts'

/*
 * Behind a plugin that has made eth0: a veth pair whose host side is `foreign0`, with an address in the pod.
 */
export const MAC = '02:00:00:00:00:01'
const { ipam: _, ...bare } = L2
/** Our configuration behind the plugin, without what it has made. */
export const BARE = bare
export const RECORDS = '/var/lib/cni/bowline/net'

export const INTERFACES = [
  { name: 'foreign0', mac: MAC },
  { name: 'eth0', mac: MAC, sandbox: NETNS },
]
export const PREVIOUS = {
  cniVersion: '1.1.0',
  interfaces: INTERFACES,
  ips: [{ address: '10.3.0.5/24', gateway: '10.3.0.1', interface: 1 }],
  routes: [{ dst: '0.0.0.0/0', gw: '10.3.0.1' }],
  dns: { nameservers: ['10.3.0.53'] },
}
export const CONFIG = { ...BARE, prevResult: PREVIOUS }

export function makePair(node: FakeNode, host: string, pod: string): void {
  const peerNetns = node.kernel.openNetns(NETNS)
  const create = { op: 'createVeth', host: { name: host, mac: MAC }, peer: { name: pod, mac: MAC } } as never
  node.kernel.host().apply([{ ...(create as object), peerNetns } as never])
  peerNetns.close()
}

export function withForeignPod(): FakeNode {
  const node = createFakeNode()
  makePair(node, 'foreign0', 'eth0')
  return node
}

/** As ptp does: the node reaches the pod by a host route over the link. */
export function withRoutedPod(): FakeNode {
  const node = withForeignPod()
  const host = node.kernel.host()
  const linkIndex = host.link({ name: 'foreign0' })?.index ?? 0
  host.apply([
    { op: 'setLink', link: { index: linkIndex }, up: true },
    { op: 'addAddress', linkIndex, cidr: parseCidr('10.3.0.1/32') },
    { op: 'addRoute', route: { dst: parseCidr('10.3.0.5/32'), linkIndex } },
  ])
  return node
}

export function routesOf(node: FakeNode, name: string): string[] {
  const host = node.kernel.host()
  return host.routes(host.link({ name })?.index ?? 0).map(({ dst }) => formatCidr(dst))
}

/** The bridge that a link is a port of, by name. */
export function masterOf(node: FakeNode, name: string): string | undefined {
  const host = node.kernel.host()
  const index = host.link({ name })?.master
  return index === undefined ? undefined : host.link({ index })?.name
}

export function check(node: FakeNode, added: { json: Record<string, unknown> }, config: object = BARE) {
  return node.call('CHECK', { config: { ...config, prevResult: added.json } })
}
