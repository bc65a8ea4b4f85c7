import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { link } from '../../support/node/sandbox.ts'

/*
 * A pod whose configuration has no key "mtu" gets what the node's way out carries, whatever the way out is made of. The
 * node has an uplink `wide` of 1500 bytes and one `slim` of 1400, both with a gateway of each family.
 */
const COMMON = { cniVersion: '1.1.0', name: 'net', type: 'bowline' }
const MODES = {
  l2: { ...COMMON, bridge: 'br0', isGateway: true },
  l3: { ...COMMON, mode: 'l3' },
}
const RANGE = { 4: [{ subnet: '10.1.0.0/24' }], 6: [{ subnet: 'fd01::/64' }] }
const HALVES = 'for d in 0.0.0.0/1 128.0.0.0/1; do'

type Case = readonly [name: string, families: readonly (4 | 6)[], commands: string, mtu: number]

const CASES: readonly Case[] = [
  ['a default route', [4], 'ip route add default via 192.168.1.1', 1400],
  ['a default route of IPv6', [6], 'ip -6 route add default via fd51::1', 1400],
  [
    'the family that the pod has, and not the other',
    [4],
    'ip route add default via 192.168.0.1; ip -6 route add default via fd51::1',
    1500,
  ],
  [
    'each family, if it has both',
    [4, 6],
    'ip route add default via 192.168.0.1; ip -6 route add default via fd51::1',
    1400,
  ],
  ['the other family, when the own has no way out', [4], 'ip -6 route add default via fd51::1', 1400],
  ['the MTU of the route', [4], 'ip route add default via 192.168.0.1 mtu 1350', 1350],
  ['the MTU of the route of IPv6', [6], 'ip -6 route add default via fd50::1 mtu 1350', 1350],
  ['the MTU of the route, which is locked', [4], 'ip route add default via 192.168.0.1 mtu lock 1350', 1350],
  [
    'the MTU of a route that says more than its link',
    [4],
    'ip route add default via 192.168.1.1 mtu 9000',
    1400,
  ],
  [
    'the MTU that a router has advertised',
    [6],
    'ip -6 route add default via fd50::1; sysctl -qw net.ipv6.conf.wide.mtu=1350',
    1350,
  ],
  [
    'a route by two next hops',
    [4],
    'ip route add default nexthop via 192.168.0.1 nexthop via 192.168.1.1',
    1400,
  ],
  [
    'a route of IPv6 by two next hops',
    [6],
    'ip -6 route add default nexthop via fd50::1 nexthop via fd51::1',
    1400,
  ],
  [
    'a group of next hops',
    [4],
    `ip nexthop add id 1 via 192.168.0.1 dev wide; ip nexthop add id 2 via 192.168.1.1 dev slim
     ip nexthop add id 3 group 1/2; ip route add default nhid 3`,
    1400,
  ],
  [
    'a group of next hops of IPv6',
    [6],
    `ip nexthop add id 1 via fd50::1 dev wide; ip nexthop add id 2 via fd51::1 dev slim
     ip nexthop add id 3 group 1/2; ip -6 route add default nhid 3`,
    1400,
  ],
  [
    'a next hop of which the kernel shows the number only',
    [4, 6],
    `sysctl -qw net.ipv4.nexthop_compat_mode=0
     ip nexthop add id 1 via 192.168.1.1 dev slim; ip route add default nhid 1
     ip nexthop add id 2 via fd51::1 dev slim; ip -6 route add default nhid 2`,
    1400,
  ],
  [
    'the best of two routes',
    [4],
    'ip route add default via 192.168.0.1 metric 200; ip route add default via 192.168.1.1 metric 100',
    1400,
  ],
  [
    'a route beside a hole',
    [4],
    'ip route add default via 192.168.1.1; ip route add blackhole 192.0.2.0/24; ip route add blackhole 198.41.0.0/24',
    1400,
  ],
  [
    'a route beside many holes',
    [4],
    `ip route add default via 192.168.1.1
     for n in 192.0.0.0/3 128.0.0.0/5 0.0.0.0/5; do ip route add unreachable $n; done`,
    1400,
  ],
  [
    'a route of IPv6 beside holes',
    [6],
    'ip -6 route add default via fd51::1; ip -6 route add prohibit 2001:db8::/32; ip -6 route add prohibit 2001:500::/24',
    1400,
  ],
  [
    'a route behind a better one that rejects all',
    [4],
    'ip route add default via 192.168.1.1 metric 9; ip route add unreachable default metric 1',
    1400,
  ],
  [
    'a route of IPv6 behind a better one that rejects all',
    [6],
    'ip -6 route add default via fd51::1 metric 9; ip -6 route add blackhole default metric 1',
    1400,
  ],
  [
    'a route beside others for parts of the Internet',
    [4],
    'ip route add default via 192.168.1.1; ip addr add 192.0.2.2/24 dev wide; ip route add 198.40.0.0/13 dev wide',
    1400,
  ],
  ['two halves of the Internet', [4], `${HALVES} ip route add $d via 192.168.1.1; done`, 1400],
  [
    'two halves by two links',
    [4],
    'ip route add 0.0.0.0/1 via 192.168.1.1; ip route add 128.0.0.0/1 via 192.168.0.1',
    1400,
  ],
  ['all that IPv6 has given out', [6], 'ip -6 route add 2000::/3 via fd51::1', 1400],
  [
    'another table',
    [4],
    'ip route add default via 192.168.0.1; ip route add default via 192.168.1.1 table 100; ip rule add pref 100 lookup 100',
    1400,
  ],
  [
    'another table for the pods',
    [4],
    'ip route add default via 192.168.0.1; ip route add default via 192.168.1.1 table 100; ip rule add from 10.1.0.0/16 lookup 100',
    1400,
  ],
  [
    'another table for the pods of IPv6',
    [6],
    'ip -6 route add default via fd50::1; ip -6 route add default via fd51::1 table 1000; ip -6 rule add from fd01::/64 lookup 1000',
    1400,
  ],
  [
    'the main table, though there is one for other sources',
    [4],
    'ip route add default via 192.168.0.1; ip route add default via 192.168.1.1 table 100; ip rule add from 10.2.0.0/16 lookup 100',
    1500,
  ],
  [
    'the main table, though there is one for marked packets',
    [4],
    'ip route add default via 192.168.0.1; ip route add default via 192.168.1.1 table 100; ip rule add fwmark 7 lookup 100',
    1500,
  ],
  [
    'the main table before one for the pods that stands behind it',
    [4],
    'ip route add default via 192.168.0.1; ip route add default via 192.168.1.1 table 100; ip rule add pref 40000 from 10.1.0.0/16 lookup 100',
    1500,
  ],
  [
    'a bridge',
    [4],
    'ip link add lan type bridge; ip link set lan up; ip link set slim master lan; ip addr add 192.168.2.2/24 dev lan; ip route add default via 192.168.2.1',
    1400,
  ],
  [
    'a VXLAN',
    [4],
    'ip link add vx type vxlan id 1 remote 192.168.1.1 dev slim dstport 4789; ip link set vx up; ip addr add 192.168.2.2/24 dev vx; ip route add default via 192.168.2.1',
    1350,
  ],
  ['nothing, as the node has no way out', [4], 'true', 1500],
]

