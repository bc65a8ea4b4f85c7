import { beforeEach, describe, expect, it } from 'vitest'
import { parseAddress, parseCidr } from '../../src/core/address.ts'
import { parseMac } from '../../src/core/mac.ts'
import type { Change } from '../../src/kernel/kernel.ts'
import { ipAddress } from '../../src/kernel/nftables/datatypes.ts'
import { accept } from '../../src/kernel/nftables/expressions/verdicts.ts'
import { addElements, type NftTable, removeElements } from '../../src/kernel/nftables/objects.ts'
import { verdict } from '../../src/kernel/nftables/verdict.ts'
import { apply } from '../../src/state/apply.ts'
import type { Desired, Place } from '../../src/state/desired.ts'
import { difference } from '../../src/state/difference.ts'
import { explain } from '../../src/state/explain.ts'
import { observe } from '../../src/state/observe.ts'
import { FakeKernel } from '../fakes/kernel.ts'

/*
 * The engine, on objects of a node and of another namespace: what is missing is found, each with the command of a person
 * and the change that ends it.
 */
const [MAC, OTHER_MAC] = [parseMac('02:00:00:00:00:01'), parseMac('02:00:00:00:00:02')]
const TABLE: NftTable = { family: 'inet', name: 'ours' }
const MAP = { table: TABLE, name: 'm', key: ipAddress(4), data: verdict }
const [PREFIX, GATEWAY] = [parseCidr('10.9.0.0/24'), parseAddress('10.1.0.9')]

let kernel: FakeKernel
let host: Place
let pod: Place
let desired: Desired[]

beforeEach(() => {
  kernel = new FakeKernel({})
  kernel.makeNetns('/pod')
  host = { netns: kernel.host(), words: 'on the host', prefix: '' }
  pod = { netns: kernel.openNetns('/pod'), words: 'in the pod', prefix: 'nsenter --net=/pod ' }
  const ends = { host: { name: 'veth0', mac: MAC }, peer: { name: 'eth0', mac: MAC } }
  host.netns.apply([{ op: 'createVeth', ...ends, peerNetns: pod.netns, mtu: 1400 }])
  desired = objects()
})

/** In the order of creation. */
function objects(): Desired[] {
  const [br0, vlan] = [
    { place: host, link: 'br0' },
    { place: host, link: 'br0.7' },
  ]
  const [port, eth0] = [
    { place: host, link: 'veth0' },
    { place: pod, link: 'eth0' },
  ]
  const bridge = { type: 'bridge', mac: MAC, vlanFiltering: true } as const
  return [
    { kind: 'link', ...br0, create: bridge, up: true, vlanFiltering: true },
    { kind: 'sysctl', ...br0, leaf: 'accept_ra', value: '0', otherwise: 'br0 believes' },
    { kind: 'portVlans', ...br0, self: true, vlans: [{ from: 7, to: 7 }] },
    { kind: 'link', ...vlan, create: { type: 'vlan', parent: 'br0', id: 7 }, up: true },
    { kind: 'address', ...vlan, cidr: parseCidr('10.1.0.1/24'), noDad: true },
    { kind: 'link', ...port, up: true, mtu: 1400, master: 'br0', port: { hairpin: true, isolated: false } },
    {
      kind: 'portVlans',
      ...port,
      vlans: [
        { from: 7, to: 7, pvid: true, untagged: true },
        { from: 20, to: 29 },
      ],
      dropDefault: true,
    },
    { kind: 'address', ...eth0, cidr: parseCidr('10.1.0.2/24'), noDad: true },
    { kind: 'link', ...eth0, up: true, mac: MAC, maxMtu: 1400 },
    { kind: 'neighbour', ...eth0, address: GATEWAY, mac: OTHER_MAC },
    { kind: 'route', ...eth0, route: { dst: PREFIX, gateway: GATEWAY, mtu: 1300 }, anyTable: false },
    {
      kind: 'nftChain',
      chain: { table: TABLE, name: 'c', rules: [[accept]] },
      base: [
        { op: 'ensureTable', table: TABLE },
        { op: 'ensureSet', set: MAP },
      ],
      otherwise: 'chain c is missing',
    },
    {
      kind: 'nftElement',
      set: MAP,
      element: { key: GATEWAY, data: { goto: 'c' } },
      otherwise: 'the element',
    },
  ]
}

