import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as z from 'zod'
import { formatAddress, formatCidr, parseAddress, parseCidr } from '../../src/core/address.ts'
import type { LocalNode } from '../../src/overlay/backend.ts'
import type { ClusterNode } from '../../src/overlay/cluster.ts'
import { clusterNode as readNode } from '../../src/overlay/cluster_file.ts'
import { type OverlayConfig, readOverlayConfig } from '../../src/overlay/config.ts'
import { desiredOf, nextPlan, type OverlayPlan, planOverlay, setsOf } from '../../src/overlay/plan.ts'
import type { Desired } from '../../src/state/desired.ts'
import { createFakeKernel } from '../fakes/kernel.ts'

const place = { netns: createFakeKernel().host(), words: 'on the host', prefix: '' }

function clusterNode(name: string, addresses: string[], podCidrs: string[]): ClusterNode {
  return { name, addresses: addresses.map(parseAddress), podCidrs: podCidrs.map(parseCidr) }
}

const DEFAULTS = {
  backend: 'vxlan',
  vni: 4242,
  port: 4789,
  checksumOffload: 'auto',
  probePort: 19475,
  probeIntervalMs: 10_000,
  nonMasqueradeCIDRs: [],
}

const OWN = clusterNode('a', ['192.0.2.1', '2001:db8::1'], ['10.244.1.0/24', 'fd00:244:1::/64'])
const NEAR = clusterNode('b', ['192.0.2.2', '2001:db8::2'], ['10.244.2.0/24', 'fd00:244:2::/64'])
const FAR = clusterNode('c', ['198.51.100.3'], ['10.244.3.0/24', 'fd00:244:3::/64'])
const UPLINK = {
  index: 2,
  name: 'eth0',
  mtu: 1500,
  addresses: [parseCidr('192.0.2.1/24'), parseCidr('2001:db8::1/64')],
}

function plan(
  peers: readonly ClusterNode[],
  config: Partial<OverlayConfig> = {},
  own: Partial<LocalNode> = {},
): OverlayPlan {
  const node = {
    ...OWN,
    place,
    underlay: [UPLINK],
    config: { ...readOverlayConfig('{}'), ...config },
    ...own,
  }
  return planOverlay([OWN, ...peers], node)
}

/** The objects in short, such as `route 10.244.2.0/24 via 192.0.2.2 eth0`. */
const shown = (of: OverlayPlan): string[] => desiredOf(of).map(show)

function show(object: Desired): string {
  switch (object.kind) {
    case 'link':
      return `link ${object.link} ${object.mtu}`
    case 'address':
      return `address ${formatCidr(object.cidr)} ${object.link}`
    case 'neighbour':
      return `neighbour ${formatAddress(object.address)} ${object.link}`
    case 'fdbEntry':
      return `forward to ${formatAddress(object.destination)} ${object.link}`
    case 'route': {
      const { dst, gateway } = object.route
      return `route ${formatCidr(dst)} via ${gateway && formatAddress(gateway)} ${object.link}`
    }
    case 'checksumOffload':
      return `checksum offload ${object.isOn ? 'on' : 'off'} ${object.link}`
    default:
      return object.kind
  }
}

