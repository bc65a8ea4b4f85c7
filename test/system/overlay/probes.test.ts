import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { WayState } from '../../../src/overlay/mesh/cell.ts'
import type { MeshFinding, MeshView } from '../../../src/overlay/mesh/view.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { enterSandbox } from '../../support/node/sandbox.ts'
import { type MeshOfAgents, startMeshOfAgents } from '../../support/overlay/agents.ts'
import { nodeAddress } from '../../support/overlay/mesh.ts'
import { until } from '../../support/until.ts'

/* Three nodes with the agents as they were built measure each other, while ways between them are cut and mended. Node 3 is behind a router. */
let mesh: MeshOfAgents

beforeAll(async () => {
  enterSandbox()
  mesh = startMeshOfAgents({ backend: 'direct' })
  await until('a whole and sound mesh, on each node', () => [1, 2, 3].every((n) => isSound(mesh.view(n))))
})
afterAll(() => mesh.end())

/** Two other nodes by four ways each. */
function isSound({ rows = [], findings }: MeshView): boolean {
  return (
    rows.length === 3 && rows.flat().filter((cell) => cell >> 13 === 1).length === 24 && findings.length === 0
  )
}

function cut(n: number, rule: string): void {
  run(`ip netns exec n${n} nft 'table inet cut { chain in { type filter hook prerouting priority -300; ${rule}; }
    chain out { type filter hook output priority -300; }; }'`)
}

/** The states of the four ways between two nodes. */
function states(from: number, to: number): Record<string, WayState | undefined> {
  const all = (['underlay', 'pods'] as const).flatMap((network) =>
    ([4, 6] as const).map((family) => [`${network}${family}`, mesh.way(from, to, network, family)?.state]),
  )
  return Object.fromEntries(all)
}

const findingsOf = (n: number): readonly MeshFinding[] => mesh.view(n).findings
const SOUND = { underlay4: 'ok', underlay6: 'ok', pods4: 'ok', pods6: 'ok' }