function found(): string[] {
  return difference(desired, observe(kernel, desired)).map((one) => explain(one, 'nothing helps'))
}

function repair(): void {
  const observed = observe(kernel, desired)
  apply(kernel, difference(desired, observed), observed)
}

describe('where nothing is yet', () => {
  it('all is named, with the commands that create it in their order', () => {
    expect(found()).toEqual([
      'bridge br0 is missing [run: ip link add name br0 address 02:00:00:00:00:01 type bridge vlan_filtering 1 && sysctl -w net.ipv6.conf.br0.accept_ra=0 && ip link set dev br0 up]',
      'bridge br0 is not in VLAN 7 itself [run: bridge vlan add dev br0 vid 7 self]',
      'link br0.7 is missing [run: ip link add link br0 name br0.7 type vlan id 7 && ip link set dev br0.7 up]',
      'address 10.1.0.1/24 is missing on br0.7 on the host [run: ip addr add 10.1.0.1/24 broadcast + dev br0.7]',
      'veth0 on the host is down [run: ip link set dev veth0 up]',
      'veth0 is not a port of bridge br0 [run: ip link set dev veth0 master br0 && bridge link set dev veth0 hairpin on]',
      'veth0 has lost its VLANs [run: bridge vlan del dev veth0 vid 1-4094 && bridge vlan add dev veth0 vid 7 pvid untagged && bridge vlan add dev veth0 vid 20-29]',
      'address 10.1.0.2/24 is missing on eth0 in the pod [run: nsenter --net=/pod ip addr add 10.1.0.2/24 broadcast + dev eth0]',
      'eth0 in the pod is down [run: nsenter --net=/pod ip link set dev eth0 up]',
      'neighbour 10.1.0.9 is missing or wrong on eth0 in the pod [run: nsenter --net=/pod ip neigh replace 10.1.0.9 lladdr 02:00:00:00:00:02 dev eth0 nud permanent]',
      'route 10.9.0.0/24 via 10.1.0.9 is missing or wrong on eth0 in the pod [run: nsenter --net=/pod ip route append 10.9.0.0/24 via 10.1.0.9 dev eth0 mtu 1300]',
      "chain c is missing [run: nft 'add table inet ours; add map inet ours m { type ipv4_addr : verdict; }; add chain inet ours c; flush chain inet ours c; add rule inet ours c accept']",
      "the element is missing [run: nft 'add element inet ours m { 10.1.0.9 : goto c }']",
    ])
  })

  it('all is made, and nothing is missing then', () => {
    repair()
    expect(found()).toEqual([])
  })
})

/** What is done to the objects, and all that is said then. */
const DAMAGES: readonly [string, (index: (name: string) => number) => Change[], readonly string[]][] = [
  [
    'a setting of a link',
    (index) => [{ op: 'setLink', link: { index: index('br0') }, vlanFiltering: false }],
    ['bridge br0 does not filter VLANs [run: ip link set dev br0 type bridge vlan_filtering 1]'],
  ],
  [
    'an MTU and port options',
    (index) => [{ op: 'setLink', link: { index: index('veth0') }, mtu: 1300, port: { hairpin: false } }],
    [
      'veth0 on the host has an MTU of 1300 instead of 1400 [run: ip link set dev veth0 mtu 1400]',
      'hairpin mode is off on veth0 [run: bridge link set dev veth0 hairpin on]',
    ],
  ],
  [
    'a VLAN of a range, and the default VLAN',
    (index) => [
      { op: 'removePortVlan', linkIndex: index('veth0'), vlan: { from: 25, to: 25 } },
      { op: 'addPortVlan', linkIndex: index('veth0'), vlan: { from: 1, to: 1 } },
    ],
    [
      'VLAN 20-29 is missing or wrong on veth0 [run: bridge vlan add dev veth0 vid 20-29]',
      'veth0 is in VLAN 1 as well [run: bridge vlan del dev veth0 vid 1]',
    ],
  ],
  [
    'a VLAN link, in whose place is another',
    (index) => [
      { op: 'removeLink', link: { name: 'br0.7' } },
      { op: 'createVlan', name: 'br0.7', parent: index('br0'), vlan: 8 },
    ],
    [
      'link br0.7 is not VLAN 7 of bridge br0 [run: ip link del dev br0.7]',
      'link br0.7 is missing [run: ip link add link br0 name br0.7 type vlan id 7 && ip link set dev br0.7 up]',
      'address 10.1.0.1/24 is missing on br0.7 on the host [run: ip addr add 10.1.0.1/24 broadcast + dev br0.7]',
    ],
  ],
]

