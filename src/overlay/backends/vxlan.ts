import { type Address, type Cidr, FAMILIES, type Family, hostCidr, networkOf } from '../../core/address.ts'
import { type Mac, macFromHash } from '../../core/mac.ts'
import { sha256 } from '../../core/names.ts'
import { addressesOn, type Desired, type DesiredLink } from '../../state/desired.ts'
import { addressOf, type Backend, type LocalNode } from '../backend.ts'
import type { ClusterNode } from '../cluster.ts'
import { overlayRoute } from '../route.ts'
import { linkWith, underlayMtu } from '../underlay.ts'
import { vxlanGuard } from './vxlan_guard.ts'

/*
 * VXLAN without multicast, learning and upcalls: each node knows of each other node one route for each family of pods, one permanent
 * neighbour for its gateway, and one forwarding entry. No packet waits for a program. flannel has come to the same three entries after
 * two other designs (miss upcalls for both layers, then for one).
 *
 * Nothing is published: the MAC of a node's VXLAN link follows from the node's name, and its addresses from the MAC and the node's ranges. So a reboot changes nothing, and a peer is complete as soon as its Node object has addresses and ranges.
 *
 * The outer UDP header of IPv4 has a checksum, which is the kernel's default for a link that is made by netlink without saying so. Other
 * agents turn it off, and meet a bug of kernels before 5.6.13, 5.4.41 and 4.19.123: a packet that is translated behind the tunnel gets
 * another checksum in place of none, and is dropped (flannel#1279, kubernetes#88986).
 *
 * One link carries pods of both families. A node has two links only if some of its peers have no IPv4 address.
 */

/** Outer Ethernet, IP, UDP and VXLAN headers without the outer Ethernet one, plus the inner Ethernet header: 20 or 40, 8, 8, 14. */
const OVERHEAD = { 4: 50, 6: 70 } as const
const LINKS = { 4: 'bowline-vxlan', 6: 'bowline-vxlan6' } as const
/** fe80:: */
const LINK_LOCAL = 0xfe80n << 112n

type Underlay = { readonly family: Family; readonly destination: Address }

export const vxlan: Backend = {
  links: Object.values(LINKS),
  reach(range, peer, node) {
    const underlay = underlayTo(peer, node)
    if (!underlay) {
      return {
        problem: 'its addresses are of no family that this node has an address of',
        hint: 'Give the kubelets of both nodes addresses of one family (--node-ip).',
      }
    }
    const on = { place: node.place, link: LINKS[underlay.family] }
    const mac = macOf(peer)
    const gateway = range.address.family === 4 ? networkAddressOf(range) : linkLocalOf(mac)
    return {
      link: on.link,
      entries: [
        { kind: 'neighbour', ...on, address: gateway, mac },
        { kind: 'fdbEntry', ...on, mac, destination: underlay.destination },
      ],
      route: overlayRoute(on, {
        dst: networkOf(range),
        gateway,
        ...(range.address.family === 4 && { onlink: true }),
      }),
    }
  },
  link(name, node) {
    const family = name === LINKS[6] ? 6 : 4
    const link = deviceOf(name, family, node)
    const own = node.podCidrs.map((range) => hostCidr(networkAddressOf(range)))
    const on = { place: node.place, link: name }
    const isOn = node.config.checksumOffload !== 'off'
    return [link, { kind: 'checksumOffload', ...on, isOn }, ...addressesOn(on, own)] satisfies Desired[]
  },
  guard: vxlanGuard,
}

function deviceOf(name: string, family: Family, node: LocalNode): DesiredLink {
  const own = addressOf(node, family)
  // The kernel sends nothing from a source that it does not have.
  const local = own && linkWith(node, own) ? { local: own } : {}
  const { vni, port } = node.config
  const [mac, mtu] = [macOf(node), underlayMtu(node, family) - OVERHEAD[family]]
  const options = { vni, port, learning: false, ...local }
  const create = { type: 'vxlan', mac, mtu, options } as const
  return { kind: 'link', place: node.place, link: name, create, mac, mtu, up: true, isPort: false }
}

/** Returns the link through which this peer would send, and be sent, what is encapsulated. Both nodes come to the same. */
export function tunnelTo(peer: ClusterNode, node: LocalNode): { readonly link?: string } {
  const underlay = underlayTo(peer, node)
  return underlay ? { link: LINKS[underlay.family] } : {}
}

/** Prefers IPv4: its headers are smaller. */
function underlayTo(peer: ClusterNode, node: LocalNode): Underlay | undefined {
  for (const family of FAMILIES) {
    const destination = addressOf(peer, family)
    if (destination && addressOf(node, family)) return { family, destination }
  }
  return undefined
}

/** The name of a node is unique in its cluster, and does not change while the Node object exists. */
function macOf({ name }: ClusterNode): Mac {
  return macFromHash(sha256(`vtep\0${name}`))
}

/** No pod has it. */
function networkAddressOf(range: Cidr): Address {
  return networkOf(range).address
}

/**
 * Returns the gateway to IPv6 pods of the node with this MAC. An address of the range will not do: the kernel refuses an onlink gateway to
 * which a route leads by another link (EINVAL, `ip6_route_check_nh_onlink`), so a wrong route to the range could not be replaced.
 */
function linkLocalOf(mac: Mac): Address {
  return { family: 6, value: LINK_LOCAL | BigInt(`0x${mac.replaceAll(':', '')}`) }
}
