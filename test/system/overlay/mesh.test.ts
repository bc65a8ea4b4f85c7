import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { enterPrivateNamespaces, run } from '../../support/node/private_namespaces.ts'
import {
  clusterOf,
  commandsFor,
  createMesh,
  NODES,
  ping,
  planFor,
  podAddress,
  reconcile,
  reconcileAll,
  removeMesh,
  type Underlay,
} from '../../support/overlay/mesh.ts'

beforeAll(enterPrivateNamespaces)
beforeEach(createMesh)
afterEach(removeMesh)

const PAIRS = NODES.flatMap((from) => NODES.filter((to) => to !== from).map((to) => [from, to] as const))

describe('pods of all nodes reach each other', () => {
  it.each<[Underlay, number]>([
    ['ipv4', 1450],
    ['dual', 1450],
    ['ipv6', 1430],
  ])('with vxlan over an underlay of %s, by packets of up to %i bytes', (underlay, size) => {
    reconcileAll(clusterOf(underlay))
    for (const [from, to] of PAIRS) {
      ping(from, to, 4, size)
      ping(from, to, 6, size)
    }
    expect(linkOf(1).mtu).toBe(size)
  })

  it('with direct, by full packets where no router is between', () => {
    reconcileAll(clusterOf(), { backend: 'direct' })
    for (const family of [4, 6] as const) {
      ping(1, 2, family, 1500)
      ping(2, 1, family, 1500)
      ping(1, 3, family, 1450)
      ping(3, 2, family, 1450)
    }
  })

  it('with direct, by packets of the size that the configuration names', () => {
    reconcileAll(clusterOf(), { backend: 'direct', underlayMtu: 1400 })
    for (const family of [4, 6] as const) {
      ping(1, 2, family, 1400)
      expect(() => ping(1, 2, family, 1401)).toThrow()
      ping(1, 3, family, 1350)
    }
  })

  it('and a pod learns from its own node that packets by a tunnel are smaller', () => {
    reconcileAll(clusterOf(), { backend: 'direct' })
    for (const family of [4, 6] as const) {
      expect(() => ping(1, 3, family, 1500)).toThrow(/mtu( =|[ =]) ?1450/)
      const [near, far] = [2, 3].map((n) => run(`ip netns exec p1 ip route get ${podAddress[family](n)}`))
      expect([near?.includes('mtu'), far?.includes('mtu 1450')]).toEqual([false, true])
    }
  })

  it('with host-gw, but for those behind a router, which are named', () => {
    reconcileAll(clusterOf(), { backend: 'host-gw' })
    ping(1, 2, 4, 1500)
    ping(2, 1, 6, 1500)
    expect(planFor(1, clusterOf(), { backend: 'host-gw' }).problems).toMatchObject([
      { node: 'node3', range: '10.244.3.0/24', problem: expect.stringContaining('192.0.3.3') },
      { node: 'node3', range: 'fd00:244:3::/64', problem: expect.stringContaining('2001:db8:3::3') },
    ])
  })
})

describe('a node itself', () => {
  it.each(['vxlan', 'direct'] as const)('reaches pods of other nodes: %s', (backend) => {
    reconcileAll(clusterOf(), { backend })
    for (const address of ['10.244.2.2', 'fd00:244:2::2', '10.244.3.2', 'fd00:244:3::2']) {
      run(`ip netns exec n1 ping -c 1 -W 2 ${address}`)
    }
  })
})

describe('a VXLAN packet', () => {
  it('has a checksum in its outer header: kernels had given a wrong one to a translated packet without', () => {
    reconcileAll(clusterOf())
    expect(run('ip -n n1 -d link show bowline-vxlan')).toMatch(/ udpcsum /)
    reconcileAll(clusterOf('ipv6'))
    expect(run('ip -n n1 -d link show bowline-vxlan6')).toMatch(/ noudp6zerocsumtx /)
  })
})

