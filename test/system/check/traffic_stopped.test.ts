import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { attach, check, expectMended, type Mode, useCheckedPod } from '../../support/node/checked_pod.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createNetns, createOutside, type Netns, removeNetns } from '../../support/node/sandbox.ts'

/*
 * What other programs have done on the node that stops the traffic of a pod. CHECK names it with the command that lets the
 * traffic pass again, and says nothing of what lets it pass: each case is tried with packets as well.
 */
const pod = useCheckedPod()
const [OUTSIDE_4, OUTSIDE_6, GATEWAY] = ['192.0.2.2', '2001:db8::2', '10.1.0.1']

beforeEach(() => void createOutside())
afterEach(() => {
  run(`for t in raw mangle filter; do for i in iptables-legacy ip6tables-legacy; do
      $i -t $t -F; $i -t $t -X; for c in PREROUTING FORWARD POSTROUTING; do $i -t $t -P $c ACCEPT 2>/dev/null || true; done
    done; done; nft flush ruleset; ip link del up0`)
  removeNetns('outside')
})

/** `nft` commands that make a base chain with this policy and these rules. */
const nft = (family: string, hook: string, policy: string, rules: readonly string[] = []) =>
  [
    `nft add table ${family} theirs`,
    `nft 'add chain ${family} theirs block { type filter hook ${hook} priority 0; policy ${policy}; }'`,
    ...rules.map((rule) => `nft 'add rule ${family} theirs block ${rule}'`),
  ].join('\n')

/** What stops the pod, and what CHECK says of it. The address is the one that the pod can not reach any more. */
type Stopped = readonly [name: string, commands: string, complaint: string, address: string]

const IPTABLES = 'nftables chain FORWARD of table ip filter drops what 10.1.0.0/24 sends'
const IP6TABLES = 'nftables chain FORWARD of table ip6 filter drops'
const LEGACY = 'chain FORWARD of table filter of iptables-legacy drops'
const LEGACY_6 = 'chain FORWARD of table filter of ip6tables-legacy drops'
const THEIRS_INET = 'nftables chain block of table inet theirs drops'
const THEIRS_IP = 'nftables chain block of table ip theirs drops'
const SENT = 'what 10.1.0.0/24 sends'

