import { describe, expect, it } from 'vitest'
import {
  attach,
  check,
  expectGatewaysToAnswer,
  expectMended,
  type Mode,
  useCheckedPod,
} from '../../support/node/checked_pod.ts'
import { run } from '../../support/node/private_namespaces.ts'

/*
 * CHECK names each thing that somebody has taken away, and the command that brings it back: after the command CHECK must
 * pass, and the pod must reach its gateways.
 */
const OTHER_MAC = '02:66:66:66:66:66'
const pod = useCheckedPod()

/** What is taken away, and what CHECK says of it. `$HOST` is the pod's host interface. */
const POD: [string, string, RegExp][] = [
  [
    'its IPv4 address',
    'ip -n pod-a addr flush dev eth0 scope global',
    /address 10\.1\.0\.2\/\d+ is missing on eth0 in the pod/,
  ],
  [
    'its IPv6 address',
    'ip -n pod-a -6 addr flush dev eth0 scope global',
    /address fd00:1::2\/\d+ is missing on eth0 in the pod/,
  ],
  ['its default route', 'ip -n pod-a route del default', /route 0\.0\.0\.0\/0 via 10\.1\.0\.1 is missing/],
  ['its IPv6 default route', 'ip -n pod-a -6 route del default', /route ::\/0 via fd00:1::1 is missing/],
  [
    'the numbers of a route',
    'ip -n pod-a route change 10.9.0.0/24 via 10.1.0.1 dev eth0 metric 50',
    /route 10\.9\.0\.0\/24 via 10\.1\.0\.1 is missing or wrong/,
  ],
  [
    'the numbers of an IPv6 route',
    'ip -n pod-a -6 route change fd09::/64 via fd00:1::1 dev eth0 metric 50 mtu 1280',
    /route fd09::\/64 via fd00:1::1 is missing or wrong/,
  ],
  [
    'a route of another table',
    'ip -n pod-a route del 10.8.0.0/24 table 1000',
    /route 10\.8\.0\.0\/24 via 10\.1\.0\.1 is missing/,
  ],
  ['its link, which is down', 'ip -n pod-a link set eth0 down', /eth0 in the pod is down/],
  [
    'its MAC',
    `ip -n pod-a link set eth0 address ${OTHER_MAC}`,
    /eth0 in the pod has the MAC 02:66:66:66:66:66 instead of/,
  ],
  [
    'its transmit queue',
    'ip -n pod-a link set eth0 txqueuelen 10',
    /eth0 in the pod has a transmit queue of 10 instead of 3000/,
  ],
  [
    'IPv6',
    'ip netns exec pod-a sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1',
    /IPv6 is switched off on eth0 in the pod/,
  ],
  [
    'an MTU that the other end can take',
    'ip -n pod-a link set eth0 mtu 9000',
    /eth0 in the pod has an MTU of 9000, more than the 1400 of its other end/,
  ],
  ['its host link, which is down', 'ip link set $HOST down', /veth\w+ on the host is down/],
  [
    'the MTU of its host link',
    'ip link set $HOST mtu 1300',
    /veth\w+ on the host has an MTU of 1300 instead of 1400/,
  ],
  ['forwarding', 'sysctl -qw net.ipv4.ip_forward=0', /the node does not forward IPv4/],
  ['IPv6 forwarding', 'sysctl -qw net.ipv6.conf.all.forwarding=0', /the node does not forward IPv6/],
  [
    'its lease',
    'rm /var/lib/cni/networks/net/10.1.0.2',
    /address 10\.1\.0\.2 is not leased to this container/,
  ],
  [
    'its masquerade element',
    'nft flush map inet bowline subnets4',
    /10\.1\.0\.0\/24 is not masqueraded: its nftables element is missing/,
  ],
  [
    'its IPv6 masquerade element',
    'nft flush map inet bowline subnets6',
    /fd00:1::\/64 is not masqueraded: its nftables element is missing/,
  ],
  [
    'what its subnet does not masquerade',
    'nft list table inet bowline | grep -o "set subnet-[^ ]*" | cut -d" " -f2 | xargs -n1 nft flush set inet bowline',
    /what pods of 10\.1\.0\.0\/24 reach by their own addresses lacks 10\.1\.0\.0\/24/,
  ],
  [
    'the masquerade rules of its subnet',
    'nft list table inet bowline | grep -o "chain subnet-[^ ]*" | cut -d" " -f2 | xargs -n1 nft flush chain inet bowline',
    /the rules that masquerade 10\.1\.0\.0\/24 are missing/,
  ],
  [
    'the rules of the base chain',
    'nft flush chain inet bowline masquerade-pods',
    /the rules that masquerade pods are missing/,
  ],
  [
    'one rule of the base chain',
    'nft delete rule inet bowline masquerade-pods handle $(nft -a list chain inet bowline masquerade-pods | grep subnets6 | grep -o "[0-9]*$")',
    /the rules that masquerade pods are missing/,
  ],
  [
    'a table that has an effect',
    "nft 'add table inet bowline { flags dormant; }'",
    /table inet bowline is dormant: none of its rules has an effect \[run: nft 'add table inet bowline'\]/,
  ],
  [
    'a table that has an effect, and its base chain',
    "nft 'add table inet bowline { flags dormant; }; flush chain inet bowline masquerade-pods; delete chain inet bowline masquerade-pods'",
    /table inet bowline is dormant.*the rules that masquerade pods are missing/,
  ],
  ['the whole table', 'nft delete table inet bowline', /10\.1\.0\.0\/24 is not masqueraded/],
]

