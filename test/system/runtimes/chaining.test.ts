import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { fetchFrom, startPeerServer } from '../../support/node/http_server.ts'
import {
  fillPluginDirectory,
  type PluginConfig,
  type PluginOutput,
  runPlugin,
} from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import {
  addressesOf,
  clearNode,
  createNetns,
  createOutside,
  enterSandbox,
  link,
  type Netns,
  NOTHING,
  nftElements,
  type Outside,
  removeNetns,
  residue,
} from '../../support/node/sandbox.ts'
import { Cnitool } from '../../support/runtimes/cnitool.ts'

/*
 * cnitool drives lists of plugins: reference plugins behind ours, and ours behind them. What each made is looked at
 * with the tools of its own field.
 */
const PLUGINS = '/run/cni-chain/bin'
const POD = 'chained'
const ADDRESS = '10.4.0.2'
const ROUTES = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]
const RANGES = [[{ subnet: '10.4.0.0/24' }], [{ subnet: 'fd00:4::/64' }]]
const IPAM = { type: 'bowline-ipam', ranges: RANGES, routes: ROUTES }

const cnitool = new Cnitool('/run/cni-chain/net.d', PLUGINS)
let outside: Outside
let pod: Netns

beforeAll(() => {
  enterSandbox()
  run('mount -t tmpfs tmpfs /run/lock; mkdir -p /run/cni-chain')
  fillPluginDirectory(PLUGINS)
  outside = createOutside()
})

beforeEach(() => {
  pod = createNetns(POD)
})

afterEach(async () => {
  removeNetns(POD)
  await clearNode()
  run('for name in $(ip -o link show type ifb | cut -d: -f2); do ip link delete $name; done')
})

function define(...plugins: PluginConfig[]): void {
  cnitool.define({ cniVersion: '1.1.0', name: 'chain', plugins })
}

async function add(capabilities = {}): Promise<PluginOutput> {
  return JSON.parse(await cnitool.run('add', 'chain', pod, { capabilities })) as PluginOutput
}

/** Everything that the firewalls and the traffic control of the node hold, as text. */
function rulesOfNode(): string {
  return run('iptables-save; ip6tables-save; nft list ruleset; tc qdisc; ip -o link show type ifb')
}

const OURS: Record<string, PluginConfig> = {
  l3: { type: 'bowline', mode: 'l3', ipMasq: true, ipam: IPAM },
  l2: { type: 'bowline', bridge: 'br0', isGateway: true, ipMasq: true, hairpinMode: true, ipam: IPAM },
}
const BRIDGES: Record<string, string[]> = { l3: [], l2: ['br0'] }

/** `proof` throws unless the plugin has had its effect. */
const BEHIND: readonly { config: PluginConfig; proof: () => Promise<void> }[] = [
  {
    config: { type: 'portmap', backend: 'iptables', capabilities: { portMappings: true } },
    proof: reachesHostPort,
  },
  {
    config: {
      type: 'bandwidth',
      ingressRate: 8_000_000,
      ingressBurst: 800_000,
      egressRate: 8_000_000,
      egressBurst: 800_000,
    },
    proof: async () => expect(run('tc qdisc').match(/qdisc tbf .* rate 8Mbit/g)).toHaveLength(2),
  },
  {
    config: { type: 'tuning', mtu: 1400, sysctl: { 'net.ipv4.conf.IFNAME.log_martians': '1' } },
    proof: async () => {
      expect((await link('eth0', pod))?.mtu).toBe(1400)
      expect(run(`ip netns exec ${POD} cat /proc/sys/net/ipv4/conf/eth0/log_martians`)).toBe('1')
    },
  },
  {
    config: { type: 'firewall', backend: 'iptables' },
    proof: async () => expect(run('iptables-save')).toContain(`-A CNI-FORWARD -s ${ADDRESS}/32 -j ACCEPT`),
  },
  {
    config: { type: 'sbr' },
    proof: async () => {
      expect(run(`ip -n ${POD} rule`)).toContain(`from ${ADDRESS} lookup 100`)
      expect(run(`ip -n ${POD} route show table 100`)).toContain('default via 10.4.0.1')
    },
  },
]