const BOTH: readonly Stopped[] = [
  [
    'forwarding is off on the uplink',
    'sysctl -qw net.ipv4.conf.up0.forwarding=0',
    'the node does not forward IPv4 from up0 ',
    OUTSIDE_4,
  ],
  ['iptables has a policy', 'iptables-nft -P FORWARD DROP', IPTABLES, OUTSIDE_4],
  ['ip6tables has a policy', 'ip6tables-nft -P FORWARD DROP', IP6TABLES, OUTSIDE_6],
  ['iptables rejects all', 'iptables-nft -A FORWARD -j REJECT', IPTABLES, OUTSIDE_4],
  [
    'iptables rejects all, but for other interfaces',
    `iptables-nft -A FORWARD -i docker0 -j ACCEPT; iptables-nft -A FORWARD -o docker0 -j ACCEPT
     iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
     iptables-nft -A FORWARD -s 10.2.0.0/16 -j ACCEPT; iptables-nft -P FORWARD DROP`,
    IPTABLES,
    OUTSIDE_4,
  ],
  [
    'a chain that iptables calls drops all',
    'iptables-nft -N X; iptables-nft -A X -j DROP; iptables-nft -A FORWARD ! -i lo -g X',
    IPTABLES,
    OUTSIDE_4,
  ],
  ['iptables of the older kind has a policy', 'iptables-legacy -P FORWARD DROP', LEGACY, OUTSIDE_4],
  ['ip6tables of the older kind has a policy', 'ip6tables-legacy -P FORWARD DROP', LEGACY_6, OUTSIDE_6],
  ['iptables of the older kind rejects all', 'iptables-legacy -A FORWARD -j REJECT', LEGACY, OUTSIDE_4],
  [
    'iptables of the older kind rejects all, but for others',
    `iptables-legacy -A FORWARD -i docker+ -j ACCEPT; iptables-legacy -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT
     iptables-legacy -N X; iptables-legacy -A X -s 10.2.0.0/16 -j ACCEPT; iptables-legacy -A FORWARD -j X
     iptables-legacy -A FORWARD -m comment --comment all -j DROP`,
    LEGACY,
    OUTSIDE_4,
  ],
  ['a table of family inet has a policy', nft('inet', 'forward', 'drop'), THEIRS_INET, OUTSIDE_6],
  ['a table of family ip has a policy', nft('ip', 'forward', 'drop'), THEIRS_IP, OUTSIDE_4],
  [
    'a table drops what is new, but for others',
    nft('inet', 'forward', 'accept', [
      'ct state established,related accept',
      'iifname "docker0" accept',
      'meta nfproto ipv6 accept',
      'ip saddr != 10.2.0.0/16 counter drop',
    ]),
    `${THEIRS_INET} ${SENT}`,
    OUTSIDE_4,
  ],
  [
    'a table lets pass what is in its sets and maps, and drops all else',
    nft('inet', 'forward', 'drop', [
      'ct state vmap { established : accept, related : accept, invalid : drop }',
      'iifname { "docker0", "lo" } accept',
      'ct status dnat accept',
      'ip saddr { 10.2.0.0/16, 192.168.0.0-192.168.3.77 } accept',
      'iifname . oifname { "lan0" . "up0" } accept',
    ]),
    `${THEIRS_INET} ${SENT}`,
    OUTSIDE_4,
  ],
  [
    'a table drops what comes from a set',
    nft('ip', 'forward', 'accept', [
      'iifname != { "docker0", "lo" } ip saddr { 10.0.0.0/8, 172.16.0.0/12 } drop',
    ]),
    `${THEIRS_IP} ${SENT}`,
    OUTSIDE_4,
  ],
  [
    'a table drops before the routing',
    nft('inet', 'prerouting', 'drop', ['iifname { "lo", "up0" } accept']),
    `${THEIRS_INET} ${SENT}`,
    OUTSIDE_4,
  ],
  [
    'iptables of the older kind drops the answers before the routing',
    'iptables-legacy -t raw -A PREROUTING -i up0 -j DROP',
    'chain PREROUTING of table raw of iptables-legacy drops the answers to 10.1.0.0/24',
    OUTSIDE_4,
  ],
  [
    'a table drops behind the routing',
    nft('ip6', 'postrouting', 'drop', ['oifname "lo" accept']),
    'nftables chain block of table ip6 theirs drops what fd00:1::/64 sends',
    OUTSIDE_6,
  ],
  [
    'ip6tables of the older kind drops behind the routing',
    'ip6tables-legacy -t mangle -P POSTROUTING DROP',
    'chain POSTROUTING of table mangle of ip6tables-legacy drops',
    OUTSIDE_6,
  ],
  [
    'a table drops the answers',
    nft('ip', 'forward', 'accept', ['iifname "up0" drop']),
    `${THEIRS_IP} the answers to 10.1.0.0/24`,
    OUTSIDE_4,
  ],
]

const TO_BRIDGE = 'nftables chain block of table bridge theirs drops what pods send to br0'
const L2: readonly Stopped[] = [
  ['a table of the bridge drops what comes to the node', nft('bridge', 'input', 'drop'), TO_BRIDGE, GATEWAY],
  [
    'a table of the bridge drops what comes to the node, but by another port',
    nft('bridge', 'input', 'accept', ['iifname "lan0" accept', 'drop']),
    TO_BRIDGE,
    GATEWAY,
  ],
]