describe('agents that measure each other', () => {
  afterEach(async () => {
    run(
      `for n in 1 2 3; do ip netns exec n$n nft delete table inet cut 2>/dev/null || true; ip -n n$n link set eth0 mtu 1500; done
      ip -n router link set r3 mtu 1500`,
    )
    await until('a sound mesh', () => [1, 2, 3].every((n) => isSound(mesh.view(n))))
  })

  it('know the path of each way, and how fast it is', () => {
    expect(mesh.way(1, 2, 'pods', 4)).toMatchObject({ path: 'direct', mtu: 1500, address: '10.244.2.0' })
    expect(mesh.way(1, 3, 'pods', 6)).toMatchObject({ path: 'vxlan', mtu: 1450, address: 'fd00:244:3::' })
    for (const to of [2, 3]) expect(mesh.way(1, to, 'pods', 4)?.rttMs).toBeGreaterThan(0)
  })

  it('tell VXLAN that is blocked from a node that is down, and name the port', async () => {
    cut(3, 'udp dport 4789 drop')
    await until(
      'silence by VXLAN',
      () => states(1, 3)['pods4'] === 'silent' && states(1, 3)['pods6'] === 'silent',
    )
    // A way is silent some time before its turn is over, and the conclusion drawn.
    await until('the conclusion', () => findingsOf(1).length > 0)
    expect(states(1, 3)).toMatchObject({ underlay4: 'ok', underlay6: 'ok' })
    expect(states(1, 2)).toEqual(SOUND)
    const [finding] = findingsOf(1)
    expect(finding).toMatchObject({ check: 'mesh', level: 'error', peer: 'node3' })
    expect(finding?.message).toMatch(
      /^pods of node node3 are not reached .* UDP port 4789 \(VXLAN\) is blocked/,
    )
    expect(finding?.hint).toContain('UDP port 4789')
    // Node 2 has heard of what node 1 finds.
    await until(
      'the row of node 1 on node 2',
      () => mesh.view(2).rows[0]?.some((cell) => cell >> 13 === 4) === true,
    )
    const doctor = mesh.bowline(1, 'doctor')
    expect(doctor).toMatch(/✗ mesh: pods of node node3 are not reached/)
    const nodes = mesh.bowline(1, 'nodes')
    expect(nodes).toMatch(/^node3 +192\.0\.3\.3 +vxlan .*✗ silent \(pods IPv4, pods IPv6\)$/m)
    expect(nodes).toMatch(/^node1 +· +[»\d.]+ +✗$/m)
    expect(mesh.nodes[0]?.log()).toContain('UDP port 4789 (VXLAN) is blocked')
  })

  it('name what drops packets of pods between nodes of one link', async () => {
    cut(2, 'ip daddr 10.244.2.0/24 drop')
    await until('silence', () => states(1, 2)['pods4'] === 'silent')
    expect(states(1, 2)).toEqual({ ...SOUND, pods4: 'silent' })
    expect(findingsOf(1)[0]?.hint).toContain('source/destination check')
  })

  it('say of a node that answers by no way that it does not answer', async () => {
    cut(2, 'iifname eth0 meta l4proto udp drop')
    await until('silence', () => Object.values(states(1, 2)).every((state) => state === 'silent'))
    expect(findingsOf(1)).toMatchObject([
      { peer: 'node2', message: expect.stringContaining('does not answer at all') },
    ])
  })

  it('say of a node whose port refuses that it is up and has no agent', async () => {
    cut(2, 'udp dport 19475 reject with icmpx port-unreachable')
    await until('the refusal', () => states(1, 2)['underlay4'] === 'noAgent')
    // The kernel sends one refusal a second, so the agent may first know of silence alone.
    await until('the conclusion', () =>
      findingsOf(1).some(({ message }) => message.includes('no bowline-agent')),
    )
    expect(findingsOf(1)).toMatchObject([{ level: 'warning' }])
  })

  it('find the largest packet that a router on the way carries, and the value for the configuration', async () => {
    run('ip -n router link set r3 mtu 1400')
    await until('the size', () => (mesh.way(1, 3, 'underlay', 4)?.carries ?? 0) > 1390)
    expect(mesh.way(1, 3, 'underlay', 4)).toMatchObject({
      state: 'small',
      mtu: 1500,
      carries: expect.any(Number),
    })
    expect(mesh.way(1, 3, 'underlay', 4)?.carries).toBeLessThanOrEqual(1400)
    expect(states(1, 2)).toEqual(SOUND)
    const finding = findingsOf(1).find(({ check }) => check === 'path-mtu')
    expect(finding?.message).toMatch(
      /^the way to node node3 \(192\.0\.3\.3, direct\) carries packets of 1[34]\d\d bytes and not the 1500/,
    )
    expect(finding?.hint).toMatch(/"underlayMtu": 1[34]\d\d/)
  })

  it('follow the MTU of the uplink: the tunnel and its full-size packets become smaller', async () => {
    run('ip -n n1 link set eth0 mtu 1400')
    await until('the MTU of the tunnel', () => run('ip -n n1 link show bowline-vxlan').includes('mtu 1350'))
    await until('the size that is measured', () => mesh.way(1, 3, 'pods', 4)?.mtu === 1350)
    expect(mesh.way(1, 2, 'pods', 4)).toMatchObject({ mtu: 1400, path: 'direct' })
  })

  it('are moved to nothing by packets of a stranger', async () => {
    const before = run(`${mesh.on(1).join(' ')} curl -s 127.0.0.1:19474/metrics`)
    const sent = run(`ip netns exec router python3 -c '
import os, socket
to = ("${nodeAddress[4](1)}", 19475)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in (0, 1, 40, 424, 1400):
    for start in (b"", b"BWLM", b"BWLM\\x01\\x01\\x00\\x00", b"BWLM\\x01\\x02\\x00\\x00"):
        s.sendto((start + os.urandom(1500))[:n], to)
s.settimeout(1)
try: print(len(s.recv(2000)))
except TimeoutError: print("silence")
'`)
    expect(sent).toBe('silence')
    const ignored = (text: string) =>
      Number(/^bowline_mesh_packets_total\{result="ignored"\} (\d+)/m.exec(text)?.[1] ?? 0)
    const after = run(`${mesh.on(1).join(' ')} curl -s 127.0.0.1:19474/metrics`)
    expect(ignored(after) - ignored(before)).toBeGreaterThanOrEqual(20)
    expect(isSound(mesh.view(1))).toBe(true)
  })

  it('are reached by the way of their pods whatever the backend is, and leave no address behind', async () => {
    const addresses = () => run('ip -n n2 -br address show dev lo')
    mesh.configure({ backend: 'host-gw' })
    await until(
      'plain routes',
      () => mesh.way(1, 2, 'pods', 6)?.path === 'direct' && states(1, 2)['pods6'] === 'ok',
    )
    expect(addresses()).toMatch(/10\.244\.2\.0\/32 .*fd00:244:2::\/128/)
    // The range is out of reach: doctor says why.
    expect(mesh.bowline(1, 'doctor')).toMatch(
      /overlay: pods 10\.244\.3\.0\/24 of node node3 cannot be reached: .* not on the same link/,
    )
    mesh.configure({ backend: 'direct' })
    await until('the link', () => states(1, 3)['pods6'] === 'ok' && !addresses().includes('10.244.2.0'))
  })

  it('are shown with a mistake in their configuration', async () => {
    mesh.configure({ backend: 'vxlam' })
    await until('the finding', () => findingsOf(2).some(({ check }) => check === 'overlay'))
    expect(mesh.bowline(2, 'doctor')).toMatch(/✗ overlay: .*vxlam/)
    mesh.configure({ backend: 'direct' })
  })

  it('publish metrics of each peer and way', () => {
    const text = run(`${mesh.on(1).join(' ')} curl -s 127.0.0.1:19474/metrics`)
    expect(text).toContain('bowline_mesh_peers{state="ok"} 2\n')
    expect(text).toMatch(
      /^bowline_mesh_peer_rtt_seconds\{peer="node3",network="pods",family="4",path="vxlan"\} 0\.\d+$/m,
    )
    expect(text).toContain(
      'bowline_mesh_peer_mtu_bytes{peer="node3",network="pods",family="6",path="vxlan"} 1450\n',
    )
  })
})

