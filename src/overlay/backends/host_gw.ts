import { formatAddress, networkOf } from '../../core/address.ts'
import { addressOf, type Backend } from '../backend.ts'
import { overlayRoute } from '../route.ts'
import { linkOnto } from '../underlay.ts'

/** Plain routes: the peer's own address is the gateway. Nothing is encapsulated, so pods have the full MTU. */
export const hostGw: Backend = {
  links: [],
  reach(range, peer, node) {
    const { family } = range.address
    const gateway = addressOf(peer, family)
    if (!gateway) {
      return {
        problem: `it has no IPv${family} address`,
        hint: `Give its kubelet an IPv${family} address (--node-ip), or use the backend vxlan.`,
      }
    }
    const link = linkOnto(node, gateway)
    if (!link) {
      return {
        problem: `its address ${formatAddress(gateway)} is not on the same link as this node's`,
        hint: 'Use the backend direct, which encapsulates only what such nodes get.',
      }
    }
    const { underlayMtu: mtu } = node.config
    const route = overlayRoute(
      { place: node.place, link: link.name },
      { dst: networkOf(range), gateway, ...(mtu !== undefined && mtu < link.mtu && { mtu }) },
    )
    return { entries: [], route }
  },
  link: () => [],
}
