import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { frame, udpPacket, vxlanPacket } from '../../support/node/forged_packets.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { send } from '../../support/node/raw_frames.ts'
import { enterSandbox } from '../../support/node/sandbox.ts'
import { type MeshOfAgents, startMeshOfAgents } from '../../support/overlay/agents.ts'
import { nodeAddress, ping, podAddress } from '../../support/overlay/mesh.ts'
import { until } from '../../support/until.ts'

/*
 * A packet within VXLAN that no node has sent is not unpacked, whoever sends it. The packets are made byte by byte; the inner ones say that
 * they are from a pod of node 3, which is behind a router, and are counted where they arrive. Each arrives if the rules are away.
 */
const VNI = 4242
const INNER_PORT = 4000
const STRANGER = '192.0.2.254'
const SECOND = '192.0.2.22'
const SERVICE = '198.51.100.53'

let mesh: MeshOfAgents

const on = (namespace: string, command: string): string =>
  run(`nsenter --net=/run/netns/${namespace} -- ${command}`)
const rules = (n: number): string => on(`n${n}`, 'nft list table inet bowline 2>/dev/null || true')
const routes = (n: number): string[] =>
  run(`ip -n n${n} route show proto 98; ip -n n${n} -6 route show proto 98`).trim().split('\n')
const macOf = (namespace: string, link: string): string =>
  /link\/ether (\S+)/.exec(run(`ip -n ${namespace} link show ${link}`))?.[1] ?? ''

async function start(config: Readonly<Record<string, unknown>>, families?: readonly (4 | 6)[]) {
  mesh = startMeshOfAgents({ probeIntervalMs: 0, ...config }, families)
  for (const n of [1, 2, 3]) {
    on(
      `n${n}`,
      'sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.pod.rp_filter=0',
    )
    on(
      `p${n}`,
      `nft 'table inet seen { counter inner {}; counter last {}; chain in { type filter hook input priority 0;
      udp dport ${INNER_PORT} counter name inner; udp dport 4999 counter name last; }; }'`,
    )
  }
  run(`ip -n n2 address add ${SECOND}/24 dev eth0`)
  // As the plugin does it for its own pods, and another program may do: the pod's packet leaves with the address of the node.
  on(
    'n1',
    `nft 'table ip masquerades { chain out { type nat hook postrouting priority 100; ip saddr 10.244.1.0/24 oifname eth0 masquerade; };
    chain in { type nat hook prerouting priority -100; ip daddr ${SERVICE} udp dport 4789 dnat to ${nodeAddress[4](2)}; }; }'`,
  )
  await until('the rules of all nodes', () => [1, 2, 3].every((n) => isGuarded(n)))
  // They are there before the routes: two to each of two other nodes.
  await until('the routes of all nodes', () => [1, 2, 3].every((n) => routes(n).length === 4))
}

const isGuarded = (n: number): boolean =>
  /hook input.*\n.*goto vxlan-sources/.test(rules(n)) && /node node[12]/.test(rules(n))

type Sender = {
  readonly what: string
  /** The namespace, and the address that the outer packet is from and to. */
  readonly by: 'p1' | 'router'
  readonly from: string
  readonly to: string
  /** The node that would unpack it, and the chain that drops it: of the node in whose rules it is. */
  readonly at: 1 | 2
  readonly dropped: readonly [node: 1 | 2, chain: string]
}

const SENDERS: readonly Sender[] = [
  {
    what: 'a pod to another node, with the address of its own node, as masquerading makes it',
    by: 'p1',
    from: podAddress[4](1),
    to: nodeAddress[4](2),
    at: 2,
    dropped: [1, 'vxlan-destinations'],
  },
  {
    what: 'a pod to an address that leads to another node by a translation',
    by: 'p1',
    from: podAddress[4](1),
    to: SERVICE,
    at: 2,
    dropped: [1, 'vxlan-destinations'],
  },
  {
    what: 'a pod to another address of another node',
    by: 'p1',
    from: podAddress[4](1),
    to: SECOND,
    at: 2,
    dropped: [2, 'vxlan-sources'],
  },
  {
    what: 'a pod to its own node',
    by: 'p1',
    from: podAddress[4](1),
    to: nodeAddress[4](1),
    at: 1,
    dropped: [1, 'vxlan-sources'],
  },
  {
    what: 'a pod to its own node, with the address of another node',
    by: 'p1',
    from: nodeAddress[4](3),
    to: nodeAddress[4](1),
    at: 1,
    dropped: [1, 'vxlan-sources'],
  },
  {
    what: 'a pod to its gateway',
    by: 'p1',
    from: podAddress[4](1),
    to: '10.244.1.1',
    at: 1,
    dropped: [1, 'vxlan-sources'],
  },
  {
    what: 'a pod to the tunnel address of another node, by the tunnel',
    by: 'p1',
    from: podAddress[4](1),
    to: '10.244.2.0',
    at: 2,
    dropped: [2, 'vxlan-sources'],
  },
  {
    what: 'a machine that is no node',
    by: 'router',
    from: STRANGER,
    to: nodeAddress[4](2),
    at: 2,
    dropped: [2, 'vxlan-sources'],
  },
]