const [pod] = usePods('pod', 'outside')

beforeEach(() => {
  const uplinks = [
    ['wide', 0, 1500],
    ['slim', 1, 1400],
  ] as const
  for (const [name, i, mtu] of uplinks) {
    run(`ip link add ${name} mtu ${mtu} type veth peer name ${name} mtu ${mtu} netns outside
      ip link set ${name} up; ip -n outside link set ${name} up
      ip addr add 192.168.${i}.2/24 dev ${name}; ip -6 addr add fd5${i}::2/64 dev ${name} nodad`)
  }
})

afterEach(() => {
  run(`for family in -4 -6; do
      ip $family rule flush; ip $family rule add pref 32766 lookup main
      for table in main 100 1000; do ip $family route flush table $table type unicast 2>&1 || true
        for type in blackhole unreachable prohibit; do ip $family route flush table $table type $type 2>&1 || true; done
      done
    done
    sysctl -qw net.ipv4.nexthop_compat_mode=1
    ip rule add pref 32767 lookup default; ip nexthop flush >/dev/null; ip link del vx 2>&1 || true`)
})

/** The modes ask the same question. */
const L2_CASES = CASES.filter(([name]) => /^(each|the MTU|a group|a bridge|nothing)/.test(name))

describe.each([
  ['l2', L2_CASES],
  ['l3', CASES],
] as const)('in mode %s the MTU of a pod follows', (mode, cases) => {
  it.each(cases)('%s', async (_, families, commands, mtu) => {
    run(commands)
    const ranges = families.map((family) => RANGE[family])
    expect(await add({ ...MODES[mode], ipam: { type: 'bowline-ipam', ranges } })).toBe(mtu)
  })

  it('the key "mtu", also where the way out carries less', async () => {
    run('ip route add default via 192.168.1.1')
    const ipam = { type: 'bowline-ipam', ranges: [RANGE[4]] }
    expect(await add({ ...MODES[mode], mtu: 1450, ipam })).toBe(1450)
  })
})

it('on the link by which the rule of policy routing knows it, the MTU of a pod follows that rule', async () => {
  run(`ip route add default via 192.168.0.1; ip route add default via 192.168.1.1 table 100
    ip rule add iif br0 lookup 100`)
  const ipam = { type: 'bowline-ipam', ranges: [RANGE[4]] }
  expect(await add({ ...MODES.l2, ipam })).toBe(1400)
})

async function add(config: object): Promise<number | undefined> {
  expectSuccess(await callFor(pod, 'ADD', config))
  const mtu = (await link('eth0', pod))?.mtu
  await callFor(pod, 'DEL', config)
  return mtu
}
