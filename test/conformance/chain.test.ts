import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version, versionsFrom } from '../support/conformance/cases.ts'
import {
  bridged,
  type Config,
  createPod,
  freshNode,
  ipamOf,
  leftovers,
  listOf,
  NO_LEFTOVERS,
  PLUGINS,
  type Pod,
  reaches,
  routed,
  rulesNaming,
  SUBNET4,
  SUBNET6,
  useNode,
} from '../support/conformance/node.ts'
import { fetchFrom, startPeerServer } from '../support/node/http_server.ts'
import type { PluginConfig, PluginOutput } from '../support/node/plugin.ts'
import { run } from '../support/node/private_namespaces.ts'
import { createOutside, link, type Outside } from '../support/node/sandbox.ts'
import { askByUdp, startUdpServer } from '../support/node/udp_server.ts'
import { type Asked, Cnitool } from '../support/runtimes/cnitool.ts'

// Other plugins chained behind: they work as they do behind the reference, driven by cnitool.
useNode()

const cnitool = new Cnitool(`${PLUGINS}/net.d`, PLUGINS)

/** Makes a network of these plugins, the first of them a configuration with name and version. */
function network(first: Config, ...others: PluginConfig[]): void {
  cnitool.define(listOf(first, others))
}

async function attach(pod: Pod, how: Asked = {}): Promise<PluginOutput> {
  return JSON.parse(await cnitool.run('add', 'net', pod, how))
}

/** CHECK and DEL, after which nothing of the pod is there. */
async function detach(pod: Pod, how: Asked = {}, ...marks: string[]): Promise<void> {
  await cnitool.run('check', 'net', pod, how)
  await cnitool.run('del', 'net', pod, how)
  expect(await leftovers(...marks), 'nothing is left').toEqual(NO_LEFTOVERS)
}

/** The two kinds of network that others are chained behind. */
function kinds(subject: Subject, version: Version, more: Record<string, unknown> = {}): Config[] {
  const ipam = ipamOf(subject, [SUBNET4, SUBNET6])
  return [
    bridged(subject, version, { hairpinMode: true, ipMasq: true, ipam, ...more }),
    routed(subject, version, { ipMasq: true, ipam, ...more }),
  ]
}

/** Does this behind each kind of network, on a node of its own. */
async function behindEachKind(
  subject: Subject,
  version: Version,
  plugin: PluginConfig,
  work: () => Promise<unknown>,
): Promise<void> {
  for (const config of kinds(subject, version)) {
    freshNode()
    network(config, plugin)
    await work()
  }
}

const PORTMAP: PluginConfig = { type: 'portmap', capabilities: { portMappings: true } }
const PORTS = { portMappings: [{ hostPort: 8000, containerPort: 8080, protocol: 'tcp' }] }

/** A pod with a web server, which is reached by the port of the node from everywhere. */
async function portIsMapped(config: Config, backend: string): Promise<void> {
  network(config, { type: 'portmap', capabilities: { portMappings: true }, backend })
  const outside: Outside = createOutside()
  const pod = createPod()
  await attach(pod, { capabilities: PORTS })
  const server = await startPeerServer(pod, 8080)
  try {
    const ways: [Pod | Outside['netns'] | undefined, string][] = [
      [outside.netns, outside.nodeAddress],
      [undefined, '127.0.0.1'],
      [undefined, outside.nodeAddress],
      [pod, outside.nodeAddress],
    ]
    for (const [from, address] of ways)
      expect(await fetchFrom(from, `http://${address}:8000/`)).toMatch(/^[\d.]+$/)
    expect(await fetchFrom(undefined, 'http://10.1.0.2:8080/')).toMatch(/^[\d.]+$/)
  } finally {
    await server.stop()
  }
  await detach(pod, { capabilities: PORTS }, '10.1.0.2', 'fd00:1::2')
}