describe('the plan of a node', () => {
  it('is empty in a cluster of one', () => {
    expect(plan([])).toMatchObject({ links: [], problems: [] })
    expect(shown(plan([]))).toEqual([])
  })

  it('has the link first, then what a packet needs, and routes last', () => {
    expect(shown(plan([NEAR]))).toEqual([
      'link bowline-vxlan 1450',
      'checksum offload on bowline-vxlan',
      'address 10.244.1.0/32 bowline-vxlan',
      'address fd00:244:1::/128 bowline-vxlan',
      'neighbour 10.244.2.0 bowline-vxlan',
      'forward to 192.0.2.2 bowline-vxlan',
      expect.stringMatching(/^neighbour fe80::/),
      'route 10.244.2.0/24 via 10.244.2.0 bowline-vxlan',
      expect.stringMatching(/^route fd00:244:2::\/64 via fe80::/),
    ])
  })

  it('does not depend on the order of the list', () => {
    expect({ ...plan([FAR, NEAR]), cluster: [] }).toEqual({ ...plan([NEAR, FAR]), cluster: [] })
  })

  it('names the MAC of a peer as the peer names its own', () => {
    const macOf = (object: Desired | undefined) => (object?.kind === 'link' ? object.mac : undefined)
    const entry = desiredOf(plan([NEAR])).find(({ kind }) => kind === 'fdbEntry')
    const node = { ...NEAR, place, underlay: [], config: readOverlayConfig('{}') }
    const peer = planOverlay([OWN, NEAR], node)
    expect(entry?.kind === 'fdbEntry' && entry.mac).toBe(macOf(peer.links[0]))
  })

  it('has a second link for peers without IPv4, smaller by 20 bytes', () => {
    const six = { ...NEAR, addresses: NEAR.addresses.slice(1) }
    expect(shown(plan([six, FAR])).filter((one) => one.startsWith('link'))).toEqual([
      'link bowline-vxlan 1450',
      'link bowline-vxlan6 1430',
    ])
  })

  it('takes the MTU of the underlay from the configuration', () => {
    expect(shown(plan([NEAR], { underlayMtu: 9000 }))[0]).toBe('link bowline-vxlan 8950')
  })

  it('names no source that the node does not have, as behind a router that translates', () => {
    const [link] = plan([NEAR], {}, { underlay: [] }).links
    const create = link?.kind === 'link' && link.create
    expect(create).toMatchObject({ type: 'vxlan', mtu: 1450 })
    expect(create).toHaveProperty('options', { vni: 4242, port: 4789, learning: false })
  })

  it('is plain routes to peers on the same link, with direct, and VXLAN to others', () => {
    const routes = shown(plan([NEAR, FAR], { backend: 'direct' })).filter((one) => one.startsWith('route'))
    expect(routes.slice(0, 3)).toEqual([
      'route 10.244.2.0/24 via 192.0.2.2 eth0',
      'route fd00:244:2::/64 via 2001:db8::2 eth0',
      'route 10.244.3.0/24 via 10.244.3.0 bowline-vxlan',
    ])
  })

  it('can receive VXLAN with direct, as a peer on the same link may have a longer prefix, and sends none there', () => {
    const near = plan([NEAR], { backend: 'direct' })
    expect(shown(near)).toEqual([
      'link bowline-vxlan 1450',
      'checksum offload on bowline-vxlan',
      'address 10.244.1.0/32 bowline-vxlan',
      'address fd00:244:1::/128 bowline-vxlan',
      'route 10.244.2.0/24 via 192.0.2.2 eth0',
      'route fd00:244:2::/64 via 2001:db8::2 eth0',
    ])
    expect(near.guard.rules).toHaveProperty('vxlan-input')
    const six = { ...NEAR, addresses: NEAR.addresses.slice(1) }
    expect(shown(plan([six], { backend: 'direct' }))[0]).toBe('link bowline-vxlan6 1430')
  })
})

describe('the guard of a plan', () => {
  const rulesOf = (of: OverlayPlan, chain: string) =>
    of.guard.rules[chain]?.map((rule) => rule.map(({ text }) => text).join(' '))
  const nodes = (of: OverlayPlan) =>
    of.guard.sets.map(({ elements }) => elements.map(({ key }) => formatAddress(key.address)))

  it('lets in what the addresses of nodes send, those of plain routes too, and never its own', () => {
    const twin = { ...FAR, name: 'd', addresses: [...FAR.addresses, ...OWN.addresses] }
    const both = plan([NEAR, FAR, twin], { backend: 'direct' })
    expect(nodes(both)).toEqual([['192.0.2.2', '198.51.100.3'], ['2001:db8::2']])
    expect(rulesOf(both, 'vxlan-sources')?.slice(0, 2)).toEqual([
      'ip saddr @nodes4 ip daddr 192.0.2.1 iifname "eth0" return',
      'ip saddr @nodes4 ip daddr 192.0.2.1 fib saddr . iif oif exists return',
    ])
  })

  it('is for the port of the configuration', () => {
    expect(rulesOf(plan([NEAR], { port: 8472 }), 'vxlan-input')).toEqual([
      'udp dport 8472 ct state new,related goto vxlan-sources',
    ])
  })

  it('does not ask for the destination where a router translates it', () => {
    const far = plan([NEAR], {}, { underlay: [] })
    expect(rulesOf(far, 'vxlan-sources')?.[0]).toBe('ip saddr @nodes4 fib saddr . iif oif exists return')
  })

  it.each<[string, OverlayPlan]>([
    ['another backend', plan([NEAR], { backend: 'host-gw' })],
    ['no backend', plan([NEAR], { backend: 'none' })],
    ['no peers', plan([])],
  ])('is none with %s, where there is no tunnel', (_, without) => {
    expect(without.guard.rules).toEqual({})
    expect(setsOf(without)).toBe(without.sets)
  })
})