/** As its packets come from the router. */
const FROM_NODE_3 = { by: 'router', from: nodeAddress[4](3) } as const

type Forged = Omit<Sender, 'what' | 'dropped'> & { readonly gateway?: string }

/** Sends a packet within VXLAN. */
async function forge({ by, from, to, at, gateway }: Forged): Promise<void> {
  const vxlan = from.includes(':') ? 'bowline-vxlan6' : 'bowline-vxlan'
  const inner = frame(
    macOf(`n${at}`, vxlan),
    '02:00:00:00:00:77',
    'ip',
    udpPacket('10.244.3.77', podAddress[4](at), INNER_PORT),
  )
  const [link, next] = by === 'router' ? ['ul', macOf(`n${at}`, 'eth0')] : ['eth0', macOf('n1', 'pod')]
  const outer = vxlanPacket(from, to, VNI, inner)
  const type = from.includes(':') ? 'ip6' : 'ip'
  const packet = frame(gateway ?? next, '02:00:00:00:00:66', type, outer)
  await send({ name: by, path: `/run/netns/${by}` }, link, packet)
}

function counted(at: number, name: 'inner' | 'last'): number {
  return Number(/packets (\d+)/.exec(on(`p${at}`, `nft list counter inet seen ${name}`))?.[1])
}

function dropsOf(node: number, chain: string): number {
  const text = on(`n${node}`, `nft list chain inet bowline ${chain}`)
  return Number(/counter packets (\d+) bytes \d+ drop/.exec(text)?.[1])
}

beforeAll(enterSandbox)

describe('VXLAN over IPv4', () => {
  beforeAll(() => start({}))
  afterAll(() => mesh.end())

  it('carries what pods of nodes send each other, by both families', () => {
    for (const [from, to] of [
      [1, 2],
      [2, 1],
      [1, 3],
      [3, 2],
    ] as const) {
      for (const family of [4, 6] as const) ping(from, to, family)
    }
  })

  it.each(SENDERS)('is not unpacked from $what', async (sender) => {
    const { at, dropped } = sender
    const [before, drops] = [counted(at, 'inner'), dropsOf(...dropped)]
    await forge(sender)
    await until('the rule that drops it', () => dropsOf(...dropped) === drops + 1)
    expect(counted(at, 'inner')).toBe(before)
    // Without the rules it arrives.
    for (const { agent } of mesh.nodes) agent.kill('SIGSTOP')
    for (const n of [1, 2]) {
      on(`n${n}`, "nft 'flush chain inet bowline vxlan-input; flush chain inet bowline vxlan-output'")
    }
    await forge(sender)
    await until('the inner packet', () => counted(at, 'inner') === before + 1)
    for (const { agent } of mesh.nodes) agent.kill('SIGCONT')
    await until('the rules again', () => [1, 2].every(isGuarded))
    // What began meanwhile is forgotten.
    await forge(sender)
    await until('the rule that drops it', () => dropsOf(...dropped) === 1)
    expect(counted(at, 'inner')).toBe(before + 1)
  })

  it('is unpacked from another node, by whatever way it comes, until that node leaves the cluster', async () => {
    const [before, byNode1] = [counted(2, 'inner'), macOf('n1', 'eth0')]
    await forge({ ...FROM_NODE_3, to: nodeAddress[4](2), at: 2 })
    await forge({ ...FROM_NODE_3, to: nodeAddress[4](2), at: 2, gateway: byNode1 })
    await until('two inner packets', () => counted(2, 'inner') === before + 2)
    const [, second] = mesh.nodes
    second?.server.removeNode('node3')
    await until('its end', () => !rules(2).includes('node node3'))
    await forge({ ...FROM_NODE_3, to: nodeAddress[4](2), at: 2 })
    await until('the rule that drops it', () => dropsOf(2, 'vxlan-sources') > 0)
    expect(counted(2, 'inner')).toBe(before + 2)
  })

  it('from strangers is told to people, with their addresses', async () => {
    await forge({ by: 'router', from: STRANGER, to: nodeAddress[4](2), at: 2 })
    await until('its name', () => on('n2', 'nft list set inet bowline strangers4').includes(STRANGER))
    // Any comparison of everything sees it.
    run('ip -n n2 route flush proto 98')
    await until('the finding', () => mesh.view(2).findings.some(({ message }) => message.includes(STRANGER)))
    expect(mesh.bowline(2, 'doctor')).toMatch(
      /! overlay: 192\.0\.2\.254 sends packets of the overlay to this node and is the address of no node .*\n.*--node-ip=192\.0\.2\.254/,
    )
  })

  it('of another program passes between nodes, and the port of a node that leads to a pod is open to everybody', async () => {
    for (const [n, peer] of [
      [1, 2],
      [2, 1],
    ] as const) {
      run(`ip -n n${n} link add other type vxlan id 99 dstport 4789 nolearning local ${nodeAddress[4](n)} remote ${nodeAddress[4](peer)}
        ip -n n${n} address add 172.31.0.${n}/24 dev other; ip -n n${n} link set other up`)
    }
    on('n1', 'ping -c 1 -W 2 172.31.0.2')
    on('n2', 'ping -c 1 -W 2 172.31.0.1')
    const pod = `${podAddress[4](2)}:${INNER_PORT}`
    on(
      'n2',
      `nft 'table ip ports { chain in { type nat hook prerouting priority -100; ip daddr ${SECOND} udp dport 4789 dnat to ${pod}; }; }'`,
    )
    const before = counted(2, 'inner')
    const packet = frame(macOf('n2', 'eth0'), '02:00:00:00:00:66', 'ip', udpPacket(STRANGER, SECOND, 4789))
    await send({ name: 'router', path: '/run/netns/router' }, 'ul', packet)
    await until('the packet', () => counted(2, 'inner') === before + 1)
  })

  it('is looked at by the port of overlay.json, and not where no link needs it', async () => {
    mesh.configure({ probeIntervalMs: 0, port: 8472 })
    await until('the other port', () => /udp dport 8472 .*goto vxlan-sources/.test(rules(1)))
    expect(rules(1)).not.toContain('4789')
    mesh.configure({ probeIntervalMs: 0, backend: 'host-gw' })
    await until('the end of the rules', () => !/vxlan|nodes4|strangers/.test(rules(1)))
  })
})

