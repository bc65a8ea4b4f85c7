import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version } from '../support/conformance/cases.ts'
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
  plainAddresses,
  reaches,
  routed,
  SUBNET4,
  SUBNET6,
  useNode,
} from '../support/conformance/node.ts'
import { fetchFrom, startPeerServer } from '../support/node/http_server.ts'
import type { Conflist, PluginConfig } from '../support/node/plugin.ts'
import { run } from '../support/node/private_namespaces.ts'
import { createOutside } from '../support/node/sandbox.ts'
import { type Asked, Cnitool } from '../support/runtimes/cnitool.ts'

// A real runtime: libcni, by its own cnitool, with the lists that are in use.
useNode()

const cnitool = new Cnitool(`${PLUGINS}/net.d`, PLUGINS)

const PORTS = { portMappings: [{ hostPort: 8000, containerPort: 8080, protocol: 'tcp' }] }
const RATE = { ingressRate: 80_000_000, ingressBurst: 800_000, egressRate: 80_000_000, egressBurst: 800_000 }
const ASKED: Asked = {
  capabilities: { ...PORTS, bandwidth: RATE },
  args: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web',
}

const CHAINED: readonly PluginConfig[] = [
  { type: 'portmap', capabilities: { portMappings: true } },
  { type: 'bandwidth', capabilities: { bandwidth: true } },
  { type: 'firewall', backend: 'iptables' },
  { type: 'tuning', sysctl: { 'net.ipv4.conf.IFNAME.arp_filter': '1' }, dataDir: '/var/lib/cni/tuning' },
]

/** Of these nothing stays when they are forgotten. The reference plugins have no GC that would take it away. */
const WITHOUT_STATE = CHAINED.filter(({ type }) => type === 'portmap' || type === 'tuning')

function dualStacks(subject: Subject, version: Version): Config[] {
  const more = { ipMasq: true, ipam: ipamOf(subject, [SUBNET4, SUBNET6]) }
  return [bridged(subject, version, more), routed(subject, version, more)]
}

const ADDRESSES = ['10.1.0.2', '10.1.0.3', 'fd00:1::2', 'fd00:1::3']

/** The whole life of two pods on a network: all that a runtime asks. */
async function liveOn(list: Conflist, gateway: string): Promise<void> {
  cnitool.define(list)
  const [a, b] = [createPod('a'), createPod('b')]
  const ask = (verb: Parameters<typeof cnitool.run>[0], pod: Pod, how: Asked = {}): Promise<string> =>
    cnitool.run(verb, list.name, pod, how)
  await ask('status', a)
  const addresses = plainAddresses(JSON.parse(await ask('add', a, ASKED)))
  await ask('add', b, { args: ASKED.args ?? '' })
  await ask('check', a, ASKED)
  await ask('check', b)
  expect(await reaches(gateway, a), 'a reaches its gateway').toBe(true)
  for (const address of addresses) expect(await reaches(address, b), `b reaches ${address}`).toBe(true)
  await ask('status', a)
  await ask('del', a, ASKED)
  expect(
    (await leftovers()).links.filter((name) => name.startsWith('veth')),
    'b is still there',
  ).toHaveLength(1)
  await ask('check', b)
  await ask('del', b)
  await ask('del', b)
  expect(await leftovers(...addresses), 'nothing is left').toEqual(NO_LEFTOVERS)
}

/** Attachments that libcni has forgotten, as after the loss of its cache. */
async function forgotten(config: Config, valid: unknown): Promise<Pod> {
  const first = { ...config, ...(valid !== undefined && { 'cni.dev/valid-attachments': valid }) }
  const list = listOf(first, WITHOUT_STATE)
  cnitool.define(list)
  const [a, b] = [createPod('a'), createPod('b')]
  await cnitool.run('add', 'net', a)
  run('rm -r /var/lib/cni/results')
  await cnitool.run('add', 'net', b)
  return a
}