const L2_ONLY: [string, string, RegExp][] = [
  [
    'the route of its subnet',
    'ip -n pod-a route del 10.1.0.0/24',
    /route 10\.1\.0\.0\/24 is missing or wrong on eth0 in the pod/,
  ],
  [
    'the IPv6 route of its subnet',
    'ip -n pod-a -6 route del fd00:1::/64',
    /route fd00:1::\/64 is missing or wrong on eth0/,
  ],
  [
    'its default route and that of its subnet',
    'ip -n pod-a route del default; ip -n pod-a route del 10.1.0.0/24',
    /route 10\.1\.0\.0\/24 is missing.*route 0\.0\.0\.0\/0/,
  ],
  [
    'the bridge, of which it is no port any more',
    'ip link set $HOST nomaster',
    /veth\w+ is not a port of bridge br0/,
  ],
  ['hairpin mode', 'bridge link set dev $HOST hairpin off', /hairpin mode is off on veth/],
  ['its bridge, which is down', 'ip link set br0 down', /bridge br0 is down/],
  [
    'the bridge’s deafness to router advertisements',
    'sysctl -qw net.ipv6.conf.br0.accept_ra=1',
    /br0 on the host believes router advertisements/,
  ],
  ['its bridge, which is gone', 'ip link del br0', /bridge br0 is missing/],
  [
    'the gateway address',
    'ip addr del 10.1.0.1/24 dev br0',
    /address 10\.1\.0\.1\/24 is missing on br0 on the host/,
  ],
  [
    'the IPv6 gateway address',
    'ip addr del fd00:1::1/64 dev br0',
    /address fd00:1::1\/64 is missing on br0 on the host/,
  ],
  [
    'IPv6 on the bridge',
    'sysctl -qw net.ipv6.conf.br0.disable_ipv6=1',
    /IPv6 is switched off on br0 on the host/,
  ],
  [
    'forwarding from the bridge',
    'sysctl -qw net.ipv4.conf.br0.forwarding=0',
    /the node does not forward IPv4 from br0/,
  ],
  [
    'its element in the MAC check',
    'nft flush map bridge bowline macspoofchk',
    /the nftables element of veth\w+ is missing/,
  ],
  [
    'its rules in the MAC check',
    'nft -a list table bridge bowline | grep -o "mac-[0-9a-f]*" | sort -u | xargs -n1 nft flush chain bridge bowline',
    /nftables chain mac-\w+ is missing or wrong/,
  ],
  [
    'the rule of the MAC check',
    'nft flush chain bridge bowline prerouting',
    /the rule that checks MACs is missing/,
  ],
  [
    'a table of the MAC check that has an effect',
    "nft 'add table bridge bowline { flags dormant; }'",
    /table bridge bowline is dormant/,
  ],
  ['the whole table of the MAC check', 'nft delete table bridge bowline', /the MAC \S+ is not checked/],
]

