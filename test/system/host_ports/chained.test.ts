import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { ask, type Question, startServers, TRANSPORTS } from '../../support/node/exchange.ts'
import {
  GATEWAY,
  NEIGHBOUR,
  NODE,
  OUTSIDE,
  POD,
  useHostPortsNode,
} from '../../support/node/host_ports_node.ts'
import {
  fillPluginDirectory,
  type PluginConfig,
  type PluginOutput,
  runPlugin,
} from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { type Netns, NOTHING, residue } from '../../support/node/sandbox.ts'
import { Cnitool } from '../../support/runtimes/cnitool.ts'

/*
 * Mode chained: another plugin makes the interface, and Bowline behind it gives what pods ask of the node. Driven by cnitool, behind the
 * reference plugins bridge and ptp.
 */
const PLUGINS = '/run/cni-chained/bin'
const cnitool = new Cnitool('/run/cni-chained/net.d', PLUGINS)
const node = useHostPortsNode()

const RANGES = [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]]
const IPAM = { type: 'host-local', ranges: RANGES, routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] }
const CHAINED: PluginConfig = {
  type: 'bowline',
  mode: 'chained',
  ipMasq: true,
  capabilities: { portMappings: true },
}
const BEHIND: Record<string, { plugin: PluginConfig; left: string[] }> = {
  // Where bridges ask the packet filter, a pod reaches itself only by a port in hairpin mode.
  bridge: {
    plugin: { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, ipam: IPAM },
    left: ['cni0'],
  },
  ptp: { plugin: { type: 'ptp', ipam: IPAM }, left: [] },
}
const PORTS = TRANSPORTS.map((protocol) => ({ hostPort: 8080, containerPort: 80, protocol }))

beforeEach(() => {
  run(`rm -rf /run/cni-chained; mkdir -p /run/cni-chained
    sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0`)
  fillPluginDirectory(PLUGINS)
})
afterAll(() => run('rm -rf /run/cni-chained'))

function define(...plugins: PluginConfig[]): void {
  cnitool.define({ cniVersion: '1.1.0', name: 'chain', plugins })
}

async function add(pod: Netns, portMappings: readonly object[] = []): Promise<PluginOutput> {
  const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod.name}`
  const capabilities = { portMappings }
  return JSON.parse(await cnitool.run('add', 'chain', pod, { capabilities, args })) as PluginOutput
}

describe.each(Object.entries(BEHIND))('behind %s', (type, { plugin, left }) => {
  it('a pod gets its host ports and masquerading, and no link', async () => {
    define(plugin)
    const alone = await add(NEIGHBOUR)
    await cnitool.run('del', 'chain', NEIGHBOUR)
    define(plugin, CHAINED)
    const result = await add(POD, PORTS)
    expect(result.interfaces?.map(({ name }) => name.replace(/^veth.*/, 'veth'))).toEqual(
      alone.interfaces?.map(({ name }) => name.replace(/^veth.*/, 'veth')),
    )
    await add(NEIGHBOUR)
    node.programs.push(
      await startServers(POD, 80, 'pod'),
      await startServers(node.outside.netns, 8081, 'outside'),
    )
    // The reference bridge lets the kernel look for duplicates of its IPv6 address.
    for (const address of ['10.1.0.3', 'fd00:1::3']) run(`ping -n -c 1 -w 5 ${address}`)
    const questions = ([4, 6] as const).flatMap((family) =>
      TRANSPORTS.map((transport): Question => ({ transport, address: NODE[family], port: 8080 })),
    )
    const sources = (of: { 4: string; 6: string }) =>
      questions.map(({ address }) => `pod ${of[address.includes(':') ? 6 : 4]}`)
    expect(await ask(node.outside.netns, questions)).toEqual(sources(OUTSIDE))
    expect(await ask(undefined, questions)).toEqual(sources(NODE))
    expect(await ask(POD, questions)).toEqual(sources(GATEWAY))
    const localhost = { transport: 'tcp', address: '127.0.0.1', port: 8080 } as const
    expect(await ask(undefined, [localhost])).toEqual([`pod ${GATEWAY[4]}`])
    const outwards = { transport: 'tcp', address: OUTSIDE[4], port: 8081 } as const
    expect(await ask(POD, [outwards])).toEqual([`outside ${NODE[4]}`])
    await expect(cnitool.run('check', 'chain', POD, { capabilities: { portMappings: PORTS } })).resolves.toBe(
      '',
    )
    run('nft flush map inet bowline host-ports-any4')
    await expect(cnitool.run('check', 'chain', POD)).rejects.toThrow(
      /host port 8080\/tcp does not lead to the pod/,
    )
    await expect(cnitool.run('status', 'chain', POD)).resolves.toBe('')
    for (const pod of [POD, POD, NEIGHBOUR]) await cnitool.run('del', 'chain', pod)
    expect(await residue()).toEqual({ ...NOTHING, links: left })
    expect(run('cat /proc/sys/net/ipv4/conf/*/route_localnet')).not.toContain('1')
  })

  it('DEL of it alone takes what it gave, and leaves the link', async () => {
    define(plugin, CHAINED)
    await add(POD, PORTS)
    const containerId = JSON.parse(run('cat /var/lib/cni/results/chain-*')).containerId as string
    const before = run('ip -n pod-a -j address; ip -n pod-a route')
    const config = { ...CHAINED, cniVersion: '1.1.0', name: 'chain' }
    expect(await runPlugin({ command: 'DEL', config, containerId, netns: POD.path })).toMatchObject({
      exitCode: 0,
    })
    expect(run('ip -n pod-a -j address; ip -n pod-a route')).toBe(before)
    expect(await residue()).toMatchObject({ records: [], nftTables: [] })
    expect(run('cat /proc/sys/net/ipv4/conf/*/route_localnet')).not.toContain('1')
    await cnitool.run('del', 'chain', POD)
    expect(await residue()).toEqual({ ...NOTHING, links: left })
  })

  it('GC takes what a pod has left that is gone, whose link its own plugin removes', async () => {
    define(plugin, CHAINED)
    await add(POD, PORTS)
    const config = { ...CHAINED, cniVersion: '1.1.0', name: 'chain', 'cni.dev/valid-attachments': [] }
    expect(await runPlugin({ command: 'GC', config })).toMatchObject({ exitCode: 0 })
    expect(await residue()).toMatchObject({ records: [], nftTables: [] })
    await cnitool.run('del', 'chain', POD)
    expect(type && (await residue())).toEqual({ ...NOTHING, links: left })
  })
})

describe('mode chained', () => {
  it.each([
    ['first in a list', [{ ...CHAINED }], /needs an interface that an earlier plugin has made/],
    [
      'with addresses of its own',
      [BEHIND['ptp']?.plugin, { ...CHAINED, ipam: IPAM }],
      /"ipam" has no meaning in mode "chained"/,
    ],
    [
      'with a bridge',
      [BEHIND['ptp']?.plugin, { ...CHAINED, bridge: 'br0' }],
      /"bridge" has no meaning in mode "chained"/,
    ],
    [
      'with a check of sources that nothing would pass',
      [BEHIND['ptp']?.plugin, { ...CHAINED, ipspoofchk: true }],
      /"ipspoofchk": true checks ports of bridges, and veth\w+ is none/,
    ],
  ])('%s is refused', async (_, plugins, complaint) => {
    define(...(plugins as PluginConfig[]))
    await expect(add(POD)).rejects.toThrow(complaint)
    await cnitool.run('del', 'chain', POD)
    expect(await residue()).toEqual(NOTHING)
  })
})