describe('VXLAN over IPv6', () => {
  beforeAll(() => start({}, [6]))
  afterAll(() => mesh.end())

  it('carries what pods of nodes send each other, and nothing of strangers', async () => {
    for (const [from, to] of [
      [1, 2],
      [3, 1],
    ] as const) {
      for (const family of [4, 6] as const) ping(from, to, family)
    }
    const [drops, before] = [dropsOf(2, 'vxlan-sources'), counted(2, 'inner')]
    const one = { by: 'router', from: '2001:db8:2::fe', to: nodeAddress[6](2), at: 2 } as const
    await forge(one)
    await until('the rule that drops it', () => dropsOf(2, 'vxlan-sources') === drops + 1)
    await forge({ ...one, from: nodeAddress[6](3) })
    await until('the inner packet of a node', () => counted(2, 'inner') === before + 1)
    const sent = dropsOf(1, 'vxlan-destinations')
    await forge({ ...one, by: 'p1', from: podAddress[6](1) })
    await until('the rule that drops it', () => dropsOf(1, 'vxlan-destinations') === sent + 1)
    expect(counted(2, 'inner')).toBe(before + 1)
    mesh.nodes[1]?.server.removeNode('node3')
    await until('its end', () => !rules(2).includes('node node3'))
    const left = dropsOf(2, 'vxlan-sources')
    await forge({ ...one, from: nodeAddress[6](3) })
    await until('the rule that drops it', () => dropsOf(2, 'vxlan-sources') > left)
    expect(counted(2, 'inner')).toBe(before + 1)
  })
})

describe('direct, where one node has a longer prefix than the other', () => {
  beforeAll(() => start({ backend: 'direct' }))
  afterAll(() => mesh.end())

  it('carries packets both ways, one of them by VXLAN, though no node is behind a router', async () => {
    for (const { server } of mesh.nodes) server.removeNode('node3')
    run(`ip -n n1 address flush dev eth0 scope global; ip -n n1 address add ${nodeAddress[4](1)}/32 dev eth0
      ip -n n1 address add ${nodeAddress[6](1)}/128 dev eth0 nodad
      ip -n n1 route add 192.0.2.254 dev eth0; ip -n n1 route add default via 192.0.2.254
      ip -n n1 route add 2001:db8:2::fe dev eth0; ip -n n1 route replace default via 2001:db8:2::fe`)
    await until('the routes', () => {
      const isBy = (all: string[], link: string) =>
        all.length === 2 && all.every((one) => one.includes(`dev ${link} `))
      return isBy(routes(1), 'bowline-vxlan') && isBy(routes(2), 'eth0')
    })
    // The link of node 1 was another one while its address was away.
    const isAnswered = (from: 1 | 2, family: 4 | 6) => {
      try {
        ping(from, from === 1 ? 2 : 1, family, 1450)
        return true
      } catch {
        return false
      }
    }
    for (const family of [4, 6] as const) {
      for (const from of [1, 2] as const) await until('an answer', () => isAnswered(from, family))
    }
    const drops = dropsOf(2, 'vxlan-sources')
    await forge({ by: 'router', from: STRANGER, to: nodeAddress[4](2), at: 2 })
    await until('the rule that drops it', () => dropsOf(2, 'vxlan-sources') === drops + 1)
  })
})