describe('a node that is as planned', () => {
  it.each(['vxlan', 'direct', 'host-gw'] as const)('is left alone by the next run: %s', (backend) => {
    reconcileAll(clusterOf(), { backend })
    // The nodes of this test have one packet filter, which was that of node 3.
    reconcile(1, clusterOf(), { backend })
    expect(reconcile(1, clusterOf(), { backend })).toMatchObject({ changes: [], failures: [] })
  })

  it('has for each peer and family one route and one neighbour, and for each peer one forwarding entry', () => {
    reconcileAll(clusterOf())
    expect(lines('ip -n n1 route show proto 98')).toHaveLength(2)
    expect(lines('ip -n n1 -6 route show proto 98')).toHaveLength(2)
    expect(lines('ip -n n1 neigh show dev bowline-vxlan nud permanent')).toHaveLength(4)
    expect(lines('bridge -n n1 fdb show dev bowline-vxlan')).toHaveLength(2)
  })
})

/** Each is done on node 1; pods of node 2 must be reached again. */
const DAMAGE = {
  'a route deleted': 'ip -n n1 route del 10.244.2.0/24',
  'a route deleted, IPv6': 'ip -n n1 -6 route del fd00:244:2::/64',
  'a route replaced': 'ip -n n1 route replace 10.244.2.0/24 via 192.0.2.254',
  'a wrong gateway of ours': 'ip -n n1 route replace 10.244.2.0/24 via 192.0.2.254 proto 98',
  'a wrong gateway of ours, IPv6': 'ip -n n1 -6 route replace fd00:244:2::/64 via 2001:db8:2::fe proto 98',
  'a route duplicated': 'ip -n n1 route append 10.244.2.0/24 via 192.0.2.254 proto 98',
  'a foreign hop on a route, IPv6': 'ip -n n1 -6 route append fd00:244:2::/64 via 2001:db8:2::fe',
  'all routes flushed': 'ip -n n1 route flush proto 98; ip -n n1 -6 route flush proto 98',
  'a forwarding entry deleted': 'bridge -n n1 fdb del $(mac) dev bowline-vxlan dst 192.0.2.2 self',
  'a forwarding entry changed':
    'bridge -n n1 fdb replace $(mac) dev bowline-vxlan dst 192.0.2.99 self permanent',
  'a neighbour deleted': 'ip -n n1 neigh del 10.244.2.0 dev bowline-vxlan',
  'a neighbour changed':
    'ip -n n1 neigh replace 10.244.2.0 lladdr 02:00:00:00:00:99 nud permanent dev bowline-vxlan',
  'neighbours flushed': 'ip -n n1 neigh flush dev bowline-vxlan nud permanent',
  'the device deleted': 'ip -n n1 link del bowline-vxlan',
  'the device down': 'ip -n n1 link set bowline-vxlan down',
  'the MAC rewritten': 'ip -n n1 link set bowline-vxlan address 02:00:00:00:00:77',
  'the MTU rewritten': 'ip -n n1 link set bowline-vxlan mtu 1280',
  'the addresses flushed': 'ip -n n1 address flush dev bowline-vxlan',
  'another device of the name':
    'ip -n n1 link del bowline-vxlan; ip -n n1 link add bowline-vxlan type vxlan id 7 dstport 4789',
}

describe('damage is healed by one run', () => {
  it.each(Object.entries(DAMAGE))('%s', (_, damage) => {
    reconcileAll(clusterOf())
    const whole = state()
    run(`mac() { ip -n n2 -br link show bowline-vxlan | awk '{print $3}'; }; ${damage}`)
    const { changes, failures } = reconcile(1, clusterOf())
    expect(failures).toEqual([])
    expect(changes).not.toEqual([])
    ping(1, 2, 4, 1450)
    ping(1, 2, 6, 1450)
    ping(2, 1, 4, 1450)
    expect(state()).toEqual(whole)
    expect(reconcile(1, clusterOf()).changes).toEqual([])
  })
})

describe('a person with the commands of each difference', () => {
  it.each([
    ['makes everything', ''],
    ['mends a lost link', 'ip -n n1 link del bowline-vxlan'],
    [
      'mends a changed neighbour',
      `ip -n n1 neigh replace 10.244.2.0 lladdr 02:00:00:00:00:99 dev bowline-vxlan`,
    ],
  ])('%s', (_, damage) => {
    if (damage) {
      reconcileAll(clusterOf())
      run(damage)
    }
    for (const command of commandsFor(1, clusterOf())) run(command)
    expect(commandsFor(1, clusterOf())).toEqual([])
    for (const command of commandsFor(1, clusterOf('dual', [1, 3]))) run(command)
    expect(reconcile(1, clusterOf('dual', [1, 3])).changes).toEqual([])
  })
})

