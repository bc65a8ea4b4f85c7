import type { Backend } from '../backend.ts'
import { hostGw } from './host_gw.ts'
import { vxlan } from './vxlan.ts'

/** Plain routes to peers on the same link, VXLAN to those behind a router. */
export const direct: Backend = {
  ...vxlan,
  reach(range, peer, node) {
    const plain = hostGw.reach(range, peer, node)
    return 'route' in plain ? plain : vxlan.reach(range, peer, node)
  },
}