describe('without the agent', () => {
  it('bowline nodes and doctor name it, and the other nodes say that it is away', async () => {
    mesh.nodes[1]?.agent.kill()
    await mesh.nodes[1]?.agent.exited
    await until('the refusal', () => states(1, 2)['underlay4'] === 'noAgent')
    expect(mesh.bowline(2, 'nodes')).toMatch(
      /^bowline: bowline-agent does not answer at 127\.0\.0\.1:19474: it does not run.*\nbowline: .*: kubectl -n kube-system describe pods/,
    )
    expect(mesh.bowline(1, 'nodes')).toContain('! no agent')
  })
})

describe('nodes that have addresses of IPv6 alone', () => {
  let ipv6: MeshOfAgents
  beforeAll(async () => {
    await mesh.end()
    ipv6 = startMeshOfAgents({}, [6])
  })
  afterAll(() => ipv6.end())

  it('reach pods of both families, by packets as large as the longer headers leave', async () => {
    const pods = () => ([4, 6] as const).map((family) => ipv6.way(1, 3, 'pods', family))
    await until('both', () => pods().every((way) => way?.state === 'ok'))
    expect(pods()).toMatchObject([
      { path: 'vxlan', mtu: 1430 },
      { path: 'vxlan', mtu: 1430 },
    ])
    expect(ipv6.way(1, 3, 'underlay', 4)).toBeUndefined()
    const metrics = () => run(`${ipv6.on(1).join(' ')} curl -s 127.0.0.1:19474/metrics`)
    await until('full packets', () =>
      metrics().includes('{peer="node3",network="pods",family="4",path="vxlan"} 1430'),
    )
  })
})