async function reachesHostPort(): Promise<void> {
  const server = await startPeerServer(pod, 80)
  const seen = await fetchFrom(outside.netns, `http://${outside.nodeAddress}:8080/`)
  await server.stop()
  expect(seen).toBe(outside.address)
}

describe.each(['l3', 'l2'])('behind ours in mode %s', (mode) => {
  // One at a time: test/conformance/chain.test.ts.
  it('all of them at once have their effect, pass CHECK, and go without a trace', async () => {
    const capabilities = { portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }] }
    define({ type: 'loopback' }, OURS[mode] ?? { type: '' }, ...BEHIND.map(({ config }) => config))
    await add(capabilities)
    await expect(cnitool.run('check', 'chain', pod, { capabilities })).resolves.toBe('')
    for (const { config, proof } of BEHIND) {
      await proof().catch((cause: unknown) => {
        throw new Error(config.type, { cause })
      })
    }
    // libcni deletes what it remembers by itself; a GC without a list of what is valid is refused by us.
    await expect(cnitool.run('gc', 'chain', pod)).rejects.toThrow('cni.dev/valid-attachments')
    expect(await residueOfOurs()).toEqual({ ...NOTHING, links: BRIDGES[mode] })
    expect(rulesOfNode()).not.toMatch(/10\.4\.0\.|fd00:4:|qdisc tbf|bwp|dport 8080/)
  })
})

/** Tables of other programs are theirs. */
async function residueOfOurs(): ReturnType<typeof residue> {
  const all = await residue()
  return { ...all, nftTables: all.nftTables.filter((name) => name.endsWith(' bowline')) }
}

const CHAINED = { type: 'bowline', bridge: 'br0', isGateway: true, ipMasq: true, hairpinMode: true }
const HOST_LOCAL = { ...IPAM, type: 'host-local' }