const CNITOOL: readonly Case[] = [
  {
    id: 'R1',
    title: 'cnitool drives STATUS, ADD, CHECK and DEL with portmap, bandwidth, firewall and tuning behind',
    expectReference: 'passes',
    async run(subject, version) {
      for (const config of dualStacks(subject, version)) {
        freshNode()
        await liveOn(listOf(config, CHAINED), '10.1.0.1')
      }
    },
  },
  {
    id: 'R2',
    title: 'the same with the addresses of the other’s IPAM plugin (host-local here, bowline-ipam there)',
    expectReference: 'passes',
    async run(subject, version) {
      for (const config of dualStacks(subject, version)) {
        freshNode()
        const type = subject.ipam === 'host-local' ? 'bowline-ipam' : 'host-local'
        await liveOn(
          listOf({ ...config, ipam: { ...(config['ipam'] as object), type } }, CHAINED),
          '10.1.0.1',
        )
      }
    },
  },
  {
    id: 'R3',
    title: 'the same with the reference’s static, which takes the address from the runtime',
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = { type: 'static', routes: [{ dst: '0.0.0.0/0' }] }
      for (const config of dualStacks(subject, version)) {
        freshNode()
        createOutside()
        cnitool.define(
          listOf({ ...config, ipam, capabilities: { ips: true } }, [
            { type: 'portmap', capabilities: { portMappings: true } },
          ]),
        )
        const pod = createPod()
        await cnitool.run('status', 'net', pod)
        const asked = { args: 'IgnoreUnknown=1;IP=10.1.0.50/24;GATEWAY=10.1.0.1', capabilities: PORTS }
        const result = JSON.parse(await cnitool.run('add', 'net', pod, asked))
        expect(result.ips).toMatchObject([{ address: '10.1.0.50/24', gateway: '10.1.0.1' }])
        await cnitool.run('check', 'net', pod, asked)
        expect(await reaches('192.0.2.2', pod), 'the outside answers').toBe(true)
        await cnitool.run('del', 'net', pod, asked)
        expect(await leftovers('10.1.0.50')).toEqual(NO_LEFTOVERS)
      }
    },
  },
  {
    id: 'R4',
    title:
      'cnitool gc on a list with others behind frees also what libcni has forgotten, if it says what is valid',
    expectReference: { fails: 'there is no GC: what libcni has forgotten stays', at: /nothing is left/ },
    async run(subject, version) {
      for (const valid of [[], null]) {
        freshNode()
        const pod = await forgotten(bridged(subject, version, { ipMasq: true }), valid)
        await cnitool.run('status', 'net', pod)
        await cnitool.run('gc', 'net', pod)
        expect(await leftovers(...ADDRESSES), 'nothing is left').toEqual(NO_LEFTOVERS)
      }
    },
  },
  {
    id: 'R5',
    title:
      'cnitool gc that does not say what is valid: what libcni remembers goes by DEL, then GC is refused',
    expectReference: { fails: 'there is no GC: the call succeeds', at: /promise resolved/ },
    async run(subject, version) {
      const pod = await forgotten(bridged(subject, version), undefined)
      await expect(cnitool.run('gc', 'net', pod)).rejects.toThrow(/cni\.dev\/valid-attachments/)
      expect((await leftovers()).leases).toEqual(['networks/net/10.1.0.2'])
      expect(await reaches('10.1.0.1', pod)).toBe(true)
    },
  },
]

/** What containerd's own script installs. */
const CONTAINERD: Conflist = {
  cniVersion: '1.0.0',
  name: 'containerd-net',
  plugins: [
    {
      type: 'bridge',
      bridge: 'cni0',
      isGateway: true,
      ipMasq: true,
      promiscMode: true,
      ipam: {
        type: 'host-local',
        ranges: [[{ subnet: '10.88.0.0/16' }], [{ subnet: '2001:4860:4860::/64' }]],
        routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
      },
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
}

/** What kind's network daemon writes. */
const KIND: Conflist = {
  cniVersion: '0.3.1',
  name: 'kindnet',
  plugins: [
    {
      type: 'ptp',
      ipMasq: false,
      ipam: {
        type: 'host-local',
        dataDir: '/var/lib/cni/cni-ipam-state',
        routes: [{ dst: '0.0.0.0/0' }],
        ranges: [[{ subnet: '10.244.0.0/24' }]],
      },
      mtu: 1500,
    },
    { type: 'portmap', capabilities: { portMappings: true } },
  ],
}

/** The list with the plugins of the subject in it, and nothing else changed. */
function replaced(list: Conflist, subject: Subject): Conflist {
  const [first, ...others] = list.plugins
  const main = first?.type === 'ptp' ? subject.routed : subject.bridged
  const ipam = { ...(first?.['ipam'] as object), type: subject.ipam }
  return { ...list, plugins: [{ ...first, ...main, ipam }, ...others] }
}

/** Two pods that reach each other, a port on the node that leads to one of them, and nothing left. */
async function serves(list: Conflist, address: string): Promise<void> {
  cnitool.define(list)
  const outside = createOutside()
  const [a, b] = [createPod('a'), createPod('b')]
  const asked = { ...ASKED, capabilities: PORTS }
  const { ips } = JSON.parse(await cnitool.run('add', list.name, a, asked))
  expect(ips[0].address.replace(/\/.*/, '')).toBe(address)
  await cnitool.run('add', list.name, b)
  expect(await reaches(address, b), 'b reaches a').toBe(true)
  const server = await startPeerServer(a, 8080)
  try {
    expect(await fetchFrom(outside.netns, `http://${outside.nodeAddress}:8000/`)).toBe(outside.address)
  } finally {
    await server.stop()
  }
  await cnitool.run('del', list.name, a, asked)
  await cnitool.run('del', list.name, b)
  expect(await leftovers(address)).toEqual(NO_LEFTOVERS)
}

const LISTS: readonly Case[] = [
  {
    id: '46',
    title: 'containerd’s own list works with nothing changed but the types',
    expectReference: 'passes',
    run: (subject) => serves(replaced(CONTAINERD, subject), '10.88.0.2'),
  },
  {
    id: '46b',
    title: 'kind’s list works with nothing changed but the types',
    expectReference: 'passes',
    run: (subject) => serves(replaced(KIND, subject), '10.244.0.2'),
  },
]

conform(...CNITOOL, ...LISTS)