describe.each<[Mode, readonly Stopped[]]>([
  ['l2', [...BOTH.filter((_, i) => i % 3 === 0), ...L2]],
  ['l3', BOTH],
])('CHECK in mode %s says what stops the pod when', (mode, cases) => {
  it.each(cases)('%s', async (_, commands, complaint, address) => {
    await attach(pod, mode)
    run(commands)
    expect(isCutFrom(address)).toBe(true)
    const said = await check(pod, mode)
    expect(said).toMatchObject({ code: 102, details: expect.stringContaining(complaint) })
    await expectMended(pod, said, mode)
    expect(reaches(address)).toBe(true)
  })
})

describe('CHECK in mode l2 says what cuts the pods of a bridge from each other:', () => {
  let neighbour: Netns
  beforeEach(() => {
    neighbour = createNetns('pod-b')
    run(`ip link add near type veth peer name eth0 netns pod-b; ip -n pod-b addr add 10.1.0.200/24 dev eth0
      ip -n pod-b link set eth0 up; ip link set near up`)
  })
  afterEach(() => {
    // With the namespace it would go in the kernel's own time.
    run('ip link del near')
    removeNetns(neighbour.name)
  })

  it.each<[string, string]>([
    ['iptables', 'iptables-nft -P FORWARD DROP'],
    ['iptables of the older kind', 'iptables-legacy -A FORWARD -j REJECT'],
    ['a table of family bridge', nft('bridge', 'forward', 'drop')],
  ])('%s', async (_, commands) => {
    const more = { isGateway: false, ipMasq: false, hairpinMode: false, macspoofchk: false }
    const only = { ...more, ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]] } }
    await attach(pod, 'l2', only)
    run(`ip link set near master br0; ${commands}`)
    expect(isCutFrom('10.1.0.200')).toBe(true)
    const said = await check(pod, 'l2', only)
    expect(said.details).toMatch(/drops what pods of bridge br0 send each other/)
    await expectMended(pod, said, 'l2', only)
    expect(reaches('10.1.0.200')).toBe(true)
  })

  it('and nothing when the bridge does not ask iptables', async () => {
    const more = { isGateway: false, ipMasq: false }
    await attach(pod, 'l2', more)
    run('ip link set near master br0; iptables-nft -P FORWARD DROP')
    run('sysctl -qw net.bridge.bridge-nf-call-iptables=0')
    expect(reaches('10.1.0.200')).toBe(true)
    expect(await check(pod, 'l2', more)).toEqual({})
    run('sysctl -qw net.bridge.bridge-nf-call-iptables=1')
  })
})

it('CHECK says what stops all but ICMP, as ufw does', async () => {
  const more =
    '-A FORWARD -p icmp -j ACCEPT; iptables-legacy -A FORWARD -p 1 -m limit --limit 3/min -j ACCEPT'
  await attach(pod, 'l3')
  run(`iptables-legacy -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables-legacy ${more}; iptables-legacy -A FORWARD -m limit --limit 3/min -j LOG; iptables-legacy -P FORWARD DROP
    iptables-nft -A FORWARD -p icmp -j ACCEPT; iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    iptables-nft -A FORWARD -j REJECT`)
  const said = await check(pod, 'l3')
  expect(said.details).toMatch(
    /nftables chain FORWARD of table ip filter drops what \S+ sends by TCP and UDP/,
  )
  expect(said.details).toMatch(/of iptables-legacy drops what \S+ sends by TCP and UDP/)
  await expectMended(pod, said, 'l3')
})