const PORTS_MAPPED: readonly Case[] = [
  ...['iptables', 'nftables'].map(
    (backend, i): Case => ({
      id: `39${'ab'[i]}`,
      title: `portmap (${backend}): the port answers the outside, the node, localhost and the pod itself, and ends with it`,
      expectReference: 'passes',
      async run(subject, version) {
        for (const config of kinds(subject, version)) {
          freshNode()
          await portIsMapped(config, backend)
        }
      },
    }),
  ),
  {
    id: '39c',
    title: 'portmap reads the result of every version that knows chains',
    versions: ['0.3.0', '0.3.1', '1.0.0'],
    expectReference: 'passes',
    async run(subject, version) {
      await behindEachKind(subject, version, PORTMAP, async () => {
        const pod = createPod()
        await attach(pod, { capabilities: PORTS })
        expect(rulesNaming(['10.1.0.2:8080']), 'the rule').not.toEqual([])
        await cnitool.run('del', 'net', pod, { capabilities: PORTS })
        expect(await leftovers('10.1.0.2', 'fd00:1::2')).toEqual(NO_LEFTOVERS)
      })
    },
  },
  {
    id: '39d',
    title:
      'portmap: a port for UDP leads to the next pod as soon as it has it, also for who asked the last one',
    expectReference: 'passes',
    async run(subject, version) {
      await behindEachKind(subject, version, PORTMAP, async () => {
        const outside = createOutside()
        const how = {
          capabilities: { portMappings: [{ hostPort: 8000, containerPort: 53, protocol: 'udp' }] },
        }
        for (const name of ['a', 'b']) {
          const pod = createPod(name)
          await attach(pod, how)
          const server = await startUdpServer(pod, 53, name)
          try {
            expect(await askByUdp(outside.netns, outside.nodeAddress, 8000)).toBe(name)
          } finally {
            await server.stop()
          }
          await detach(pod, how)
        }
      })
    },
  },
  {
    id: '40',
    title: 'when a later plugin refuses, DEL takes all back',
    expectReference: 'passes',
    async run(subject, version) {
      await behindEachKind(subject, version, PORTMAP, async () => {
        const pod = createPod()
        const wrong = {
          capabilities: { portMappings: [{ hostPort: 0, containerPort: 8080, protocol: 'tcp' }] },
        }
        await expect(attach(pod, wrong)).rejects.toThrow(/port/i)
        await cnitool.run('del', 'net', pod)
        expect(await leftovers('10.1.0.2', 'fd00:1::2')).toEqual(NO_LEFTOVERS)
      })
    },
  },
  {
    id: '44',
    title: 'ten pods with a port each go at once and leave nothing',
    expectReference: 'passes',
    async run(subject, version) {
      network(kinds(subject, version)[0] as Config, PORTMAP)
      const pods = Array.from({ length: 10 }, (_, i) => createPod(`pod${i}`))
      const asked = pods.map((_, i) => ({
        portMappings: [{ hostPort: 8000 + i, containerPort: 80, protocol: 'tcp' }],
      }))
      const attachOne = (pod: Pod, i: number) => attach(pod, { capabilities: asked[i] ?? {} })
      // Alone: portmap does not expect another one to make its chains at the same time.
      await attachOne(pods[0] as Pod, 0)
      await Promise.all(pods.slice(1).map((pod, i) => attachOne(pod, i + 1)))
      await Promise.all(
        pods.map((pod, i) => cnitool.run('del', 'net', pod, { capabilities: asked[i] ?? {} })),
      )
      expect(await leftovers(...pods.map((_, i) => `10.1.0.${2 + i}`))).toEqual(NO_LEFTOVERS)
    },
  },
]

const RATE = { ingressRate: 8_000_000, ingressBurst: 80_000, egressRate: 16_000_000, egressBurst: 160_000 }