describe('ours behind the reference plugin', () => {
  it.each([
    ['ptp, which has its addresses from host-local', { type: 'ptp', ipam: HOST_LOCAL }, []],
    ['ptp, which has its addresses from bowline-ipam', { type: 'ptp', ipam: IPAM }, []],
    [
      'bridge, on the same bridge',
      { type: 'bridge', bridge: 'br0', isGateway: true, ipam: HOST_LOCAL },
      ['br0'],
    ],
  ])('%s, connects its pod, passes CHECK, and leaves nothing', async (_, config, listed) => {
    define(config, CHAINED)
    const result = await add()
    expect(result.interfaces?.map(({ name }) => name)).toEqual([
      ...listed,
      expect.stringMatching(/^veth/),
      'eth0',
      ...(listed.length === 0 ? ['br0'] : []),
    ])
    const hostSide = result.interfaces?.find(({ name }) => name.startsWith('veth'))?.name ?? ''
    expect(await link(hostSide)).toMatchObject({
      master: 'br0',
      linkinfo: { info_slave_data: { hairpin: true } },
    })
    expect(await addressesOf('br0')).toEqual(['10.4.0.1/24', 'fd00:4::1/64'])
    expect(await nftElements()).toEqual(['10.4.0.0/24', 'fd00:4::/64'])
    // The reference bridge gives its IPv6 address while the kernel still looks for duplicates: about a second.
    for (const address of ['10.4.0.2', 'fd00:4::2']) run(`ping -n -c 1 -w 5 ${address}`)
    const server = await startPeerServer(outside.netns, 8080)
    expect(await fetchFrom(pod, `http://${outside.address}:8080/`)).toBe(outside.nodeAddress)
    await server.stop()
    await expect(cnitool.run('check', 'chain', pod)).resolves.toBe('')
    run('nft flush map inet bowline subnets4')
    await expect(cnitool.run('check', 'chain', pod)).rejects.toThrow(/10\.4\.0\.0\/24 is not masqueraded/)
    for (const _time of [1, 2]) await cnitool.run('del', 'chain', pod)
    expect(await residue()).toEqual({ ...NOTHING, links: ['br0'] })
    expect(run('ip route; ip -6 route')).not.toMatch(/10\.4\.0\.2|fd00:4::2/)
  })

  it('ptp, called alone for DEL, takes its port off and leaves the link', async () => {
    define({ type: 'ptp', ipam: HOST_LOCAL }, CHAINED)
    const { interfaces = [] } = await add()
    const hostSide = interfaces.find(({ name }) => name.startsWith('veth'))?.name ?? ''
    const containerId = JSON.parse(run('cat /var/lib/cni/results/chain-*')).containerId as string
    const config = { ...CHAINED, cniVersion: '1.1.0', name: 'chain' }
    const answer = await runPlugin({ command: 'DEL', config, containerId, netns: pod.path })
    expect(answer).toMatchObject({ exitCode: 0 })
    expect(await link(hostSide)).toBeDefined()
    expect((await link(hostSide))?.master).toBeUndefined()
    expect(await nftElements()).toEqual([])
    expect((await residue()).leases).toHaveLength(2)
    await cnitool.run('del', 'chain', pod)
    expect(await residue()).toEqual({ ...NOTHING, links: ['br0'] })
  })

  it('loopback stands behind its result', async () => {
    define({ type: 'loopback' }, OURS['l2'] ?? CHAINED)
    const { interfaces = [], ips = [] } = await add()
    expect(interfaces.map(({ name }) => name)).toEqual(['lo', 'br0', expect.stringMatching(/^veth/), 'eth0'])
    expect(ips.map((ip) => [ip.address, ip.interface])).toEqual([
      ['127.0.0.1/8', 0],
      ['::1/128', 0],
      ['10.4.0.2/24', 3],
      ['fd00:4::2/64', 3],
    ])
    await expect(cnitool.run('check', 'chain', pod)).resolves.toBe('')
    await cnitool.run('del', 'chain', pod)
    expect(await residue()).toEqual({ ...NOTHING, links: ['br0'] })
  })

  it.each([
    [
      'macvlan, which has no link on the host',
      { type: 'macvlan', master: 'up0', ipam: HOST_LOCAL },
      CHAINED,
      /no link on the host/,
    ],
    [
      'bridge, on another bridge',
      { type: 'bridge', bridge: 'br1', ipam: HOST_LOCAL },
      CHAINED,
      /a port of br1 already/,
    ],
    [
      'ptp, with addresses of its own',
      { type: 'ptp', ipam: HOST_LOCAL },
      { ...CHAINED, ipam: IPAM },
      /ipam.type/,
    ],
    ['ptp, in mode l3', { type: 'ptp', ipam: HOST_LOCAL }, OURS['l3'] ?? CHAINED, /mode "l3"/],
  ])('%s, is refused, and the DEL leaves nothing', async (_, config, own, complaint) => {
    define(config, own)
    await expect(cnitool.run('add', 'chain', pod)).rejects.toThrow(complaint)
    const { leases, records } = await residue()
    // The runtime has not called DEL yet: what the first plugin holds must still be held.
    expect([leases.length, records]).toEqual([2, []])
    await cnitool.run('del', 'chain', pod)
    expect(await residue()).toEqual({ ...NOTHING, links: config.type === 'bridge' ? ['br1'] : [] })
  })

  it('tap of a virtual machine becomes a port of the bridge', async () => {
    run(`ip tuntap add tap0 mode tap; ip link add v0 type veth peer name eth0 netns ${POD}`)
    const prevResult = {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'tap0' }, { name: 'eth0', sandbox: pod.path }],
      ips: [{ address: '10.4.0.9/24', gateway: '10.4.0.1', interface: 1 }],
    }
    const config = { ...CHAINED, cniVersion: '1.1.0', name: 'chain', prevResult }
    const call = { config, containerId: 'vm', netns: pod.path }
    const { output } = await runPlugin({ command: 'ADD', ...call })
    expect(output).toMatchObject({ ...prevResult, interfaces: [...prevResult.interfaces, { name: 'br0' }] })
    expect(await link('tap0')).toMatchObject({ master: 'br0' })
    expect(await addressesOf('br0')).toEqual(['10.4.0.1/24'])
    expect(await runPlugin({ command: 'DEL', ...call })).toMatchObject({ exitCode: 0 })
    expect((await link('tap0'))?.master).toBeUndefined()
    run('ip link delete tap0')
  })
})
