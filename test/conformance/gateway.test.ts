import { expect } from 'vitest'
import {
  type Case,
  conform,
  type Subject,
  VERSIONS,
  type Version,
  versionsFrom,
} from '../support/conformance/cases.ts'
import {
  add,
  answersAtOnce,
  bridged,
  type Config,
  createPod,
  detectDuplicates,
  done,
  ipamOf,
  leftovers,
  NO_LEFTOVERS,
  plainAddresses,
  reaches,
  refused,
  routed,
  SUBNET4,
  SUBNET6,
  useNode,
} from '../support/conformance/node.ts'
import { run } from '../support/node/private_namespaces.ts'
import { addressesOf, link, routes } from '../support/node/sandbox.ts'

// The gateway: its address on a bridge, and the point-to-point networks that do without a bridge.
useNode()

/** A network whose gateway is this CIDR's address. */
function withGateway(
  subject: Subject,
  version: Version,
  cidr: string,
  more: Record<string, unknown> = {},
): Config {
  const [gateway = '', prefix] = cidr.split('/')
  const subnet =
    { '10.0.0.1/8': '10.0.0.0/8', '10.1.2.3/16': '10.1.0.0/16' }[cidr] ??
    `${gateway.replace(/1$/, '')}/${prefix}`
  return bridged(subject, version, { ipam: { type: subject.ipam, ranges: [[{ subnet, gateway }]] }, ...more })
}

/** Two networks on one bridge, one after the other: the addresses of the bridge then, or the error of the second. */
async function gatewaysAfter(
  subject: Subject,
  version: Version,
  [first, second]: readonly [string, string],
  forceAddress: boolean,
): Promise<{ addresses: string[]; error?: string }> {
  await add(withGateway(subject, version, first), createPod('a'))
  const config = withGateway(subject, version, second, { forceAddress, name: 'net2' })
  const pod = createPod('b')
  if (second.startsWith('10') && !forceAddress) {
    const { text } = await refused('ADD', config, pod)
    return { addresses: await addressesOf('cni0'), error: text }
  }
  await add(config, pod)
  return { addresses: (await addressesOf('cni0')).toSorted() }
}

const V4 = ['10.0.0.1/8', '10.1.2.3/16'] as const
const V6_OVERLAPPING = ['fd00::1/16', 'fd00:1::1/48'] as const
const V6_APART = ['fd00:1::1/64', 'fd00:2::1/64'] as const

const ADDRESS: readonly Case[] = [
  {
    id: '12',
    title: 'refuses another IPv4 gateway on a bridge that has one, says which, and keeps the first',
    versions: VERSIONS,
    expectReference: 'passes',
    async run(subject, version) {
      const { addresses, error } = await gatewaysAfter(subject, version, V4, false)
      expect([addresses, error]).toEqual([['10.0.0.1/8'], expect.stringContaining('10.1.2.3/16')])
    },
  },
  {
    id: '12b',
    title: 'replaces it with forceAddress',
    versions: VERSIONS,
    expectReference: 'passes',
    async run(subject, version) {
      expect((await gatewaysAfter(subject, version, V4, true)).addresses).toEqual(['10.1.2.3/16'])
    },
  },
  {
    id: '12c',
    title: 'refuses an IPv6 gateway whose subnet overlaps, and replaces the other with forceAddress',
    expectReference: 'passes',
    async run(subject, version) {
      const [first, second] = V6_OVERLAPPING
      await add(withGateway(subject, version, first), createPod('a'))
      const config = withGateway(subject, version, second, { name: 'net2' })
      const pod = createPod('b')
      expect((await refused('ADD', config, pod)).text).toContain(second)
      expect(await addressesOf('cni0')).toEqual([first])
      await add({ ...config, forceAddress: true }, createPod('c'))
      expect(await addressesOf('cni0')).toEqual([second])
    },
  },
  {
    id: '12d',
    title: 'puts IPv6 gateways of subnets apart side by side, with and without forceAddress',
    expectReference: 'passes',
    async run(subject, version) {
      expect((await gatewaysAfter(subject, version, V6_APART, false)).addresses).toEqual(V6_APART)
      await add(
        withGateway(subject, version, 'fd00:3::1/64', { name: 'net3', forceAddress: true }),
        createPod('c'),
      )
      expect((await addressesOf('cni0')).toSorted()).toEqual([...V6_APART, 'fd00:3::1/64'])
    },
  },
  {
    id: '12e',
    title: 'a refused gateway address leaves nothing of the pod',
    expectReference: { fails: 'leaves the veth pair of the pod it refused', at: /nothing of the second pod/ },
    async run(subject, version) {
      await gatewaysAfter(subject, version, V4, false)
      expect((await leftovers()).links, 'nothing of the second pod').toHaveLength(1)
    },
  },
  {
    id: '12f',
    title: 'switches forwarding on for the families that the bridge is a gateway of',
    expectReference: 'passes',
    async run(subject, version) {
      run('echo 0 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv6/conf/all/forwarding')
      await add(bridged(subject, version, { ipam: ipamOf(subject, [SUBNET4, SUBNET6]) }), createPod())
      expect(run('cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding')).toBe('1\n1')
    },
  },
]