it('CHECK says what stops a pod that another plugin made', async () => {
  run(`ip link add theirs type veth peer name eth0 netns pod-a; ip link set theirs up
    ip -n pod-a addr add 10.1.0.9/24 dev eth0; ip -n pod-a link set eth0 up`)
  const prevResult = {
    cniVersion: '1.1.0',
    interfaces: [{ name: 'theirs' }, { name: 'eth0', sandbox: pod.netns.path }],
    ips: [{ address: '10.1.0.9/24', gateway: '10.1.0.1', interface: 1 }],
  }
  const more = { ipam: {}, mtu: 0, txQueueLen: undefined, macspoofchk: false, prevResult }
  await attach(pod, 'l2', more)
  const checked = { ...more, prevResult: pod.result }
  expect(await check(pod, 'l2', checked)).toEqual({})
  run(
    `iptables-nft -P FORWARD DROP; ${nft('bridge', 'forward', 'drop')}; sysctl -qw net.ipv4.conf.up0.forwarding=0`,
  )
  const said = await check(pod, 'l2', checked)
  expect(said.details).toMatch(/the node does not forward IPv4 from up0 /)
  expect(said.details).toMatch(/nftables chain FORWARD of table ip filter drops what 10\.1\.0\.0\/24 sends/)
  expect(said.details).toMatch(
    /nftables chain block of table bridge theirs drops what pods of bridge br0 send each other/,
  )
  await expectMended(pod, said, 'l2', checked)
  run('ip link del theirs')
})

const accepts = (...rules: string[]) =>
  ['iptables-nft', 'iptables-legacy']
    .flatMap((tool) => [...rules.map((rule) => `${tool} ${rule}`), `${tool} -P FORWARD DROP`])
    .join('\n')

const forwards = (...matches: string[]) => accepts(...matches.map((match) => `-A FORWARD ${match} -j ACCEPT`))

describe('CHECK passes where a policy drops, and a rule accepts', () => {
  it.each<[string, Mode, string]>([
    ['the subnet', 'l3', forwards('-s 10.1.0.0/16', '-d 10.1.0.0/16')],
    ['the bridge', 'l2', forwards('-i br0', '-o br0')],
    ['the pod', 'l3', forwards('-s 10.1.0.2', '-d 10.1.0.2')],
    ['interfaces of pods', 'l3', forwards('-i veth+', '-o veth+')],
    [
      'the state, in a chain that is called',
      'l2',
      accepts(
        '-N KUBE-FORWARD',
        '-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
        '-A KUBE-FORWARD -s 10.1.0.0/24 -m comment --comment "pods" -j ACCEPT',
        '-A FORWARD -m comment --comment "kube" -j KUBE-FORWARD',
      ),
    ],
    [
      'a mark',
      'l2',
      accepts('-t mangle -A PREROUTING -j MARK --set-mark 7', '-A FORWARD -m mark --mark 7 -j ACCEPT'),
    ],
    [
      'what is in a set, before all else is rejected',
      'l3',
      nft('inet', 'forward', 'drop', [
        'ct state established,related accept',
        'ip saddr { 10.1.0.0/24, 10.3.0.0/24 } accept',
        'ip6 saddr { fd00:1::/64 } accept',
        'reject',
      ]),
    ],
    ['by a map', 'l2', nft('ip', 'forward', 'drop', ['iifname vmap { "br0" : accept, "up0" : accept }'])],
    [
      'all, in a chain that it goes to',
      'l3',
      'iptables-nft -P FORWARD DROP; iptables-nft -N X; iptables-nft -A X -j ACCEPT; iptables-nft -A FORWARD -g X',
    ],
    ['frames of the bridge', 'l2', nft('bridge', 'forward', 'drop', ['iifname "veth*" accept'])],
  ])('%s (mode %s)', async (_, mode, commands) => {
    await attach(pod, mode)
    run(commands)
    expect(reaches(OUTSIDE_4)).toBe(true)
    expect(await check(pod, mode)).toEqual({})
  })

  it.each<[string, string]>([
    ['drops for one pod are somebody’s policy', 'iptables-nft -A FORWARD -s 10.1.0.2 -j DROP'],
    [
      'drops for other subnets',
      'iptables-nft -A FORWARD -s 10.1.1.0/24 -j DROP; iptables-nft -A FORWARD -i tun+ -j DROP',
    ],
    [
      'drops of a table that sleeps',
      `${nft('inet', 'forward', 'drop')}; nft 'add table inet theirs { flags dormant; }'`,
    ],
    [
      'drops for one port',
      'iptables-nft -A FORWARD -p tcp --dport 25 -j REJECT; iptables-legacy -A FORWARD -p udp -j DROP',
    ],
    [
      'drops before the routing what others send',
      `iptables-legacy -t raw -A PREROUTING -m rpfilter --invert -j DROP; iptables-legacy -t raw -A PREROUTING -i docker0 -j DROP
       ${nft('inet', 'prerouting', 'accept', ['fib saddr . iif oif missing drop', 'ct state invalid drop'])}`,
    ],
    ['drops of what is invalid', 'iptables-nft -A FORWARD -m conntrack --ctstate INVALID -j DROP'],
    ['drops in other hooks', 'iptables-nft -P INPUT DROP; iptables-legacy -P OUTPUT ACCEPT'],
  ])('or where it %s', async (_, commands) => {
    await attach(pod, 'l3')
    run(commands)
    expect(await check(pod, 'l3')).toEqual({})
  })
})

