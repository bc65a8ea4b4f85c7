/** Numbers of rtnetlink. Source: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, if_bridge.h, veth.h, fib_rules.h. */
export const Rtm = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  setLink: 19,
  newAddr: 20,
  delAddr: 21,
  getAddr: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeigh: 28,
  delNeigh: 29,
  getNeigh: 30,
  newRule: 32,
  getRule: 34,
  newQdisc: 36,
  delQdisc: 37,
  getQdisc: 38,
  newFilter: 44,
  delFilter: 45,
  getFilter: 46,
} as const

/** RTNLGRP_*: multicast groups. */
export const Group = {
  link: 1,
  neighbours: 3,
  addresses4: 5,
  routes4: 7,
  addresses6: 9,
  routes6: 11,
} as const

export const Family = { unspec: 0, inet: 2, bridge: 7, inet6: 10 } as const

export const Ifla = {
  address: 1,
  ifName: 3,
  mtu: 4,
  link: 5,
  master: 10,
  txQueueLength: 13,
  operState: 16,
  linkInfo: 18,
  ifAlias: 20,
  afSpec: 26,
  group: 27,
  netNsFd: 28,
  extMask: 29,
  txQueues: 31,
  rxQueues: 32,
  linkNetnsId: 37,
  newNetnsId: 45,
  targetNetnsId: 46,
  newIndex: 49,
} as const

export const ExtMask = {
  /** No counters in the answer, which is a quarter shorter then. */
  skipStats: 8,
  /** The VLANs of bridges and their ports, ranges as two entries. */
  vlans: 4,
} as const

export const Info = { kind: 1, data: 2, slaveKind: 4, slaveData: 5 } as const

export const Bridge = {
  vlanFiltering: 7,
  callIptables: 36,
  callIp6tables: 37,
  portMode: 4,
  portIsolated: 33,
} as const
export const VETH_PEER = 1
export const VLAN_ID = 1

/** IFLA_VXLAN_*. */
export const Vxlan = {
  vni: 1,
  group: 2,
  link: 3,
  local: 4,
  ttl: 5,
  tos: 6,
  learning: 7,
  ageing: 8,
  limit: 9,
  portRange: 10,
  proxy: 11,
  routeShortCircuit: 12,
  macMisses: 13,
  ipMisses: 14,
  port: 15,
  group6: 16,
  local6: 17,
  udpChecksum: 18,
  noChecksum6Tx: 19,
  noChecksum6Rx: 20,
  remoteChecksumTx: 21,
  remoteChecksumRx: 22,
  groupPolicy: 23,
  remoteChecksumNoPartial: 24,
  collectMetadata: 25,
  label: 26,
  gpe: 27,
  ttlInherit: 28,
  df: 29,
  vniFilter: 30,
  localBypass: 31,
} as const
/** Seconds: IFLA_VXLAN_AGEING of a new link. */
export const VXLAN_AGEING = 300

export const BridgeVlan = { flags: 0, info: 2, master: 1, self: 2 } as const
export const VlanFlag = { pvid: 2, untagged: 4, rangeBegin: 8, rangeEnd: 16 } as const

export const Inet = { conf: 1, genMode: 8 } as const
export const Inet6 = { conf: 2 } as const
/** Positions in the kernel's table of net.ipv4.conf settings. Source: linux/ip.h. */
export const Ipv4Conf = {
  forwarding: 1,
  sendRedirects: 6,
  rpFilter: 8,
  arpNotify: 22,
  routeLocalnet: 26,
} as const

/** The same of net.ipv6.conf, counted from 0. Source: linux/ipv6.h. */
export const Ipv6Conf = { forwarding: 0, mtu: 2, acceptRa: 3, disableIpv6: 26 } as const

export const Iff = { up: 1, promiscuous: 0x100 } as const
export const OperState = { unknown: 0, up: 6 } as const

export const Ifa = { address: 1, local: 2, broadcast: 4, flags: 8, proto: 11 } as const
export const IfaFlag = { noDad: 0x02, manageTempAddr: 0x100, noPrefixRoute: 0x200 } as const
/** Of an address: the kernel made it from a router advertisement. Since Linux 5.18. */
export const IFAPROT_KERNEL_RA = 2

export const Rta = {
  dst: 1,
  src: 2,
  oif: 4,
  gateway: 5,
  priority: 6,
  prefSource: 7,
  metrics: 8,
  multipath: 9,
  cacheInfo: 12,
  table: 15,
  via: 18,
  nextHopId: 30,
} as const
export const Rtax = { mtu: 2, advmss: 8 } as const
/** In `rtm_flags`: the answer is one next hop that was chosen; the question wants the table, and the entry as it was made. */
export const RtmFlag = { cloned: 0x200, lookupTable: 0x1000, fibMatch: 0x2000 } as const
/** The one flag of a next hop that says how it was made and not how it fares. */
export const RTNH_F_ONLINK = 4
export const RtProtocol = { unspec: 0, kernel: 2, boot: 3, ra: 9 } as const
export const RTN_UNICAST = 1

export const Fra = {
  source: 2,
  inputLink: 3,
  priority: 6,
  suppressGroup: 13,
  suppressPrefix: 14,
  table: 15,
  padding: 18,
  protocol: 21,
} as const

export const Nda = { dst: 1, lladdr: 2, port: 6, vni: 7, linkIndex: 8 } as const
/** Of a forwarding entry: the link has it itself, and not the bridge that the link is a port of. */
export const NTF_SELF = 2
export const Nud = { noArp: 0x40, permanent: 0x80 } as const
