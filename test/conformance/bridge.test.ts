import { expect } from 'vitest'
import {
  type Case,
  conform,
  type Subject,
  VERSIONS,
  type Version,
  versionsBefore,
  versionsFrom,
} from '../support/conformance/cases.ts'
import {
  add,
  answersAtOnce,
  bridged,
  createPod,
  done,
  ipamOf,
  leftovers,
  NO_LEFTOVERS,
  type Pod,
  reaches,
  refused,
  SUBNET4,
  SUBNET6,
  useNode,
} from '../support/conformance/node.ts'
import { run } from '../support/node/private_namespaces.ts'
import { addressesOf, link, links, routes } from '../support/node/sandbox.ts'

// A bridged network: what ADD makes on the node and in the pod, and that DEL takes it away.
useNode()

/** The whole life of a pod with one address of each subnet. */
async function attachAndDetach(
  subject: Subject,
  version: Version,
  subnets: readonly string[],
): Promise<void> {
  const pod = createPod()
  const config = bridged(subject, version, {
    isDefaultGateway: true,
    ipam: { ...ipamOf(subject, subnets), routes: [] },
  })
  await add(config, pod)
  const prefixes = subnets.map((subnet) => subnet.replace(/0*\/\d+$/, ''))
  const lengths = subnets.map((subnet) => subnet.replace(/.*\//, '/'))
  const cidrs = (host: string): string[] => prefixes.map((prefix, i) => `${prefix}${host}${lengths[i]}`)
  expect((await addressesOf('cni0')).toSorted(), 'the bridge is the gateway').toEqual(cidrs('1'))
  expect((await addressesOf('eth0', pod)).toSorted(), 'the pod has no other address').toEqual(cidrs('2'))
  await expectLinks(pod)
  await expectDefaults(pod, prefixes)
  const mac = (await link('cni0'))?.address
  await done('DEL', config, pod)
  expect(await leftovers(), 'nothing is left').toEqual(NO_LEFTOVERS)
  expect(await link('eth0', pod), 'the interface is gone').toBeUndefined()
  expect((await link('cni0'))?.address, 'the bridge keeps its MAC').toBe(mac)
}

/** One bridge and one port, which tell each other apart by their MACs; the pod's end works. */
async function expectLinks(pod: Pod): Promise<void> {
  const all = (await links()).filter(({ ifname }) => ifname !== 'lo')
  const [bridge, port] = all.toSorted((a, b) => a.ifname.localeCompare(b.ifname))
  expect(all, 'there is a bridge and a port').toHaveLength(2)
  expect([bridge?.ifname, port?.ifname]).toEqual(['cni0', expect.stringMatching(/^veth/)])
  expect(port?.master).toBe('cni0')
  expect(bridge?.address).not.toBe(port?.address)
  expect((await link('eth0', pod))?.flags, 'the pod has a carrier').toContain('LOWER_UP')
}

async function expectDefaults(pod: Pod, prefixes: readonly string[]): Promise<void> {
  const both = [...(await routes(pod, 4)), ...(await routes(pod, 6))]
  const families = new Set(prefixes.map((prefix) => prefix.includes(':')))
  const gateways = both.filter(({ dst }) => dst === 'default').map(({ gateway }) => gateway)
  expect(gateways, 'one default route a family').toHaveLength(families.size)
  for (const gateway of gateways) expect(prefixes.map((prefix) => `${prefix}1`)).toContain(gateway)
}

const BRIDGE: readonly Case[] = [
  {
    id: '8',
    title: 'makes the bridge if it is not there, sets it up, and ignores router advertisements on it',
    expectReference: 'passes',
    async run(subject, version) {
      await add(bridged(subject, version, { bridge: 'br-new', mtu: 1400 }), createPod())
      expect(await link('br-new')).toMatchObject({
        mtu: 1400,
        flags: expect.arrayContaining(['UP']),
        linkinfo: { info_kind: 'bridge' },
      })
      expect(run('cat /proc/sys/net/ipv6/conf/br-new/accept_ra')).toBe('0')
    },
  },
  {
    id: '8b',
    title: 'uses a bridge that is there: same index, and set up if it was down',
    expectReference: 'passes',
    async run(subject, version) {
      run('ip link add cni0 type bridge')
      const before = (await link('cni0'))?.ifindex
      await add(bridged(subject, version), createPod())
      const after = await link('cni0')
      expect([after?.ifindex, after?.flags]).toEqual([before, expect.arrayContaining(['UP'])])
    },
  },
  {
    id: '8c',
    title: 'refuses a link of that name that is no bridge, and leaves it alone',
    expectReference: 'passes',
    async run(subject, version) {
      run('ip link add cni0 type veth peer name other')
      expect((await refused('ADD', bridged(subject, version), createPod())).text).toMatch(
        /cni0.* already exists but is/,
      )
      expect((await link('cni0'))?.linkinfo?.info_kind).toBe('veth')
    },
  },
  {
    id: '9',
    title: 'attaches and detaches a pod with one IPv4 address and a default route',
    versions: VERSIONS,
    expectReference: 'passes',
    run: (subject, version) => attachAndDetach(subject, version, [SUBNET4]),
  },
  {
    id: '9b',
    title: 'the same with one IPv6 address',
    versions: VERSIONS,
    expectReference: 'passes',
    run: (subject, version) => attachAndDetach(subject, version, [SUBNET6]),
  },
  {
    id: '9c',
    title: 'the same with one address of each family',
    versions: VERSIONS,
    expectReference: 'passes',
    run: (subject, version) => attachAndDetach(subject, version, [SUBNET4, SUBNET6]),
  },
  {
    id: '9d',
    title: 'the same with one IPv4 and two IPv6 addresses, since 0.3.0',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    run: (subject, version) => attachAndDetach(subject, version, [SUBNET4, SUBNET6, 'fd00:2::/64']),
  },
  {
    id: '9e',
    title: 'refuses two addresses of a family before 0.3.0, whose results have room for one',
    versions: versionsBefore('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = ipamOf(subject, [SUBNET4, SUBNET6, 'fd00:2::/64'])
      const { text } = await refused('ADD', bridged(subject, version, { ipam }), createPod())
      expect(text).toMatch(/address (per|of each) family/)
    },
  },
  {
    id: '9f',
    title: 'tells the default route of isDefaultGateway in the result',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = { ...ipamOf(subject, [SUBNET4, SUBNET6]), routes: [] }
      const result = await add(bridged(subject, version, { isDefaultGateway: true, ipam }), createPod())
      expect(result.routes).toEqual([
        { dst: '0.0.0.0/0', gw: '10.1.0.1' },
        { dst: '::/0', gw: 'fd00:1::1' },
      ])
    },
  },
  {
    id: '10',
    title: 'the bridge has one MAC, before, while and after it has ports',
    expectReference: 'passes',
    async run(subject, version) {
      const [a, b] = [createPod('a'), createPod('b')]
      const macs: (string | undefined)[] = []
      const note = async (): Promise<unknown> => macs.push((await link('cni0'))?.address)
      const config = bridged(subject, version)
      for (const pod of [a, b]) await add(config, pod).then(note)
      for (const pod of [a, b]) await done('DEL', config, pod).then(note)
      await add(config, b).then(note)
      expect(new Set(macs).size, 'the MAC never changes').toBe(1)
    },
  },
  {
    id: '10b',
    title: 'the bridge that it tells of has the MAC that it tells, also without a gateway',
    expectReference: {
      fails: 'without isGateway the bridge takes the lowest MAC of its ports',
      at: /the MAC that was told/,
    },
    async run(subject, version) {
      const config = bridged(subject, version, { isGateway: false })
      const { interfaces } = await add(config, createPod('a'))
      // No veth has a lower one: theirs are locally administered, and begin with 02 at least.
      run(
        'ip link add low0 address 00:00:00:00:00:02 type veth peer name low1; ip link set low0 master cni0 up',
      )
      await add(config, createPod('b'))
      expect((await link('cni0'))?.address, 'the MAC that was told').toBe(interfaces?.[0]?.mac)
    },
  },
  {
    id: '10c',
    title: 'a bridge whose MAC the kernel has zeroed, as its last port left, is a gateway again',
    expectReference: 'passes',
    async run(subject, version) {
      run(`ip link add cni0 type bridge; ip link set cni0 up
        ip link add low0 type veth peer name low1; ip link set low0 master cni0; ip link del low0`)
      expect((await link('cni0'))?.address, 'as the case needs it').toBe('00:00:00:00:00:00')
      const [a, b] = [createPod('a'), createPod('b')]
      await add(bridged(subject, version), a)
      const mac = (await link('cni0'))?.address
      expect(mac).not.toBe('00:00:00:00:00:00')
      expect(await reaches('10.1.0.1', a)).toBe(true)
      await add(bridged(subject, version), b)
      expect((await link('cni0'))?.address, 'the MAC stays').toBe(mac)
    },
  },
  {
    id: '11',
    title: 'DEL of a pod that was never attached succeeds and leaves no state',
    versions: VERSIONS,
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      await done('DEL', bridged(subject, version), pod)
      await done('DEL', bridged(subject, version, { ipam: undefined }), pod)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '13',
    title: 'promiscMode makes the bridge promiscuous',
    expectReference: 'passes',
    async run(subject, version) {
      await add(bridged(subject, version, { promiscMode: true }), createPod())
      expect(run('ip -d link show cni0')).toContain('promiscuity 1')
    },
  },
  {
    id: '13b',
    title: 'refuses hairpinMode together with promiscMode',
    expectReference: 'passes',
    async run(subject, version) {
      const { text } = await refused(
        'ADD',
        bridged(subject, version, { hairpinMode: true, promiscMode: true }),
        createPod(),
      )
      expect(text).toMatch(/hairpin.*promisc/i)
    },
  },
  {
    id: '13c',
    title: 'hairpinMode and portIsolation are set on the port, and are off by themselves',
    expectReference: 'passes',
    async run(subject, version) {
      const flags = async (more: Record<string, unknown>, name: string): Promise<unknown> => {
        const { interfaces } = await add(bridged(subject, version, more), createPod(name))
        const { hairpin, isolated } =
          (await link(interfaces?.[1]?.name ?? ''))?.linkinfo?.info_slave_data ?? {}
        return [hairpin, isolated]
      }
      expect(await flags({}, 'a')).toEqual([false, false])
      expect(await flags({ hairpinMode: true }, 'b')).toEqual([true, false])
      expect(await flags({ portIsolation: true }, 'c')).toEqual([false, true])
    },
  },
  {
    id: '14',
    title: 'the pod gets the MAC of CNI_ARGS, before that of args.cni, before that of runtimeConfig',
    expectReference: 'passes',
    async run(subject, version) {
      const macs = ['02:00:00:00:00:0a', '02:00:00:00:00:0b', '02:00:00:00:00:0c']
      const layers = [{}, { args: { cni: { mac: macs[1] } } }, { runtimeConfig: { mac: macs[2] } }]
      for (const i of macs.keys()) {
        const config = bridged(subject, version, Object.assign({}, ...layers.slice(0, i + 1)))
        const pod = createPod(`pod${i}`)
        const { interfaces } = await add(config, pod, { args: `IgnoreUnknown=1;MAC=${macs[0]}` })
        expect(interfaces?.[2]?.mac).toBe(macs[i])
        expect((await link('eth0', pod))?.address).toBe(macs[i])
      }
    },
  },
  {
    id: '20',
    title: 'refuses addresses for an interface that is to stay down',
    expectReference: 'passes',
    async run(subject, version) {
      const { text } = await refused(
        'ADD',
        bridged(subject, version, { disableContainerInterface: true }),
        createPod(),
      )
      expect(text).toMatch(/IPAM.*DisableContainerInterface|disableContainerInterface.*ipam/i)
    },
  },
  {
    id: '20b',
    title: 'disableContainerInterface leaves the end of the pod down',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const config = bridged(subject, version, { disableContainerInterface: true, ipam: {} })
      await add(config, pod)
      expect((await link('eth0', pod))?.flags).not.toContain('UP')
      await done('DEL', config, pod)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
  {
    id: '20c',
    title: 'pods with portIsolation reach the gateway and not each other',
    expectReference: 'passes',
    async run(subject, version) {
      const [a, b] = [createPod('a'), createPod('b')]
      for (const pod of [a, b]) await add(bridged(subject, version, { portIsolation: true }), pod)
      expect(await reaches('10.1.0.1', a)).toBe(true)
      expect(await answersAtOnce('10.1.0.3', a)).toBe(false)
    },
  },
  {
    id: '22b',
    title: 'a network without addresses gives a pod an interface that is up, and no address',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const [pod, config] = [createPod(), bridged(subject, version, { ipam: {}, isGateway: false })]
      const result = await add(config, pod)
      expect([result.interfaces?.length, result.ips]).toEqual([3, undefined])
      expect((await link('eth0', pod))?.flags).toContain('LOWER_UP')
      expect(await addressesOf('eth0', pod)).toEqual([])
      await done('DEL', config, pod)
      expect(await leftovers()).toEqual(NO_LEFTOVERS)
    },
  },
]

conform(...BRIDGE)