describe('CHECK and policy rules:', () => {
  afterEach(() =>
    run(
      'for ip in "ip -4" "ip -6"; do for n in 98 99 100 40000; do while $ip rule del pref $n; do :; done; done; done 2>/dev/null; true',
    ),
  )

  it.each<[Mode, string, string, string]>([
    [
      'l3',
      'ip rule add pref 100 from 10.1.0.0/16 prohibit',
      '(ip rule show) drops what 10.1.0.0/24',
      OUTSIDE_4,
    ],
    [
      'l3',
      'ip rule add pref 100 from 10.1.0.2 unreachable',
      '(ip rule show) drops what 10.1.0.0/24',
      OUTSIDE_4,
    ],
    [
      'l2',
      'ip -6 rule add pref 100 iif br0 blackhole',
      '(ip -6 rule show) drops what fd00:1::/64',
      OUTSIDE_6,
    ],
  ])('in mode %s one drops (%s)', async (mode, command, complaint, address) => {
    await attach(pod, mode)
    run(command)
    expect(isCutFrom(address)).toBe(true)
    const said = await check(pod, mode)
    expect(said).toMatchObject({
      code: 102,
      details: expect.stringContaining(`policy rule 100 ${complaint}`),
    })
    await expectMended(pod, said, mode)
    expect(reaches(address)).toBe(true)
  })

  it.each([
    [
      'of others',
      'ip rule add pref 100 from 10.2.0.0/16 prohibit; ip rule add pref 100 iif docker0 prohibit',
    ],
    ['behind the way out', 'ip rule add pref 40000 prohibit'],
    [
      'behind one that leads out',
      'ip rule add pref 98 to 10.1.0.0/16 lookup main; ip rule add pref 99 from 10.1.0.0/16 lookup main; ip rule add pref 100 prohibit',
    ],
    ['for some destinations', 'ip rule add pref 100 from 10.1.0.0/16 to 203.0.113.0/24 prohibit'],
  ])('nothing is said of those %s', async (_, commands) => {
    await attach(pod, 'l3')
    run(commands)
    expect(reaches(OUTSIDE_4)).toBe(true)
    expect(await check(pod, 'l3')).toEqual({})
  })
})

it('CHECK makes no table of the older iptables', async () => {
  const names = 'cat /proc/thread-self/net/ip_tables_names /proc/thread-self/net/ip6_tables_names | sort'
  const before = run(names)
  await attach(pod, 'l3')
  expect(await check(pod, 'l3')).toEqual({})
  expect(run(names)).toBe(before)
})

/** Tries again for a while: the neighbour may have been given up while nothing passed. */
function reaches(address: string): boolean {
  const ping = `ip netns exec pod-a ping -n -c 1 -W 0.4 ${address} >/dev/null`
  return run(`for i in 1 2 3 4 5 6; do ${ping} && echo yes && break; sleep 0.3; done; true`) === 'yes'
}

function isCutFrom(address: string): boolean {
  return run(`ip netns exec pod-a ping -n -c 1 -W 0.15 ${address} >/dev/null || echo cut`) === 'cut'
}
