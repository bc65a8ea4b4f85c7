import { parseCidr } from '../../src/core/address.ts'
import { parseMac } from '../../src/core/mac.ts'
import {
  createFakeNode,
  delegated,
  type FakeCall,
  type FakeNode,
  L2,
  L2_FULL,
  L3,
  NETNS_2,
} from '../fakes/node.ts'
import { CONFIG as BEHIND_ANOTHER, withRoutedPod } from './foreign_pod.ts'

/** A call on a node, whose ADD, DEL or GC is then killed or refused at each of its steps. */
export type FaultScenario = {
  readonly what: string
  readonly call: FakeCall & { readonly config: object }
  /** The node at first; an empty one if left out. */
  readonly makeNode?: () => FakeNode
  /** Pods that come before and must be whole at the end. */
  readonly others?: readonly FakeCall[]
  /** What happened to the node since, which an ADD may clean up even when it fails. */
  readonly history?: (node: FakeNode) => void
}

/** The other pod, where there is one. */
export const NEIGHBOUR = { containerId: 'c2', netns: NETNS_2 }

export const MACVLAN = { cniVersion: '1.1.0', name: 'net', type: 'macvlan', mode: 'bridge', ipam: L3.ipam }
const IPAM_PLUGIN = { config: MACVLAN, calledAs: 'bowline-ipam' }
/** The next pod gets the address of the last one. */
export const ONE_ADDRESS = { ...L3.ipam, ranges: [[rangeOf('10.1.0.7', '10.1.0.7')]] }
const TWO_ADDRESSES = { ...L3, ipam: { ...L3.ipam, ranges: [[rangeOf('10.1.0.7', '10.1.0.8')]] } }
const DEAD_NETNS = '/var/run/netns/dead'

/** On an empty node: where the steps of a call differ. */
export const EMPTY_NODE: readonly FaultScenario[] = [
  { what: 'l3', call: { config: L3 } },
  { what: 'l3, addresses of another plugin', call: { config: delegated(L3) } },
  { what: 'l2, all keys', call: { config: L2_FULL } },
  { what: 'l2, no addresses', call: { config: { ...L2, isGateway: false, ipMasq: false, ipam: {} } } },
  { what: 'bowline-ipam', call: IPAM_PLUGIN },
  { what: 'l3, host ports', call: { config: withHostPorts(L3) } },
]

export const USED_NODE: readonly FaultScenario[] = [
  { what: 'l3, beside another pod', call: { config: L3 }, others: [{ config: L3, ...NEIGHBOUR }] },
  {
    what: 'l3, on a disk on which every file has a name',
    call: { config: L3 },
    makeNode: () => createFakeNode({ anonymous: false }),
  },
  {
    what: 'l2, all keys, on a bridge of somebody else',
    call: { config: L2_FULL },
    makeNode: withForeignBridge,
  },
  {
    what: 'l2, host ports, of which a pod that is gone has one',
    call: { config: withHostPorts(L2_FULL) },
    makeNode: withForeignBridge,
    others: [{ config: L2_FULL, ...NEIGHBOUR }],
    history(node) {
      node.kernel.makeNetns(DEAD_NETNS)
      node.call('ADD', { config: withHostPorts(L2_FULL), containerId: 'dead', netns: DEAD_NETNS })
      node.kernel.removeNetns(DEAD_NETNS)
    },
  },
  {
    what: 'chained, host ports',
    call: { config: withHostPorts({ ...BEHIND_ANOTHER, mode: 'chained', bridge: '', isGateway: false }) },
    makeNode: withRoutedPod,
  },
  { what: 'l2, behind another plugin', call: { config: BEHIND_ANOTHER }, makeNode: withRoutedPod },
  {
    what: 'l3, after a power cut',
    call: { config: L3 },
    history(node) {
      node.call('ADD', { config: L3 })
      node.call('ADD', { config: L3, containerId: 'lost', ifName: 'eth1' })
      node.reboot()
    },
  },
  {
    what: 'l3, in a full pool with the address of a pod that is gone',
    call: { config: TWO_ADDRESSES },
    others: [{ config: TWO_ADDRESSES, ...NEIGHBOUR }],
    history(node) {
      node.kernel.makeNetns(DEAD_NETNS)
      node.call('ADD', { config: TWO_ADDRESSES, containerId: 'dead', netns: DEAD_NETNS })
      node.kernel.removeNetns(DEAD_NETNS)
    },
  },
  {
    what: 'bowline-ipam, beside leases of host-local',
    call: IPAM_PLUGIN,
    makeNode: withLeasesOfHostLocal,
  },
  {
    what: 'bowline-ipam, when the order of the addresses is lost',
    call: IPAM_PLUGIN,
    others: [{ ...IPAM_PLUGIN, ...NEIGHBOUR }],
    history: (node) => void node.files.remove('/var/lib/cni/networks/.bowline/net/order'),
  },
]

/** The node before the call. */
export function prepare({ makeNode = createFakeNode, others = [], history }: FaultScenario): FakeNode {
  const node = makeNode()
  for (const call of others) node.call('ADD', call)
  history?.(node)
  return node
}

/** GC's configuration when only these attachments are valid. */
export function gcConfig(config: object, ...valid: FakeCall[]): object {
  const attachments = valid.map(({ containerId, ifName = 'eth0' }) => ({
    containerID: containerId,
    ifname: ifName,
  }))
  return { ...config, 'cni.dev/valid-attachments': attachments }
}

function withHostPorts(config: object): object {
  const portMappings = [
    { hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '' },
    { hostPort: 8053, containerPort: 53, protocol: 'udp', hostIP: '192.168.7.1' },
  ]
  return { ...config, runtimeConfig: { portMappings } }
}

function rangeOf(rangeStart: string, rangeEnd: string) {
  return { subnet: '10.1.0.0/24', rangeStart, rangeEnd }
}

function withForeignBridge(): FakeNode {
  const node = createFakeNode()
  const host = node.kernel.host()
  const mac = parseMac('02:00:00:00:00:98')
  const { index } = host.applyAndRead([{ op: 'createBridge', name: 'br0', mac }], { name: 'br0' })
  host.apply([{ op: 'addAddress', linkIndex: index, cidr: parseCidr('192.168.7.1/24') }])
  return node
}

function withLeasesOfHostLocal(): FakeNode {
  const node = createFakeNode()
  const directory = '/var/lib/cni/networks/net'
  node.files.ensureDirectory(directory)
  node.files.create(`${directory}/10.1.0.2`, 'foreign\r\neth0')
  node.files.create(`${directory}/last_reserved_ip.0`, '10.1.0.3')
  return node
}
