import { parseCidr } from '../../src/core/address.ts'
import { parseMac } from '../../src/core/mac.ts'
import { createFakeNode, delegated, type FakeNode, L2, L2_FULL, L3, NETNS_2 } from '../fakes/node.ts'

const ONE_FAMILY = { ...L3.ipam, ranges: L3.ipam.ranges.slice(0, 1), routes: L3.ipam.routes.slice(0, 1) }

/** A network of each kind: what differs in the steps of a call differs here. */
export const MODES: Readonly<Record<string, object>> = {
  'l3, dual stack, masquerading': L3,
  'l3, one family': { ...L3, ipMasq: false, ipam: ONE_FAMILY },
  'l3, addresses of another plugin': delegated(L3),
  'l2, dual stack, masquerading': L2,
  'l2, no gateway': { ...L2, isGateway: false, ipMasq: false, ipam: ONE_FAMILY },
  'l2, all keys': L2_FULL,
  'l2, a VLAN and a trunk': { ...L2, isGateway: false, vlan: 100, vlanTrunk: [{ minID: 5, maxID: 7 }] },
  'l2, no addresses': { ...L2, isGateway: false, ipMasq: false, ipam: {} },
  'l2, addresses of another plugin': delegated(L2),
}

/** The other pod, where there is one. */
export const NEIGHBOUR = { containerId: 'c2', netns: NETNS_2 }

/** What a call may find but an empty node. A neighbour must be whole at the end, whatever happens to the call. */
export const SITUATIONS: Readonly<Record<string, (config: object) => FakeNode>> = {
  'a disk on which every file has a name': () => createFakeNode({ anonymous: false }),
  'a node with another pod': (config) => {
    const node = createFakeNode()
    node.call('ADD', { config, ...NEIGHBOUR })
    return node
  },
  'a node with a bridge of somebody else': () => {
    const node = createFakeNode()
    const host = node.kernel.host()
    const mac = parseMac('02:00:00:00:00:98')
    const { index } = host.applyAndRead([{ op: 'createBridge', name: 'br0', mac }], { name: 'br0' })
    host.apply([{ op: 'addAddress', linkIndex: index, cidr: parseCidr('192.168.7.1/24') }])
    return node
  },
  'a node after a power cut': (config) => {
    const node = createFakeNode()
    node.call('ADD', { config })
    node.call('ADD', { config, containerId: 'lost', ifName: 'eth1' })
    node.reboot()
    return node
  },
}

/** GC's configuration when only these attachments are valid. */
export function gcConfig(config: object, ...valid: { containerId: string; ifName?: string }[]): object {
  const attachments = valid.map(({ containerId, ifName = 'eth0' }) => ({
    containerID: containerId,
    ifname: ifName,
  }))
  return { ...config, 'cni.dev/valid-attachments': attachments }
}