describe('what somebody has changed', () => {
  beforeEach(repair)

  it.each(DAMAGES)('is named and mended: %s', (_, changes, said) => {
    host.netns.apply(changes((name) => host.netns.link({ name })?.index ?? 0))
    expect(found()).toEqual(said)
    repair()
    expect(found()).toEqual([])
  })

  it('is mended with what goes by the change: the neighbours of a link with another MAC', () => {
    pod.netns.apply([{ op: 'setLink', link: { name: 'eth0' }, mac: OTHER_MAC, mtu: 1500 }])
    const dev = 'dev eth0'
    expect(found()).toEqual([
      `eth0 in the pod has an MTU of 1500, more than the 1400 of its other end [run: nsenter --net=/pod ip link set ${dev} mtu 1400]`,
      `eth0 in the pod has the MAC 02:00:00:00:00:02 instead of 02:00:00:00:00:01 [run: nsenter --net=/pod ip link set ${dev} address 02:00:00:00:00:01 && nsenter --net=/pod ip neigh replace 10.1.0.9 lladdr 02:00:00:00:00:02 ${dev} nud permanent]`,
    ])
    repair()
    expect(found()).toEqual([])
  })

  it('is mended without a rival beside it: a route with other numbers', () => {
    const linkIndex = pod.netns.link({ name: 'eth0' })?.index ?? 0
    const route = { dst: PREFIX, gateway: GATEWAY, linkIndex }
    pod.netns.apply([{ op: 'addRoute', route: { ...route, mtu: 1200 }, replace: true }])
    expect(found()).toEqual([
      'route 10.9.0.0/24 via 10.1.0.9 is missing or wrong on eth0 in the pod [run: nsenter --net=/pod ip route del 10.9.0.0/24 via 10.1.0.9 dev eth0 && nsenter --net=/pod ip route append 10.9.0.0/24 via 10.1.0.9 dev eth0 mtu 1300]',
    ])
    repair()
    expect(found()).toEqual([])
  })

  it('is mended in one transaction: an element that leads elsewhere', () => {
    kernel.nftables.apply([
      { op: 'ensureChain', chain: { table: TABLE, name: 'd' } },
      removeElements(MAP, { key: GATEWAY }),
      addElements(MAP, { key: GATEWAY, data: { goto: 'd' } }),
    ])
    expect(found()).toEqual([
      "the element leads elsewhere [run: nft 'delete element inet ours m { 10.1.0.9 }; add element inet ours m { 10.1.0.9 : goto c }']",
    ])
    repair()
    expect(found()).toEqual([])
  })
})

it('the kernel is asked each question once, and is not asked about links that are known', () => {
  repair()
  const link = host.netns.link({ name: 'br0' })
  const questions: string[] = []
  kernel.onStep(({ phase, what }) => void (phase === 'before' && questions.push(what)))
  observe(kernel, desired, new Map([[host, link ? [link] : []]]))
  expect(questions.filter((one, i) => questions.indexOf(one) !== i)).toEqual([])
  expect(questions).not.toContain('read link br0')
})
