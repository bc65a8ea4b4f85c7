import { parseAddress, parseCidr } from '../../../src/core/address.ts'
import { parseMac } from '../../../src/core/mac.ts'
import type {
  Change,
  FdbEntry,
  Netns,
  PacketFilter,
  PortVlan,
  Route,
  VxlanOptions,
} from '../../../src/kernel/kernel.ts'
import { stepsOf, writeChange } from '../../../src/kernel/netlink/changes.ts'
import { MessageWriter } from '../../../src/kernel/netlink/message.ts'

/** What must be there for the commands: a veth of index 7 with its other end in `pod`, a bridge of index 9. */
export const REQUEST_SETUP = [
  'ip netns add pod',
  'ip link add v0 index 7 type veth peer name p0 netns pod',
  'ip link add br0 index 9 type bridge',
  'ip link add i0 index 11 type ifb',
  'tc qdisc add dev i0 clsact',
]

const VETH = 7
const BRIDGE = 9
const IFB = 11
const NO_RATE = { rate: 0, burst: 0, limit: 0 }
const SET = { op: 'setLink', link: { index: VETH } } as const
const MACS = { near: parseMac('02:00:00:00:00:01'), far: parseMac('02:00:00:00:00:02') }
const QUEUES = 'numtxqueues 1 numrxqueues 1'
const NAMES = `address 02:00:00:00:00:01 mtu 1400 ${QUEUES} type veth peer name eth0 address 02:00:00:00:00:02`

