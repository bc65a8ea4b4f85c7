/*
 * What a person or a program may do to what the overlay has made on node n1 of the cluster of test/system/overlay/drift.test.ts, as lines of
 * shell for that node. `mac` is the MAC of the VXLAN link of node n2, `elements` an element of another origin.
 */

export const KINDS = [
  'link',
  'address',
  'IPv4 route',
  'IPv6 route',
  'neighbour',
  'forwarding entry',
  'set element',
  'rule',
] as const
export type Kind = (typeof KINDS)[number]

/** `stale`: of a node that has left the cluster. */
export type Harm = 'deleted' | 'changed' | 'duplicated' | 'stale'

const LINK = 'bowline-vxlan'
const STRANGE = '02:00:00:00:00:99'

/** Several lines for a cell are several cases. */
export const DAMAGE: Readonly<Record<Kind, Readonly<Record<Harm, readonly string[]>>>> = {
  link: {
    deleted: [`ip link del ${LINK}`],
    changed: [
      `ip link set ${LINK} down`,
      `ip link set ${LINK} address ${STRANGE}`,
      `ip link set ${LINK} mtu 1280`,
      `ethtool -K ${LINK} tx-checksum-ip-generic off`,
      `ip link del ${LINK}; ip link add ${LINK} type vxlan id 7 dstport 4789`,
      `ip link del ${LINK}; ip link add ${LINK} type bridge`,
      `ip link set ${LINK} down; ip link set ${LINK} name stolen`,
      `ip link add bridge9 type bridge; ip link set ${LINK} master bridge9`,
      `ip link set ${LINK} type vxlan ttl 1`,
      `ip link set ${LINK} type vxlan df set tos 4 ageing 10`,
      `ip link set ${LINK} type vxlan dev up0`,
      `ip link set ${LINK} type vxlan remote 192.0.2.99`,
      `ip link del ${LINK}; ip link add ${LINK} type vxlan id 4242 dstport 4789 local 192.0.2.1 nolearning noudpcsum proxy`,
    ],
    // The kernel refuses a second VXLAN link with the same number and port.
    duplicated: [],
    stale: ['ip link add bowline-vxlan6 type vxlan id 4242 dstport 4789 local 2001:db8::1 nolearning'],
  },
  address: {
    deleted: [`ip address del 10.244.1.0/32 dev ${LINK}`, `ip address flush dev ${LINK}`],
    changed: [`ip address del 10.244.1.0/32 dev ${LINK}; ip address add 10.244.1.0/24 dev ${LINK}`],
    duplicated: [`ip address add 10.244.1.77/32 dev ${LINK}`],
    stale: [`ip link add ${LINK} type vxlan id 4242 dstport 4789; ip address add 10.244.9.0/32 dev ${LINK}`],
  },
  'IPv4 route': {
    deleted: ['ip route del 10.244.2.0/24', 'ip route flush proto 98'],
    changed: [
      'ip route replace 10.244.2.0/24 via 192.0.2.2',
      'ip route replace 10.244.2.0/24 via 192.0.2.2 proto 98',
      'ip route replace blackhole 10.244.2.0/24',
      'ip route replace unreachable 10.244.2.0/24 proto 98',
      `ip route replace 10.244.2.0/24 via 10.244.3.0 dev ${LINK} onlink proto 98 mtu 1300`,
    ],
    duplicated: [
      'ip route append 10.244.2.0/24 via 192.0.2.2 proto 98',
      'ip route add 10.244.2.0/24 via 192.0.2.2 proto 98 metric 7',
      'ip route add 10.244.2.0/24 via 192.0.2.2 proto 98 tos 0x10',
      'ip route add prohibit 10.244.2.0/24 proto 98 metric 7',
      'ip route add local 10.244.2.0/24 dev lo proto 98 table local',
      'ip route add 10.244.2.0/24 via 192.0.2.2 proto 98 table 77',
      'ip nexthop add id 9 via 192.0.2.2 dev up0; ip route add 10.244.2.0/24 nhid 9 proto 98 metric 7',
    ],
    stale: [
      'ip route add 10.244.9.0/24 via 192.0.2.2 proto 98',
      'ip route add 10.244.9.0/24 tos 0x10 via 192.0.2.2 proto 98 metric 7 mtu 1300',
      'ip route add blackhole 10.244.9.0/24 proto 98',
      'ip route add 10.244.9.0/24 proto 98 nexthop via 192.0.2.2 nexthop via 192.0.2.3',
    ],
  },
  'IPv6 route': {
    deleted: ['ip -6 route del fd00:244:2::/64', 'ip -6 route flush proto 98'],
    changed: [
      'ip -6 route replace fd00:244:2::/64 via 2001:db8::2',
      'ip -6 route replace fd00:244:2::/64 via 2001:db8::2 proto 98',
      'ip -6 route replace blackhole fd00:244:2::/64',
    ],
    duplicated: [
      'ip -6 route append fd00:244:2::/64 via 2001:db8::2',
      'ip -6 route append fd00:244:2::/64 via 2001:db8::2 proto 98',
      'ip -6 route add fd00:244:2::/64 from fd00:244:1::/64 via 2001:db8::2 proto 98',
      'ip -6 route add unreachable fd00:244:2::/64 proto 98 metric 7',
      'ip -6 nexthop add id 6 via 2001:db8::2 dev up0; ip -6 route add fd00:244:2::/64 nhid 6 proto 98 metric 7',
    ],
    stale: [
      'ip -6 route add fd00:244:9::/64 via 2001:db8::2 proto 98',
      'ip -6 route add blackhole fd00:244:9::/64 proto 98',
      'ip -6 route add fd00:244:9::/64 via 2001:db8::2 proto 98 metric 7',
    ],
  },
  neighbour: {
    deleted: [`ip neigh del 10.244.2.0 dev ${LINK}`, `ip neigh flush dev ${LINK} nud permanent`],
    changed: [`ip neigh replace 10.244.2.0 lladdr ${STRANGE} nud permanent dev ${LINK}`],
    duplicated: [`ip neigh add 10.244.2.9 lladdr ${STRANGE} nud permanent dev ${LINK}`],
    stale: [
      `ip link add ${LINK} type vxlan id 4242 dstport 4789; ip link set ${LINK} up; ip neigh add 10.244.9.0 lladdr ${STRANGE} nud permanent dev ${LINK}`,
    ],
  },
  'forwarding entry': {
    deleted: [`bridge fdb del $(mac) dev ${LINK} self`],
    changed: [
      `bridge fdb replace $(mac) dev ${LINK} dst 192.0.2.99 self permanent`,
      `bridge fdb replace $(mac) dev ${LINK} dst 192.0.2.2 port 9999 self permanent`,
      `bridge fdb replace $(mac) dev ${LINK} dst 192.0.2.2 vni 77 self permanent`,
    ],
    // The kernel ignores a second destination for the MAC of a node: only broadcast has several.
    duplicated: [`bridge fdb append 00:00:00:00:00:00 dev ${LINK} dst 192.0.2.99 self permanent`],
    stale: [
      `ip link add ${LINK} type vxlan id 4242 dstport 4789; bridge fdb append ${STRANGE} dev ${LINK} dst 192.0.2.99 self permanent`,
    ],
  },
  'set element': {
    deleted: [
      'nft delete element inet bowline cluster4 { 10.244.2.0/24 }',
      'nft flush set inet bowline cluster4',
      'nft delete element inet bowline nodes4 { 192.0.2.2 }',
      'nft flush ruleset',
    ],
    changed: [
      "nft 'delete element inet bowline cluster4 { 10.244.2.0/24 }; add element inet bowline cluster4 { 10.244.2.0/25 }'",
    ],
    duplicated: [
      'nft add element inet bowline cluster4 { 198.51.100.0/24 }',
      'nft add element inet bowline nodes6 { 2001:db8::99 }',
    ],
    stale: [
      "nft 'add table inet bowline; add set inet bowline cluster4 { type ipv4_addr; flags interval; }; add element inet bowline cluster4 { 10.244.9.0/24 }'",
      "nft 'add table inet bowline; add set inet bowline nodes4 { type ipv4_addr; }; add element inet bowline nodes4 { 192.0.2.99 }'",
    ],
  },
  rule: {
    deleted: [
      'nft flush chain inet bowline vxlan-sources',
      "nft 'flush chain inet bowline vxlan-output; delete chain inet bowline vxlan-output'",
    ],
    changed: [
      "nft 'add table inet bowline { flags dormant; }'",
      "nft 'add table inet bowline { flags dormant; }; flush chain inet bowline vxlan-input; flush chain inet bowline vxlan-output; delete chain inet bowline vxlan-output'",
      "nft 'flush chain inet bowline vxlan-input; add rule inet bowline vxlan-input udp dport 8472 goto vxlan-sources'",
    ],
    // What others add to a chain stays: rules are known by what they say.
    duplicated: [],
    stale: [
      "nft 'add table inet bowline; add chain inet bowline vxlan-sources; add chain inet bowline vxlan-input { type nat hook input priority -190; }; add rule inet bowline vxlan-sources drop; add rule inet bowline vxlan-input udp dport 8472 goto vxlan-sources'",
    ],
  },
}
