import { writeFileSync } from 'node:fs'
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
  asIpam,
  bridged,
  type Config,
  createPod,
  invoke,
  ipamOf,
  refused,
  SUBNET4,
  SUBNET6,
  useNode,
} from '../support/conformance/node.ts'

// The exact form of a result in each version of the specification.
useNode()

const NETNS = '/run/netns/pod'

function dualStack(subject: Subject, version: Version, more: Record<string, unknown> = {}): Config {
  const ipam = { ...ipamOf(subject, [SUBNET4, SUBNET6]), ...more }
  return bridged(subject, version, { ipam })
}

/** The result without what no two runs have in common, and without the MTU, which the reference does not tell. */
async function resultOf(config: Config): Promise<unknown> {
  const { interfaces, ...rest } = (await add(config, createPod())) as Record<string, unknown> & {
    interfaces?: object[]
  }
  if (!interfaces) return rest
  const plain = interfaces.map((one) => ({ ...one, mac: 'MAC', mtu: undefined }))
  return JSON.parse(JSON.stringify({ ...rest, interfaces: plain }))
}

const INTERFACES = [
  { name: 'cni0', mac: 'MAC' },
  { name: expect.stringMatching(/^veth[0-9a-f]+$/), mac: 'MAC' },
  { name: 'eth0', mac: 'MAC', sandbox: NETNS },
]
const IPS = [
  { interface: 2, address: '10.1.0.2/24', gateway: '10.1.0.1' },
  { interface: 2, address: 'fd00:1::2/64', gateway: 'fd00:1::1' },
]
const ROUTES = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]

const SHAPES: readonly Case[] = [
  {
    id: '5',
    title: 'before 0.3.0 a result is ip4 and ip6, each with its gateway and routes, and dns',
    versions: versionsBefore('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      expect(await resultOf(dualStack(subject, version))).toEqual({
        cniVersion: version,
        ip4: { ip: '10.1.0.2/24', gateway: '10.1.0.1', routes: [{ dst: '0.0.0.0/0' }] },
        ip6: { ip: 'fd00:1::2/64', gateway: 'fd00:1::1', routes: [{ dst: '::/0' }] },
        dns: {},
      })
    },
  },
  {
    id: '5b',
    title: 'from 0.3.0 to 0.4.0 each address tells its IP version, and dns is there though empty',
    versions: ['0.3.0', '0.3.1', '0.4.0'],
    expectReference: 'passes',
    async run(subject, version) {
      const [first, second] = IPS
      expect(await resultOf(dualStack(subject, version))).toEqual({
        cniVersion: version,
        interfaces: INTERFACES,
        ips: [
          { version: '4', ...first },
          { version: '6', ...second },
        ],
        routes: ROUTES,
        dns: {},
      })
    },
  },
  {
    id: '5c',
    title: 'from 1.0.0 an address has no version, and what is empty is left out',
    versions: versionsFrom('1.0.0'),
    expectReference: 'passes',
    async run(subject, version) {
      expect(await resultOf(dualStack(subject, version))).toEqual({
        cniVersion: version,
        interfaces: INTERFACES,
        ips: IPS,
        routes: ROUTES,
      })
    },
  },
  {
    id: '5d',
    title: 'a route keeps its gateway, priority, table and scope',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const routes = [
        { dst: '192.168.0.0/16', gw: '10.1.0.9', priority: 50, table: 77, scope: 0 },
        { dst: '192.169.0.0/16', mtu: 1300, advmss: 1200 },
      ]
      const result = (await resultOf(dualStack(subject, version, { routes }))) as { routes: unknown }
      expect(result.routes).toEqual(routes)
    },
  },
  {
    id: '5e',
    title: 'the interfaces tell their MTU since 1.1.0',
    expectReference: { fails: 'no interface has an MTU', at: /tells its MTU/ },
    async run(subject, version) {
      const result = await add(bridged(subject, version, { mtu: 1400 }), createPod())
      expect(
        result.interfaces?.map(({ mtu }) => mtu),
        'each tells its MTU',
      ).toEqual([1400, 1400, 1400])
    },
  },
  {
    id: '5f',
    title: 'a result with DNS settings of IPAM repeats them in every version',
    versions: VERSIONS,
    expectReference: 'passes',
    async run(subject, version) {
      writeFileSync(
        '/run/resolv.conf',
        'nameserver 10.9.9.9\nnameserver fd00::9\ndomain a.example\nsearch b.example c.example\noptions ndots:3\n',
      )
      const result = (await resultOf(dualStack(subject, version, { resolvConf: '/run/resolv.conf' }))) as {
        dns: unknown
      }
      expect(result.dns).toEqual({
        nameservers: ['10.9.9.9', 'fd00::9'],
        domain: 'a.example',
        search: ['b.example', 'c.example'],
        options: ['ndots:3'],
      })
    },
  },
  {
    id: '5g',
    title: 'an IPAM plugin by itself prints addresses, routes and DNS, and no interface',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const output = await add(dualStack(subject, version), createPod(), asIpam(subject))
      expect(Object.keys(output)).not.toContain('interfaces')
      expect(output.ips?.map((ip) => Object.keys(ip).toSorted())).toEqual(
        [4, 6].map(() => ['address', 'gateway', ...(version < '1.0.0' ? ['version'] : [])]),
      )
    },
  },
  {
    id: '22',
    title: 'a network without addresses has no result before 0.3.0: ADD says so, DEL does not mind',
    versions: versionsBefore('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const [pod, config] = [createPod(), bridged(subject, version, { ipam: undefined })]
      expect((await refused('ADD', config, pod)).text).toMatch(/cannot convert: no valid IP addresses/)
      expect((await invoke('DEL', config, pod)).exitCode).toBe(0)
    },
  },
]

conform(...SHAPES)