describe('an earlier plan', () => {
  const node = { ...OWN, place, underlay: [UPLINK], config: readOverlayConfig('{}') }
  const twin = { ...NEAR, name: 'bb', addresses: [parseAddress('192.0.2.22')] }

  it('gives what it has for peers that are the same, and nothing else', () => {
    const before = planOverlay([OWN, NEAR, FAR], node)
    const moved = { ...FAR, addresses: [parseAddress('198.51.100.33')] }
    const after = nextPlan(before, [OWN, NEAR, moved]).plan
    expect(after.peers.get('b')).toBe(before.peers.get('b'))
    expect(after).toEqual(planOverlay([OWN, NEAR, moved], node))
  })

  it('does not hide that a rival has come or gone', () => {
    const alone = planOverlay([OWN, twin], node)
    const both = nextPlan(alone, [OWN, NEAR, twin]).plan
    expect(both).toEqual(planOverlay([OWN, NEAR, twin], node))
    expect(nextPlan(both, [OWN, twin]).plan).toEqual(alone)
  })
})

it('steps from one cluster to the next lead to the plans that are made at once, and name all that differs', () => {
  const node = { ...OWN, place, underlay: [UPLINK], config: readOverlayConfig('{"backend":"direct"}') }
  // Few values, so that nodes often want the same.
  const texts = fc.record({
    name: fc.constantFrom('b', 'c', 'd', 'e'),
    internalIps: fc.subarray(['192.0.2.2', '198.51.100.3', '2001:db8::2', '2001:db8::3']),
    podCidrs: fc.subarray([
      '10.244.2.0/24',
      '10.244.2.0/23',
      '10.244.3.0/24',
      'fd00:244:2::/64',
      '192.0.2.0/24',
      'x',
    ]),
  })
  const nodes = fc.uniqueArray(texts.map(readNode), { selector: ({ name }) => name })
  fc.assert(
    fc.property(fc.array(nodes, { minLength: 1, maxLength: 6 }), (clusters) => {
      let current = planOverlay([OWN], node)
      for (const peers of clusters) {
        // Some are the same values as before.
        const known = new Map(current.cluster.map((one) => [JSON.stringify(textOf(one)), one]))
        const cluster = [OWN, ...peers].map((one) => known.get(JSON.stringify(textOf(one))) ?? one)
        const { plan: next, changed } = nextPlan(current, cluster)
        expect(next).toEqual(planOverlay(cluster, node))
        for (const [name, peer] of next.peers)
          expect(changed.has(name)).toBe(peer !== current.peers.get(name))
        for (const name of current.peers.keys()) expect(changed.has(name) || next.peers.has(name)).toBe(true)
        current = next
      }
    }),
  )
})

const textOf = ({ name, addresses, podCidrs, mistakes }: ClusterNode) => [
  name,
  addresses.map(formatAddress),
  podCidrs.map(formatCidr),
  mistakes,
]

describe('a peer that cannot be reached', () => {
  it.each<[string, ClusterNode, string]>([
    ['has no address', { ...NEAR, addresses: [] }, 'its addresses are of no family'],
    ['has our range', { ...NEAR, podCidrs: OWN.podCidrs }, 'overlaps with that of this node'],
    ['has a range around ours', { ...NEAR, podCidrs: [parseCidr('10.244.0.0/16')] }, 'overlaps'],
    [
      'has a range with nodes in it',
      { ...NEAR, podCidrs: [parseCidr('192.0.0.0/16')] },
      'addresses of nodes',
    ],
    ['has our address', { ...NEAR, addresses: OWN.addresses }, 'an address of this node'],
  ])('because it %s is named, and stops no other', (_, bad, problem) => {
    const made = plan([bad, FAR])
    const { problems } = made
    expect(problems).toHaveLength(bad.podCidrs.length)
    expect(problems[0]).toMatchObject({ node: 'b', problem: expect.stringContaining(problem) })
    expect(desiredOf(made).filter(({ kind }) => kind === 'route')).toHaveLength(2)
  })

  it('because another node has the same range is the later one by name', () => {
    const twin = { ...NEAR, name: 'bb', addresses: [parseAddress('192.0.2.22')] }
    expect(plan([twin, NEAR]).problems).toMatchObject([
      { node: 'bb', problem: 'a range of node b begins at the same address' },
      { node: 'bb' },
    ])
    const inside = { ...twin, podCidrs: [parseCidr('10.244.2.0/25')] }
    expect(plan([inside, NEAR]).problems).toMatchObject([{ node: 'bb' }])
  })

  it('for certain, because another node has the same address, is programmed and named', () => {
    const twin = { ...FAR, name: 'd', podCidrs: [parseCidr('10.244.4.0/24')] }
    const made = plan([FAR, twin])
    expect(made.problems).toMatchObject([{ node: 'd', problem: 'node c has the same address' }])
    expect(desiredOf(made).filter(({ kind }) => kind === 'route')).toHaveLength(3)
  })

  it('in part, because its Node says what is no range, is named and reached by the rest', () => {
    const texts = { name: 'b', internalIps: ['192.0.2.2'], podCidrs: ['10.244.2.0/33', 'fd00:244:2::/64'] }
    const made = plan([readNode(texts), FAR])
    expect(made.problems).toMatchObject([
      { node: 'b', range: '10.244.2.0/33', hint: expect.stringContaining('kubectl') },
    ])
    expect(desiredOf(made).filter(({ kind }) => kind === 'route')).toHaveLength(3)
  })

  it('with host-gw for lack of an address of the family concerns that family only', () => {
    const four = { ...NEAR, addresses: NEAR.addresses.slice(0, 1) }
    const made = plan([four], { backend: 'host-gw' })
    const { problems } = made
    expect(problems).toMatchObject([{ range: 'fd00:244:2::/64', problem: 'it has no IPv6 address' }])
    expect(shown(made)).toEqual(['route 10.244.2.0/24 via 192.0.2.2 eth0'])
  })
})