/** Commands of iproute2, each with the change that means the same. */
export const REQUESTS: readonly (readonly [ip: string, change: Change])[] = [
  [
    `ip link add v1 ${NAMES} mtu 1400 ${QUEUES} netns pod`,
    {
      op: 'createVeth',
      host: { name: 'v1', mac: MACS.near },
      peer: { name: 'eth0', mac: MACS.far },
      peerNetns: {} as Netns,
      mtu: 1400,
    },
  ],
  [
    'ip link add br1 address 02:00:00:00:00:01 type bridge',
    { op: 'createBridge', name: 'br1', mac: MACS.near },
  ],
  [
    'ip link add br1 address 02:00:00:00:00:01 mtu 1400 type bridge vlan_filtering 1',
    { op: 'createBridge', name: 'br1', mac: MACS.near, mtu: 1400, vlanFiltering: true },
  ],
  [
    'ip link add link br0 name br0.5 type vlan id 5',
    { op: 'createVlan', name: 'br0.5', parent: BRIDGE, vlan: 5 },
  ],
  [
    'ip link add vx1 address 02:00:00:00:00:01 mtu 1400 type vxlan id 4242 local 192.0.2.1 dstport 4789 nolearning',
    createVxlan({ local: parseAddress('192.0.2.1'), learning: false }),
  ],
  [
    'ip link add vx1 address 02:00:00:00:00:01 mtu 1400 type vxlan id 4242 local 2001:db8::1 dstport 4789 learning',
    createVxlan({ local: parseAddress('2001:db8::1'), learning: true }),
  ],
  ['ip link set v0 up', { ...SET, up: true }],
  ['ip link set v0 down', { ...SET, up: false }],
  ['ip link set v0 promisc on', { ...SET, promiscuous: true }],
  [
    'ip link set v0 mtu 1300 address 02:00:00:00:00:02 alias bowline',
    { ...SET, mtu: 1300, mac: MACS.far, alias: 'bowline' },
  ],
  ['ip link set v0 up master br0', { ...SET, up: true, master: BRIDGE }],
  ['ip link set v0 nomaster', { ...SET, master: 0 }],
  [
    'ip link set v0 type bridge_slave hairpin on isolated on',
    { ...SET, port: { hairpin: true, isolated: true } },
  ],
  ['ip link set v0 type bridge_slave hairpin off', { ...SET, port: { hairpin: false } }],
  ['ip link set br0 type bridge vlan_filtering 0', { ...SET, link: { index: BRIDGE }, vlanFiltering: false }],
  ['ip link set v0 addrgenmode none', { ...SET, ipv6LinkLocal: false }],
  ['ip link set v0 addrgenmode eui64', { ...SET, ipv6LinkLocal: true }],
  ['ip link del v0', { op: 'removeLink', link: { index: VETH } }],
  [
    'ip addr add 10.1.0.2/24 broadcast 10.1.0.255 dev v0',
    { op: 'addAddress', linkIndex: VETH, cidr: parseCidr('10.1.0.2/24') },
  ],
  [
    'ip addr add 10.1.0.2/31 dev v0',
    { op: 'addAddress', linkIndex: VETH, cidr: parseCidr('10.1.0.2/31'), noDad: true },
  ],
  [
    'ip addr add 10.1.0.2/32 dev v0 noprefixroute',
    { op: 'addAddress', linkIndex: VETH, cidr: parseCidr('10.1.0.2/32'), noPrefixRoute: true },
  ],
  [
    'ip addr add fd00::2/64 dev v0 nodad',
    { op: 'addAddress', linkIndex: VETH, cidr: parseCidr('fd00::2/64'), noDad: true },
  ],
  [
    'ip addr add fd00::2/64 dev v0 nodad noprefixroute',
    {
      op: 'addAddress',
      linkIndex: VETH,
      cidr: parseCidr('fd00::2/64'),
      noDad: true,
      noPrefixRoute: true,
    },
  ],
  [
    'ip addr del 10.1.0.2/24 dev v0',
    { op: 'removeAddress', linkIndex: VETH, cidr: parseCidr('10.1.0.2/24') },
  ],
  ['ip addr del fd00::2/64 dev v0', { op: 'removeAddress', linkIndex: VETH, cidr: parseCidr('fd00::2/64') }],
  ['ip route append default via 10.1.0.1 dev v0', add({ dst: '0.0.0.0/0', gateway: '10.1.0.1' })],
  ['ip -6 route append default via fd00::1 dev v0', add({ dst: '::/0', gateway: 'fd00::1' })],
  ['ip route append 10.1.0.1/32 dev v0 src 10.1.0.2', add({ dst: '10.1.0.1/32', source: '10.1.0.2' })],
  ['ip route append 10.2.0.0/24 dev v0 scope host', add({ dst: '10.2.0.0/24' }, { scope: 254 })],
  ['ip -6 route append fd00::1/128 dev v0', add({ dst: 'fd00::1/128' })],
  [
    'ip route append 10.2.0.0/24 via 10.1.0.1 dev v0 table 1000 metric 5 mtu 1350 advmss 1200',
    add({ dst: '10.2.0.0/24', gateway: '10.1.0.1' }, { table: 1000, priority: 5, mtu: 1350, advmss: 1200 }),
  ],
  [
    'ip -6 route append fd02::/64 via fd00::1 dev v0 src fd00::2 table 100 metric 5 mtu 1350',
    add({ dst: 'fd02::/64', gateway: 'fd00::1', source: 'fd00::2' }, { table: 100, priority: 5, mtu: 1350 }),
  ],
  [
    'ip route replace 10.2.0.0/24 via 10.1.0.1 dev v0',
    { op: 'addRoute', route: routeOf({ dst: '10.2.0.0/24', gateway: '10.1.0.1' }), replace: true },
  ],
  [
    'ip route del unicast 10.2.0.0/24 via 10.1.0.1 dev v0',
    { op: 'removeRoute', route: routeOf({ dst: '10.2.0.0/24', gateway: '10.1.0.1' }) },
  ],
  [
    'ip -6 route del unicast fd02::/64 via fd00::1 dev v0 metric 5 table 1000',
    {
      op: 'removeRoute',
      route: routeOf({ dst: 'fd02::/64', gateway: 'fd00::1' }, { priority: 5, table: 1000 }),
    },
  ],
  ['ip link set v0 group 98', { ...SET, group: 98 }],
  ['ip link add i1 type ifb', { op: 'createIfb', name: 'i1' }],
  [
    'tc qdisc add dev v0 root handle 1: tbf rate 125000bps burst 15140 limit 18265',
    {
      op: 'setQdisc',
      linkIndex: VETH,
      qdisc: { kind: 'tbf', rate: 125_000, burst: 15_140, limit: 18_265 },
    },
  ],
  [
    'tc qdisc add dev v0 root handle 1: tbf rate 10000000000bps burst 100000000 limit 350000000',
    {
      op: 'setQdisc',
      linkIndex: VETH,
      qdisc: { kind: 'tbf', rate: 1e10, burst: 1e8, limit: 3.5e8 },
    },
  ],
  ['tc qdisc del dev i0 root', { op: 'removeQdisc', linkIndex: IFB, qdisc: { kind: 'tbf', ...NO_RATE } }],
  ['tc qdisc add dev v0 clsact', { op: 'setQdisc', linkIndex: VETH, qdisc: { kind: 'clsact' } }],
  ['tc qdisc del dev i0 clsact', { op: 'removeQdisc', linkIndex: IFB, qdisc: { kind: 'clsact' } }],
  [
    'tc filter add dev i0 ingress protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev v0',
    { op: 'addPacketFilter', linkIndex: IFB, filter: { direction: 'ingress', order: 1, redirect: VETH } },
  ],
  [
    'tc filter add dev i0 egress protocol ip prio 2 u32 match ip src 10.128.0.0/9 classid 1:1',
    { op: 'addPacketFilter', linkIndex: IFB, filter: packetFilter('egress', 2, 'source', '10.128.0.0/9') },
  ],
  [
    'tc filter add dev i0 ingress protocol ipv6 prio 3 u32 match ip6 dst fd00:1:2::/48 classid 1:1',
    {
      op: 'addPacketFilter',
      linkIndex: IFB,
      filter: packetFilter('ingress', 3, 'destination', 'fd00:1:2::/48'),
    },
  ],
  [
    'tc filter del dev i0 ingress protocol ipv6 prio 3',
    {
      op: 'removePacketFilter',
      linkIndex: IFB,
      filter: packetFilter('ingress', 3, 'destination', 'fd00:1:2::/48'),
    },
  ],
  ['ip neigh replace 10.1.0.9 lladdr 02:00:00:00:00:02 nud permanent dev v0', setNeighbour('10.1.0.9')],
  ['ip neigh replace fd00::9 lladdr 02:00:00:00:00:02 nud permanent dev v0', setNeighbour('fd00::9')],
  [
    'ip route replace 10.2.0.0/24 via 10.2.0.0 dev v0 onlink proto 98',
    replaceRoute({ dst: '10.2.0.0/24', gateway: '10.2.0.0' }, { onlink: true, protocol: 98 }),
  ],
  [
    'ip -6 route replace fd00:2::/64 via fe80::2 dev v0 proto 98',
    replaceRoute({ dst: 'fd00:2::/64', gateway: 'fe80::2' }, { protocol: 98 }),
  ],
  [
    'ip route del unicast 10.2.0.0/24 via 10.1.0.1 dev v0 proto 98',
    { op: 'removeRoute', route: routeOf({ dst: '10.2.0.0/24', gateway: '10.1.0.1' }, { protocol: 98 }) },
  ],
  [
    'bridge fdb replace 02:00:00:00:00:02 dev v0 dst 192.0.2.2 self permanent',
    { op: 'setFdbEntry', entry: fdbEntry('192.0.2.2') },
  ],
  [
    'bridge fdb replace 02:00:00:00:00:02 dev v0 dst 2001:db8::2 self permanent',
    { op: 'setFdbEntry', entry: fdbEntry('2001:db8::2') },
  ],
  [
    'bridge fdb del 02:00:00:00:00:02 dev v0 dst 192.0.2.2 self permanent',
    { op: 'removeFdbEntry', entry: fdbEntry('192.0.2.2') },
  ],
  [
    'bridge vlan add dev v0 vid 5 pvid untagged master',
    { op: 'addPortVlan', linkIndex: VETH, vlan: vlans(5, 5, { pvid: true, untagged: true }) },
  ],
  ['bridge vlan add dev v0 vid 10-20 master', { op: 'addPortVlan', linkIndex: VETH, vlan: vlans(10, 20) }],
  [
    'bridge vlan add dev br0 vid 5 self',
    { op: 'addPortVlan', linkIndex: BRIDGE, vlan: vlans(5, 5), self: true },
  ],
  ['bridge vlan del dev v0 vid 1 master', { op: 'removePortVlan', linkIndex: VETH, vlan: vlans(1, 1) }],
]

