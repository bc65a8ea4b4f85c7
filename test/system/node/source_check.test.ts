import { afterEach, describe, expect, it } from 'vitest'
import {
  arpPacket,
  frame,
  icmpv6Packet,
  ipPacket,
  neighbourPacket,
  udpPacket,
  vxlanPacket,
} from '../../support/node/forged_packets.ts'
import type { PluginOutput } from '../../support/node/plugin.ts'
import { callFor, expectSuccess, leftOver, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { send } from '../../support/node/raw_frames.ts'
import { link, NOTHING, ping } from '../../support/node/sandbox.ts'
import { until } from '../../support/until.ts'

/*
 * The key ipspoofchk: what a pod sends from an address that is not its own is dropped where it comes in. The packets are made
 * byte by byte and sent by a packet socket. Whether they pass is counted behind our rules by rules of nft that are none of ours.
 */
const IPAM = {
  type: 'bowline-ipam',
  ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
  routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
}
const NET = { cniVersion: '1.1.0', name: 'net', type: 'bowline', ipam: IPAM }
const L3 = { ...NET, mode: 'l3', ipMasq: true }
const L2 = { ...NET, bridge: 'br0', isGateway: true, ipspoofchk: true }
const OWN = { 4: '10.1.0.2', 6: 'fd00:1::2' }
const GATEWAY = { 4: '10.1.0.1', 6: 'fd00:1::1' }
const OTHER = { 4: '10.1.0.3', 6: 'fd00:1::3' }
const STRANGER = { 4: '192.0.2.9', 6: '2001:db8::9' }
const MULTICAST = { routers: 'ff02::2', reports: 'ff02::16', own: 'ff02::1:ff00:2', all: 'ff02::1' }

const [podA, podB] = usePods('pod-a', 'pod-b')
let config: object = L3
let host = ''
let macs = { pod: '', gateway: '' }

afterEach(async () => {
  for (const pod of [podA, podB]) expectSuccess(await callFor(pod, 'DEL', config))
  for (const family of ['inet', 'bridge']) run(`nft delete table ${family} probe 2>/dev/null || true`)
  expect(await leftOver()).toEqual(NOTHING)
})

async function attach(wanted: object, ...more: (typeof podA)[]): Promise<PluginOutput> {
  config = wanted
  const { output } = await callFor(podA, 'ADD', config)
  for (const pod of more) expectSuccess(await callFor(pod, 'ADD', config))
  host = output.interfaces?.find(({ name }) => name.startsWith('veth'))?.name ?? ''
  const bridge = (await link('br0'))?.address
  macs = {
    pod: (await link('eth0', podA))?.address ?? '',
    gateway: bridge ?? (await link(host))?.address ?? '',
  }
  return output
}

type Family = 'inet' | 'bridge'

/** The kernel itself checks IPv4 where it looks for the route. */
const HOOKS: Record<Family, (readonly [hook: string, what: string])[]> = {
  bridge: [['prerouting', '']],
  inet: [
    ['prerouting', 'meta nfproto ipv6'],
    ['input', 'meta nfproto ipv4'],
    ['forward', 'meta nfproto ipv4'],
  ],
}

function chainAt([hook, what]: readonly [hook: string, what: string]): string {
  return `  chain ${hook} {\n    type filter hook ${hook} priority -10\n    ${what} jump count\n  }`
}

/**
 * Returns how many of these frames pass; a frame that must pass goes behind them, and is waited for. The pod's own kernel, which
 * speaks of neighbours and multicast groups at times of its own, is silent meanwhile: its filter does not see a packet socket.
 */
async function passing(family: Family, frames: readonly Buffer[]): Promise<number> {
  run(
    `ip netns exec pod-a nft '${['inet', 'arp'].map((one) => `add table ${one} quiet; add chain ${one} quiet out { type filter hook output priority 0; policy drop; }`).join('; ')}'`,
  )
  run(`nft -f - <<'END'
table ${family} probe
delete table ${family} probe
table ${family} probe {
  counter seen {}
  counter last {}
  chain count {
    iifname "${host}" udp dport 4999 counter name last accept
    iifname "${host}" counter name seen
  }
${HOOKS[family].map(chainAt).join('\n')}
}
END`)
  const last = frame(macs.gateway, macs.pod, 'ip', udpPacket(OWN[4], GATEWAY[4], 4999))
  for (const one of [...frames, last]) await send(podA, 'eth0', one)
  await until('the last frame passes', () => counted(family, 'last') > 0)
  return counted(family, 'seen')
}

function counted(family: Family, name: string): number {
  return Number(/packets (\d+)/.exec(run(`nft list counter ${family} probe ${name}`))?.[1])
}

const toGateway = (type: 'ip' | 'ip6', packet: Buffer): Buffer => frame(macs.gateway, macs.pod, type, packet)
const udp = (from: string, to: string): Buffer =>
  toGateway(from.includes(':') ? 'ip6' : 'ip', udpPacket(from, to, 4000))
const nd = (from: string, to: string, type: 135 | 136, target: string): Buffer =>
  toGateway('ip6', neighbourPacket(from, to, type, target))
const empty = Buffer.alloc(4)

describe('a routed pod', () => {
  /** The node itself, and another pod. */
  const destinations = (family: 4 | 6) => [GATEWAY[family], OTHER[family]]

  it.each([4, 6] as const)(
    'sends from its own IPv%i address, and from no other, wherever to',
    async (family) => {
      await attach(L3, podB)
      const from = (source: string) => destinations(family).map((to) => udp(source, to))
      expect(await passing('inet', from(OWN[family]))).toBe(2)
      for (const forged of [OTHER[family], STRANGER[family], GATEWAY[family]])
        expect([forged, await passing('inet', from(forged))]).toEqual([forged, 0])
    },
  )

  it('says before it has an address what hosts say', async () => {
    await attach(L3)
    const multicast = [
      toGateway('ip6', icmpv6Packet('::', MULTICAST.routers, 133, empty)),
      toGateway('ip6', icmpv6Packet('::', MULTICAST.reports, 143, empty)),
      nd('::', MULTICAST.own, 135, OWN[6]),
      toGateway('ip', udpPacket('0.0.0.0', '255.255.255.255', 67)),
    ]
    expect(await passing('inet', multicast)).toBe(4)
    expect(await passing('inet', [udp('0.0.0.0', GATEWAY[4]), udp('::', GATEWAY[6])])).toBe(0)
  })

  it('has the outer source of an encapsulated packet checked, and the inner one is payload', async () => {
    await attach(L3)
    const inner = udpPacket(STRANGER[4], GATEWAY[4], 4000)
    const forms = (from: string) => [
      toGateway('ip', ipPacket(from, GATEWAY[4], 4, inner)),
      toGateway('ip', vxlanPacket(from, GATEWAY[4], 1, frame(macs.gateway, macs.pod, 'ip', inner))),
    ]
    expect(await passing('inet', forms(STRANGER[4]))).toBe(0)
    expect(await passing('inet', forms(OWN[4]))).toBe(2)
    // Nothing on the node unpacks it.
    expect(run('nft list table inet bowline')).toContain(
      'meta nfproto ipv6 iifgroup 98 fib saddr . iif oif missing drop',
    )
  })

  it('does not teach the node an address by ARP', async () => {
    await attach(L3)
    const claim = (ip: string) =>
      frame(macs.gateway, macs.pod, 'arp', arpPacket('asks', { mac: macs.pod, ip }, GATEWAY[4]))
    for (const ip of [OTHER[4], STRANGER[4], GATEWAY[4]]) await send(podA, 'eth0', claim(ip))
    expect(await passing('inet', [])).toBe(0)
    expect(
      run(`ip neigh show dev ${host} nud all`)
        .split('\n')
        .filter((line) => !/PERMANENT|NOARP/.test(line)),
    ).toEqual([])
  })

  it('is checked in IPv4 by the kernel itself when somebody has deleted the table', async () => {
    await attach(L3)
    expect(run(`sysctl -n net.ipv4.conf.${host}.rp_filter`)).toBe('1')
    run('nft delete table inet bowline; sysctl -qw net.ipv4.conf.all.rp_filter=0')
    const sources = [OTHER[4], STRANGER[4]]
    run(
      'nft -f - <<END\ntable inet probe {\n counter seen {}\n counter last {}\n chain in {\n type filter hook input priority 0\n udp dport 4000 counter name seen\n udp dport 4999 counter name last\n }\n}\nEND',
    )
    for (const from of sources) await send(podA, 'eth0', udp(from, GATEWAY[4]))
    await send(podA, 'eth0', frame(macs.gateway, macs.pod, 'ip', udpPacket(OWN[4], GATEWAY[4], 4999)))
    await until('the last packet arrives', () => counted('inet', 'last') > 0)
    expect(counted('inet', 'seen')).toBe(0)
  })

  it('is checked though net.ipv4.conf.all.rp_filter is 2, which makes that of each link loose', async () => {
    run('sysctl -qw net.ipv4.conf.all.rp_filter=2')
    await attach(L3)
    expect(await passing('inet', [udp(OTHER[4], GATEWAY[4]), udp(GATEWAY[4], GATEWAY[4])])).toBe(0)
    run('sysctl -qw net.ipv4.conf.all.rp_filter=0')
  })

  it('may send from each of its addresses, and forward where the key is false', async () => {
    await attach({ ...L3, ipspoofchk: false })
    expect(await passing('inet', [udp(STRANGER[4], GATEWAY[4]), udp(STRANGER[6], GATEWAY[6])])).toBe(2)
    expect(run(`sysctl -n net.ipv4.conf.${host}.rp_filter`)).toBe('0')
    expect(run('nft list table inet bowline')).not.toContain('pod-sources')
  })

  it('shares one rule with the others, which goes with the last of them, and comes back with the next', async () => {
    await attach({ ...L3, ipMasq: false }, podB)
    const rules = () => run('nft list ruleset').match(/iifgroup/g)?.length ?? 0
    expect(rules()).toBe(1)
    await callFor(podA, 'DEL', config)
    expect(rules()).toBe(1)
    run('nft delete table inet bowline')
    expectSuccess(await callFor(podA, 'ADD', config))
    expect(rules()).toBe(1)
    for (const pod of [podA, podB]) await callFor(pod, 'DEL', config)
    expect(run('nft list ruleset')).toBe('')
  })

  it.each([
    ['nft delete table inet bowline', /the rule that checks the sources of pods is missing/],
    ['nft flush chain inet bowline pod-sources', /the rule that checks the sources of pods is missing/],
    ['ip link set $HOST group 0', /veth\w+ on the host has the group 0 instead of 98/],
  ])('is told by CHECK when it is not checked any more: %s', async (damage, said) => {
    const prevResult = await attach({ ...L3, ipMasq: false })
    run(damage.replace('$HOST', host))
    const { output } = await callFor(podA, 'CHECK', { ...config, prevResult })
    expect(output.details).toMatch(said)
    for (const [, command = ''] of (output.details ?? '').matchAll(/\[run: (.*?)\](?=[;.])/g)) run(command)
    expect(await passing('inet', [udp(OTHER[4], GATEWAY[4]), udp(OTHER[6], GATEWAY[6])])).toBe(0)
    expectSuccess(await callFor(podA, 'CHECK', { ...config, prevResult }))
  })
})

describe('a pod on a bridge with ipspoofchk', () => {
  const arp = (mac: string, ip: string, target: string, what: 'asks' | 'says' = 'asks') =>
    frame('ff:ff:ff:ff:ff:ff', macs.pod, 'arp', arpPacket(what, { mac, ip }, target))

  it('reaches its gateway and other pods, and is reached', async () => {
    await attach(L2, podB)
    for (const target of [...Object.values(GATEWAY), ...Object.values(OTHER)])
      expect([target, (await ping(target, { from: podA })).answered]).toEqual([target, 1])
    for (const target of Object.values(OWN))
      expect([target, (await ping(target, { from: podB })).answered]).toEqual([target, 1])
  })

  it('sends IP, ARP and neighbour discovery of its own addresses, and what hosts say before they have one', async () => {
    await attach(L2)
    const fe80 = linkLocal()
    const own = [
      udp(OWN[4], OTHER[4]),
      udp(OWN[6], OTHER[6]),
      arp(macs.pod, OWN[4], OTHER[4]),
      arp(macs.pod, OWN[4], OWN[4], 'says'),
      arp(macs.pod, '0.0.0.0', OWN[4]),
      toGateway('ip', udpPacket('0.0.0.0', '255.255.255.255', 67)),
      nd(OWN[6], MULTICAST.all, 136, OWN[6]),
      nd(fe80, MULTICAST.all, 136, fe80),
      nd(fe80, MULTICAST.own, 135, OTHER[6]),
      nd('::', MULTICAST.own, 135, OWN[6]),
      toGateway('ip6', icmpv6Packet('::', MULTICAST.routers, 133, empty)),
      toGateway('ip6', icmpv6Packet('::', MULTICAST.reports, 143, empty)),
      toGateway('ip6', icmpv6Packet('::', MULTICAST.reports, 131, Buffer.alloc(20))),
    ]
    for (const [i, one] of own.entries()) {
      expect([i, await passing('bridge', [one])]).toEqual([i, 1])
    }
  })

  it('sends nothing else', async () => {
    await attach(L2)
    const [other, fe80] = ['02:66:66:66:66:66', linkLocal()]
    const forged = {
      'the IPv4 source of another pod': udp(OTHER[4], GATEWAY[4]),
      'the IPv4 source of the gateway': udp(GATEWAY[4], OTHER[4]),
      'an IPv4 source of nobody': udp(STRANGER[4], GATEWAY[4]),
      'an IPv6 source of another pod': udp(OTHER[6], GATEWAY[6]),
      'an IPv6 source of nobody': udp(STRANGER[6], GATEWAY[6]),
      'a link-local source of another': udp('fe80::bad', GATEWAY[6]),
      'no source': udp('0.0.0.0', GATEWAY[4]),
      'no IPv6 source': udp('::', GATEWAY[6]),
      'another MAC': frame(macs.gateway, other, 'ip', udpPacket(OWN[4], GATEWAY[4], 4000)),
      'an ARP answer for the gateway': arp(macs.pod, GATEWAY[4], OTHER[4], 'says'),
      'an ARP question from another pod': arp(macs.pod, OTHER[4], GATEWAY[4]),
      'ARP from another MAC': arp(other, OWN[4], OTHER[4]),
      'an ARP probe for the address of another': arp(macs.pod, '0.0.0.0', OTHER[4]),
      'an advertisement of another': nd(OWN[6], MULTICAST.all, 136, OTHER[6]),
      'an advertisement of the gateway': nd(fe80, MULTICAST.all, 136, GATEWAY[6]),
      'duplicate detection for another': nd('::', 'ff02::1:ff00:3', 135, OTHER[6]),
      'a solicitation from another': nd(OTHER[6], MULTICAST.all, 135, GATEWAY[6]),
      'IP-in-IP from another': toGateway(
        'ip',
        ipPacket(OTHER[4], GATEWAY[4], 4, udpPacket(OWN[4], GATEWAY[4], 4000)),
      ),
      'VXLAN from another': toGateway('ip', vxlanPacket(OTHER[4], GATEWAY[4], 1, udp(OWN[4], GATEWAY[4]))),
      'neither IP nor ARP': Buffer.from(
        frame(macs.gateway, macs.pod, 'ip', Buffer.alloc(50)).fill(0x88, 12, 14),
      ),
    }
    for (const [what, one] of Object.entries(forged))
      expect([what, await passing('bridge', [one])]).toEqual([what, 0])
  })

  it('can carry any packet within one of its own: the inner one is payload', async () => {
    await attach(L2)
    const inner = udpPacket(STRANGER[4], GATEWAY[4], 4000)
    expect(await passing('bridge', [toGateway('ip', ipPacket(OWN[4], GATEWAY[4], 4, inner))])).toBe(1)
  })

  it('is not checked without the key, as with the reference plugin', async () => {
    await attach({ ...L2, ipspoofchk: false })
    expect(await passing('bridge', [udp(OTHER[4], GATEWAY[4])])).toBe(1)
    expect(run('nft list ruleset')).not.toContain('ipspoofchk')
  })

  it('has two chains and an element, which say whose they are, beside those of macspoofchk', async () => {
    await attach({ ...L2, macspoofchk: true }, podB)
    const listing = run('nft list table bridge bowline')
    expect(listing).toContain('comment "pod-a eth0" : goto ip-')
    expect(listing.match(/chain (ip|nd|mac)-/g)).toHaveLength(6)
    await callFor(podA, 'DEL', config)
    expect(run('nft list table bridge bowline').match(/chain (ip|nd|mac)-/g)).toHaveLength(3)
  })

  it.each([
    ['nft delete table bridge bowline', /the sources 10\.1\.0\.2, fd00:1::2 are not checked/],
    ['nft flush map bridge bowline ipspoofchk', /the nftables element of veth\w+ is missing/],
    ['nft flush chain bridge bowline sources', /the rule that checks sources is missing/],
  ])('is told by CHECK when it is not checked any more: %s', async (damage, said) => {
    const prevResult = await attach(L2)
    run(damage)
    const { output } = await callFor(podA, 'CHECK', { ...config, prevResult })
    expect(output.details).toMatch(said)
    for (const [, command = ''] of (output.details ?? '').matchAll(/\[run: (.*?)\](?=[;.])/g)) run(command)
    expectSuccess(await callFor(podA, 'CHECK', { ...config, prevResult }))
    expect(await passing('bridge', [udp(OTHER[4], GATEWAY[4])])).toBe(0)
  })

  it.each([
    [', whose namespace is gone', 'ip netns del pod-a'],
    [', whose record is lost', 'rm /var/lib/cni/bowline/net/????????????????????????????????'],
    [', whose element is gone', 'nft flush map bridge bowline ipspoofchk'],
  ])('has nothing left after it%s', async (_, damage) => {
    await attach({ ...L2, macspoofchk: true })
    run(damage)
    expectSuccess(await callFor(podA, 'DEL', config))
    expect((await leftOver()).nftTables).toEqual([])
  })
})

function linkLocal(): string {
  const [a = 0, b, c, d, e, f] = macs.pod.split(':').map((part) => Number.parseInt(part, 16))
  const hex = (...bytes: (number | undefined)[]) =>
    bytes.map((one = 0) => one.toString(16).padStart(2, '0')).join('')
  return `fe80::${hex(a ^ 2, b)}:${hex(c, 0xff)}:${hex(0xfe, d)}:${hex(e, f)}`
}