/** The life of a routed pod: status, its gateway answers, it is as it should be, it goes. */
async function routedLife(subject: Subject, version: Version, subnets: readonly string[]): Promise<void> {
  const pod = createPod()
  const config = routed(subject, version, { ipam: ipamOf(subject, subnets) })
  if (version === '1.1.0') await done('STATUS', config)
  const result = await add(config, pod)
  const gateways = subnets.map((subnet) => subnet.replace(/0*\/\d+$/, '1'))
  for (const gateway of gateways) {
    expect([gateway, await reaches(gateway, pod)]).toEqual([gateway, true])
  }
  const withResult = { ...config, prevResult: result }
  if (version >= '0.4.0') await done('CHECK', withResult, pod)
  else expect((await refused('CHECK', withResult, pod)).text).toContain('does not allow CHECK')
  await done('DEL', withResult, pod)
  expect(await link('eth0', pod)).toBeUndefined()
  expect(await leftovers()).toEqual(NO_LEFTOVERS)
}

const ROUTED: readonly Case[] = [
  {
    id: '23',
    title: 'a routed pod reaches its gateway, passes CHECK, and goes without a trace',
    versions: VERSIONS,
    expectReference: 'passes',
    run: (subject, version) => routedLife(subject, version, [SUBNET4]),
  },
  {
    id: '23b',
    title: 'the same with IPv6',
    versions: VERSIONS,
    expectReference: 'passes',
    run: (subject, version) => routedLife(subject, version, [SUBNET6]),
  },
  {
    id: '23c',
    title: 'the same with both',
    versions: VERSIONS,
    expectReference: 'passes',
    run: (subject, version) => routedLife(subject, version, [SUBNET4, SUBNET6]),
  },
  {
    id: '23d',
    title: 'tells the host end first and the end of the pod second, which the addresses belong to',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const { interfaces = [], ips } = await add(routed(subject, version), pod)
      expect(interfaces.map(({ name, sandbox }) => [name, sandbox])).toEqual([
        [expect.stringMatching(/^veth/), undefined],
        ['eth0', pod.path],
      ])
      expect(ips?.map((ip) => ip.interface)).toEqual([1])
      for (const [i, netns] of [undefined, pod].entries()) {
        expect((await link(interfaces[i]?.name ?? '', netns))?.address).toBe(interfaces[i]?.mac)
      }
    },
  },
  {
    id: '23e',
    title: 'routed pods reach each other, and the node reaches them, with MTU and routes as configured',
    expectReference: 'passes',
    async run(subject, version) {
      const [a, b] = [createPod('a'), createPod('b')]
      const ipam = {
        ...ipamOf(subject),
        routes: [{ dst: '0.0.0.0/0' }, { dst: '192.168.0.0/16', gw: '10.1.0.1' }],
      }
      for (const pod of [a, b]) await add(routed(subject, version, { ipam, mtu: 1400 }), pod)
      expect(await reaches('10.1.0.3', a)).toBe(true)
      expect(await reaches('10.1.0.3')).toBe(true)
      expect((await link('eth0', a))?.mtu).toBe(1400)
      const own = (await routes(a)).map(({ dst, gateway }) => [dst, gateway])
      expect(own).toEqual(
        expect.arrayContaining([
          ['default', '10.1.0.1'],
          ['192.168.0.0/16', '10.1.0.1'],
        ]),
      )
    },
  },
  {
    id: '23g',
    title: 'the first packet to and from a new pod is answered, IPv6 too',
    expectReference: {
      fails: 'the address of the host end is not usable for a second or two',
      at: /addresses that do not answer/,
    },
    async run(subject, version) {
      run(detectDuplicates(true))
      const config = routed(subject, version, { ipam: ipamOf(subject, [SUBNET4, SUBNET6]) })
      const pods = Array.from({ length: 8 }, (_, i) => createPod(`pod${i}`))
      // All at once, so that the kernel has much to do.
      const answers = await Promise.all(
        pods.map(async (pod) => {
          const addresses = plainAddresses(await add(config, pod))
          const toPod = addresses.map((address) => ({ address, from: undefined }))
          const toGateways = ['fd00:1::1', '10.1.0.1'].map((address) => ({ address, from: pod }))
          const asked = [...toGateways, ...toPod]
          return Promise.all(
            asked.map(async ({ address, from }) => [address, await answersAtOnce(address, from)]),
          )
        }),
      )
      const silent = answers.flat().filter(([, answered]) => !answered)
      expect(silent, 'addresses that do not answer').toEqual([])
    },
  },
  {
    id: '23f',
    title: 'a pod cannot make itself the router of the node: router advertisements are not heard',
    expectReference: 'passes',
    async run(subject, version) {
      const { interfaces } = await add(routed(subject, version), createPod())
      expect(run(`cat /proc/sys/net/ipv6/conf/${interfaces?.[0]?.name}/accept_ra`)).toBe('0')
    },
  },
]

conform(...ADDRESS, ...ROUTED)