/** The messages of a change, each with the sequence number 0. */
export function requestsOf(change: Change, netnsFd = 3): Uint8Array[] {
  return stepsOf(change).map((step) => {
    const writer = new MessageWriter()
    writeChange(writer, step, 0, netnsFd)
    return writer.finish()
  })
}

type RouteText = { dst: string; gateway?: string; source?: string }

function add(text: RouteText, rest: Partial<Route> = {}): Change {
  return { op: 'addRoute', route: routeOf(text, rest) }
}

function replaceRoute(text: RouteText, rest: Partial<Route>): Change {
  return { op: 'addRoute', route: routeOf(text, rest), replace: true }
}

function routeOf({ dst, gateway, source }: RouteText, rest: Partial<Route> = {}): Route {
  return {
    dst: parseCidr(dst),
    linkIndex: VETH,
    ...(gateway !== undefined && { gateway: parseAddress(gateway) }),
    ...(source !== undefined && { source: parseAddress(source) }),
    ...rest,
  }
}

function setNeighbour(address: string): Change {
  return {
    op: 'setNeighbour',
    neighbour: { linkIndex: VETH, address: parseAddress(address), mac: MACS.far },
  }
}

function createVxlan(vxlan: Pick<VxlanOptions, 'local' | 'learning'>): Change {
  const options = { vni: 4242, port: 4789, ...vxlan }
  return { op: 'createVxlan', name: 'vx1', mac: MACS.near, mtu: 1400, vxlan: options }
}

function fdbEntry(destination: string): FdbEntry {
  return { mac: MACS.far, destination: parseAddress(destination), linkIndex: VETH }
}

function packetFilter(
  direction: PacketFilter['direction'],
  order: number,
  end: 'source' | 'destination',
  cidr: string,
): PacketFilter {
  return { direction, order, match: { end, cidr: parseCidr(cidr) } }
}

function vlans(from: number, to: number, flags: Partial<PortVlan> = {}): PortVlan {
  return { from, to, ...flags }
}