const L3_ONLY: [string, string, RegExp][] = [
  [
    'the route to it',
    'ip route del 10.1.0.2',
    /route 10\.1\.0\.2\/32 is missing or wrong on veth\w+ on the host/,
  ],
  [
    'the source of the route to it',
    'ip route change 10.1.0.2 dev $HOST scope link',
    /route 10\.1\.0\.2\/32 is missing or wrong/,
  ],
  ['the IPv6 route to it', 'ip -6 route del fd00:1::2', /route fd00:1::2\/128 is missing or wrong/],
  [
    'the addresses of its gateways',
    'ip addr flush dev $HOST',
    /address 10\.1\.0\.1\/32 is missing on veth\w+ on the host/,
  ],
  [
    'the neighbour that it is to the host',
    'ip neigh del 10.1.0.2 dev $HOST',
    /neighbour 10\.1\.0\.2 is missing or wrong on veth\w+ on the host/,
  ],
  [
    'the right MAC of that neighbour',
    `ip neigh replace fd00:1::2 lladdr ${OTHER_MAC} dev $HOST nud permanent`,
    /neighbour fd00:1::2 is missing or wrong/,
  ],
  [
    'the neighbour that its gateway is',
    'ip -n pod-a neigh del 10.1.0.1 dev eth0',
    /neighbour 10\.1\.0\.1 is missing or wrong on eth0 in the pod/,
  ],
  [
    'the MAC that it sends to',
    `ip link set $HOST address ${OTHER_MAC}`,
    /veth\w+ on the host has the MAC 02:66:66:66:66:66 instead of/,
  ],
  [
    'forwarding from its link',
    'sysctl -qw net.ipv4.conf.$HOST.forwarding=0',
    /the node does not forward IPv4 from veth/,
  ],
]

describe.each<[Mode, [string, string, RegExp][]]>([
  ['l2', [...POD, ...L2_ONLY]],
  ['l3', [...POD, ...L3_ONLY]],
])('CHECK in mode %s names what a pod has lost, and the command that mends it:', (mode, losses) => {
  it.each(losses)('%s', async (_, takeAway, complaint) => {
    await attach(pod, mode)
    run(takeAway.replaceAll('$HOST', pod.host))
    const said = await check(pod, mode)
    expect(said).toMatchObject({ code: 102 })
    expect(said.details).toMatch(complaint)
    await expectMended(pod, said, mode)
    await expectGatewaysToAnswer(pod)
  })
})

it('CHECK turns the element of the MAC check back that leads to rules of somebody else', async () => {
  await attach(pod, 'l2')
  run(`nft 'add chain bridge bowline elsewhere; flush map bridge bowline macspoofchk;
    add element bridge bowline macspoofchk { "${pod.host}" : goto elsewhere }'`)
  const said = await check(pod, 'l2')
  expect(said.details).toMatch(/the nftables element of veth\w+ leads elsewhere/)
  await expectMended(pod, said, 'l2')
  run('nft delete chain bridge bowline elsewhere')
})

it('CHECK names the parts of a subnet that stand in the way of all of it', async () => {
  await attach(pod, 'l3')
  run(`nft 'flush map inet bowline subnets4; add chain inet bowline subnet-10.1.0.0/26;
    add element inet bowline subnets4 { 10.1.0.0/26 : goto subnet-10.1.0.0/26 }'`)
  const said = await check(pod, 'l3')
  expect(said.details).toMatch(/10\.1\.0\.0\/24 is not masqueraded/)
  await expectMended(pod, said, 'l3')
})