const OTHERS: readonly Case[] = [
  {
    id: '41',
    title: 'bandwidth finds the host interface, shapes both directions, and ends with the pod',
    expectReference: 'passes',
    async run(subject, version) {
      await behindEachKind(
        subject,
        version,
        { type: 'bandwidth', capabilities: { bandwidth: true } },
        async () => {
          const pod = createPod()
          const how = { capabilities: { bandwidth: RATE } }
          const { interfaces = [] } = await attach(pod, how)
          const host = interfaces.find(({ name }) => name.startsWith('veth'))?.name
          const ifb = interfaces.find(({ name }) => name.startsWith('bwp'))?.name
          expect(run(`tc qdisc show dev ${host}`)).toMatch(/tbf .* rate 8Mbit/)
          expect(run(`tc qdisc show dev ${ifb}`)).toMatch(/tbf .* rate 16Mbit/)
          await detach(pod, how)
          expect(run('ip -o link show type ifb')).toBe('')
        },
      )
    },
  },
  {
    id: '42',
    title: 'firewall lets the pod’s traffic through a node that forwards nothing by itself',
    versions: ['0.4.0', '1.1.0'],
    expectReference: 'passes',
    async run(subject, version) {
      await behindEachKind(subject, version, { type: 'firewall', backend: 'iptables' }, async () => {
        const outside = createOutside()
        run('iptables -P FORWARD DROP')
        const pod = createPod()
        await attach(pod)
        expect(await reaches(outside.address, pod), 'the outside answers').toBe(true)
        await detach(pod, {}, '10.1.0.2', 'fd00:1::2')
      })
    },
  },
  {
    id: '42b',
    title: 'firewall with ingressPolicy same-bridge keeps pods of other bridges out',
    expectReference: 'passes',
    async run(subject, version) {
      const policy = { type: 'firewall', backend: 'iptables', ingressPolicy: 'same-bridge' }
      const [a, b, c] = [createPod('a'), createPod('b'), createPod('c')]
      network(bridged(subject, version), policy)
      for (const pod of [a, b]) await attach(pod)
      const ipam = ipamOf(subject, ['10.2.0.0/24'])
      network(bridged(subject, version, { name: 'net2', bridge: 'cni2', ipam }), policy)
      await cnitool.run('add', 'net2', c)
      expect(await reaches('10.1.0.3', a), 'same bridge').toBe(true)
      const answer = Bun.spawnSync(['nsenter', `--net=${c.path}`, 'ping', '-c1', '-W0.5', '10.1.0.2'])
      expect(answer.exitCode, 'another bridge').toBe(1)
    },
  },
  {
    id: '43',
    title:
      'tuning changes MTU, promiscuity, sysctls and (on a bridge) the MAC; CHECK still passes, and DEL works',
    versions: ['0.4.0', '1.1.0'],
    expectReference: 'passes',
    async run(subject, version) {
      const sysctl = { 'net.ipv4.conf.IFNAME.arp_filter': '1' }
      const tuning = { type: 'tuning', mtu: 1400, promisc: true, sysctl, dataDir: '/var/lib/cni/tuning' }
      const mac = '02:33:44:55:66:77'
      const [onBridge, alone] = kinds(subject, version, { mtu: 1450 })
      // Without a bridge a pod has the MAC that the node knows: `runtimeConfig.mac` sets it, and tuning may not.
      for (const { config, more } of [
        { config: onBridge, more: { mac } },
        { config: alone, more: {} },
      ]) {
        freshNode()
        network(config as Config, { ...tuning, ...more })
        const pod = createPod()
        const { interfaces } = await attach(pod)
        if ('mac' in more) expect(interfaces?.find(({ name }) => name === 'eth0')?.mac).toBe(mac)
        expect(await link('eth0', pod)).toMatchObject({ ...('mac' in more && { address: mac }), mtu: 1400 })
        expect(await reaches('10.1.0.1', pod), 'the gateway answers').toBe(true)
        await detach(pod)
      }
    },
  },
  {
    id: '43b',
    title:
      'sbr moves the routes into a table of their own; the pod reaches out, CHECK still passes, and DEL works',
    versions: ['0.4.0', '1.1.0'],
    expectReference: {
      fails: 'CHECK looks for the routes in the main table only',
      at: /Failed to find Gateway/,
    },
    async run(subject, version) {
      await behindEachKind(subject, version, { type: 'sbr' }, async () => {
        const outside = createOutside()
        const pod = createPod()
        await attach(pod)
        expect(run('ip -n pod rule')).toContain('from 10.1.0.2 lookup 100')
        const from = Bun.spawnSync([
          'nsenter',
          `--net=${pod.path}`,
          'ping',
          '-c1',
          '-w5',
          '-i0.2',
          '-I',
          '10.1.0.2',
          outside.address,
        ])
        expect(from.exitCode, 'the outside answers').toBe(0)
        await detach(pod)
      })
    },
  },
  {
    id: '25',
    title: 'loopback beside it: lo is up after ADD and stays so until the DEL of loopback',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      run('ip -n pod link set lo down')
      const loopback = { cniVersion: version, name: 'cni-loopback', plugins: [{ type: 'loopback' }] }
      cnitool.define(loopback)
      await cnitool.run('add', 'cni-loopback', pod, { ifName: 'lo' })
      network(bridged(subject, version))
      await attach(pod)
      await cnitool.run('del', 'net', pod)
      expect((await link('lo', pod))?.flags).toContain('UP')
      cnitool.define(loopback)
      await cnitool.run('del', 'cni-loopback', pod, { ifName: 'lo' })
      expect((await link('lo', pod))?.flags).not.toContain('UP')
    },
  },
  {
    id: '25b',
    title: 'loopback in one list behind it passes the result on unchanged',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      network(bridged(subject, version))
      const [a, b] = [createPod('a'), createPod('b')]
      const alone = await attach(a)
      await cnitool.run('del', 'net', a)
      network(bridged(subject, version), { type: 'loopback' })
      const chained = await attach(b)
      expect(Object.keys(chained)).toEqual(Object.keys(alone))
      expect(chained.ips).toMatchObject([{ address: '10.1.0.3/24', interface: 2 }])
      expect(chained.routes).toEqual(alone.routes)
    },
  },
]

conform(...PORTS_MAPPED, ...OTHERS)