describe('the sets of what is not masqueraded', () => {
  it('have the ranges of all nodes, and what the configuration adds, each once and with its owner', () => {
    const nonMasqueradeCIDRs = ['10.244.2.0/23', '192.168.0.0/16'].map(parseCidr)
    const setsOf = ({ sets }: OverlayPlan) =>
      sets.map(({ elements }) => elements.map(({ key, comment }) => `${formatCidr(key)} ${comment}`))
    expect(setsOf(plan([FAR, NEAR], { nonMasqueradeCIDRs }))).toEqual([
      ['10.244.1.0/24 node a', '10.244.2.0/23 overlay.json', '192.168.0.0/16 overlay.json'],
      ['fd00:244:1::/64 node a', 'fd00:244:2::/64 node b', 'fd00:244:3::/64 node c'],
    ])
    const wrong = clusterNode('d', [], ['192.0.2.0/24'])
    expect(setsOf(plan([wrong]))).toEqual([['10.244.1.0/24 node a'], ['fd00:244:1::/64 node a']])
  })
})

describe('the backend none', () => {
  it('makes nothing, but knows the cluster', () => {
    const made = plan([NEAR, FAR], { backend: 'none' })
    expect(shown(made)).toEqual([])
    expect(made.problems).toEqual([])
    expect(made.sets[0]?.elements).toHaveLength(3)
  })
})

describe('the configuration', () => {
  it('has a default for every key but the MTU, which follows the uplink', () => {
    expect(readOverlayConfig('{}')).toEqual(DEFAULTS)
    const given = '{"$schema":"x","port":8472,"underlayMtu":9000,"nonMasqueradeCIDRs":["10.0.0.0/8"]}'
    expect(readOverlayConfig(given)).toMatchObject({
      port: 8472,
      underlayMtu: 9000,
      nonMasqueradeCIDRs: [parseCidr('10.0.0.0/8')],
    })
  })

  it('is read as the schema for editors says', () => {
    const schema = JSON.parse(
      readFileSync(new URL('../../conf/overlay.schema.json', import.meta.url), 'utf8'),
    )
    const editors = z.fromJSONSchema(schema)
    for (const text of ['{}', '{"backend":"direct"}', ...WRONG.map(([one]) => one)]) {
      const isValid = (read: () => unknown) => {
        try {
          read()
          return true
        } catch {
          return false
        }
      }
      const [ours, theirs] = [() => readOverlayConfig(text), () => editors.parse(JSON.parse(text))].map(
        isValid,
      )
      expect([text, ours]).toEqual([text, theirs])
    }
  })

  const WRONG = [
    ['{', 'overlay.json is not valid: '],
    ['[]', 'it is no JSON object'],
    ['{"backent":"vxlan"}', '"backent" is no key; there are $schema, backend, vni, port, underlayMtu'],
    [
      '{"backend":"wireguard"}',
      'key "backend": "wireguard" is not one of "vxlan", "direct", "host-gw", "none"',
    ],
    ['{"vni":0}', 'key "vni": 0 is not an integer from 1 to 16777215'],
    ['{"port":"4789"}', 'key "port": "4789" is not an integer from 1 to 65535'],
    ['{"underlayMtu":1280}', 'key "underlayMtu": 1280 is not an integer from 1350'],
    ['{"nonMasqueradeCIDRs":["10.0.0.0"]}', 'key "nonMasqueradeCIDRs[0]": "10.0.0.0" is not an address'],
  ] as const

  it('the port of VXLAN is none to measure by, which no schema can say', () => {
    expect(() => readOverlayConfig('{"probePort":4789}')).toThrow(
      'key "probePort": 4789 is the "port" of VXLAN',
    )
  })

  it.each(WRONG)('%s is refused by name', (text, why) => {
    expect(() => readOverlayConfig(text)).toThrow(why)
  })
})