describe('what is stale', () => {
  it.each(['vxlan', 'direct', 'host-gw'] as const)(
    'goes with a node that has left the cluster: %s',
    (backend) => {
      reconcileAll(clusterOf(), { backend })
      reconcile(1, clusterOf('dual', [1, 3]), { backend })
      expect(lines('ip -n n1 route show proto 98; ip -n n1 -6 route show proto 98').join()).not.toContain(
        ':2:',
      )
      expect(state().filter((line) => /244[.:]2|192\.0\.2\.2/.test(line))).toEqual([])
      if (backend !== 'host-gw') ping(1, 3, 4)
    },
  )

  it.each([
    ['vxlan', 'host-gw'],
    ['host-gw', 'vxlan'],
    ['direct', 'vxlan'],
    ['vxlan', 'direct'],
  ] as const)('goes when the backend changes from %s to %s', (before, after) => {
    reconcileAll(clusterOf(), { backend: before })
    reconcileAll(clusterOf(), { backend: after })
    const changed = state()
    for (const family of [4, 6] as const) ping(1, 2, family)
    removeMesh()
    createMesh()
    reconcileAll(clusterOf(), { backend: after })
    expect(changed).toEqual(state())
  })

  it('goes when an address of a peer changes', () => {
    reconcileAll(clusterOf())
    const moved = clusterOf().map((node) =>
      node.name === 'node2' ? { ...node, addresses: clusterOf('ipv6')[1]?.addresses ?? [] } : node,
    )
    expect(reconcile(1, moved).failures).toEqual([])
    expect(lines('bridge -n n1 fdb show dev bowline-vxlan')).toHaveLength(1)
    expect(lines('bridge -n n1 fdb show dev bowline-vxlan6')).toHaveLength(1)
  })
})

describe('objects of other programs', () => {
  const OTHERS = `ip -n n1 route add 10.9.0.0/16 via 192.0.2.254
    ip -n n1 route add 10.244.9.0/24 via 192.0.2.254 proto 80
    ip -n n1 -6 route add fd00:9::/64 via 2001:db8:2::fe proto static
    ip -n n1 link add other type vxlan id 9 dstport 8472 nolearning; ip -n n1 link set other up
    bridge -n n1 fdb append 02:00:00:00:00:09 dev other dst 192.0.2.9
    ip -n n1 neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev eth0`

  it('stay through every change', () => {
    run(OTHERS)
    const before = othersOf()
    reconcileAll(clusterOf())
    reconcileAll(clusterOf(), { backend: 'direct' })
    reconcileAll(clusterOf('dual'), { backend: 'host-gw' })
    reconcile(1, clusterOf('dual', [1]))
    expect(othersOf()).toEqual(before)
  })
})

describe('a peer that cannot be reached', () => {
  it('stops no other', () => {
    const cluster = clusterOf()
    const bad = { name: 'bad', addresses: [], podCidrs: cluster[1]?.podCidrs ?? [] }
    const { problems } = planFor(1, [...cluster, bad], {})
    expect(problems.map(({ node }) => node)).toContain('node2')
    reconcileAll([...cluster.slice(0, 1), ...cluster.slice(1), { ...bad, podCidrs: [] }])
    ping(1, 3, 4)
  })
})

function lines(command: string): string[] {
  return run(command).split('\n').filter(Boolean)
}

function linkOf(n: number): { mtu: number } {
  return JSON.parse(run(`ip -n n${n} -j link | jq -c '[.[] | select(.ifname | startswith("bowline"))]'`))[0]
}

/** What node 1 has of the overlay, in no order that means anything. */
function state(): string[] {
  return [
    ...lines('ip -n n1 route show proto 98; ip -n n1 -6 route show proto 98'),
    ...lines('ip -n n1 -br link show bowline-vxlan 2>/dev/null || true'),
    ...lines('ip -n n1 -br address show bowline-vxlan 2>/dev/null || true'),
    ...lines('ip -n n1 neigh show nud permanent; bridge -n n1 fdb show | grep dst || true'),
  ].sort()
}

function othersOf(): string[] {
  return lines(`ip -n n1 route; ip -n n1 -6 route; ip -n n1 -d link show other
    bridge -n n1 fdb show dev other; ip -n n1 neigh show dev eth0 nud permanent`)
    .filter((line) => !line.includes('proto 98') && !line.includes('bowline'))
    .sort()
}
