import type { Backend } from '../backend.ts'
import { hostGw } from './host_gw.ts'
import { tunnelTo, vxlan } from './vxlan.ts'

/**
 * Plain routes to peers on the same link, VXLAN to those behind a router.
 *
 * Each node judges that by its own prefix, which the peer does not know: a peer with a longer one (192.0.2.1/32) sends through VXLAN to a
 * node that answers plainly. So every node with a peer can receive VXLAN, and has the rules that guard it, whether or not it sends any.
 */
export const direct: Backend = {
  ...vxlan,
  reach(range, peer, node) {
    const plain = hostGw.reach(range, peer, node)
    return 'route' in plain ? { ...plain, ...tunnelTo(peer, node) } : vxlan.reach(range, peer, node)
  },
}
