import { writeFileSync } from 'node:fs'
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
  bridged,
  type Config,
  createPod,
  done,
  invoke,
  ipamOf,
  type Pod,
  routed,
  SUBNET4,
  SUBNET6,
  useNode,
  writeDelegate,
} from '../support/conformance/node.ts'
import { run } from '../support/node/private_namespaces.ts'
import { addressesOf, routes } from '../support/node/sandbox.ts'

// What IPAM says of routes, addresses and name servers is what the pod gets.
useNode()

function withRoutes(subject: Subject, version: Version, ...list: readonly object[]): Config {
  return bridged(subject, version, { ipam: { ...ipamOf(subject, [SUBNET4, SUBNET6]), routes: list } })
}

function routeLines(pod: Pod, words: string): string[] {
  return run(`ip -n ${pod.name} route show ${words}; ip -n ${pod.name} -6 route show ${words} 2>&1 || true`)
    .split('\n')
    .map((line) => line.replace(/ (proto|pref|onlink|linkdown) ?\w*/g, '').trim())
}

const ROUTES: readonly Case[] = [
  {
    id: '26',
    title: 'a route without gateway goes by the gateway of its family',
    versions: VERSIONS,
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      await add(withRoutes(subject, version, { dst: '192.168.0.0/16' }, { dst: 'fd99::/16' }), pod)
      expect((await routes(pod)).find(({ dst }) => dst === '192.168.0.0/16')?.gateway).toBe('10.1.0.1')
      expect((await routes(pod, 6)).find(({ dst }) => dst === 'fd99::/16')?.gateway).toBe('fd00:1::1')
    },
  },
  {
    id: '26b',
    title: 'table and priority of a route are applied',
    versions: versionsFrom('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const [inTable, withPriority] = [
        { dst: '192.168.0.0/16', table: 500 },
        { dst: '192.170.0.0/16', priority: 77 },
      ]
      await add(withRoutes(subject, version, inTable, withPriority), pod)
      expect(routeLines(pod, 'table 500')).toContain('192.168.0.0/16 via 10.1.0.1 dev eth0')
      expect(routeLines(pod, '')).toContain('192.170.0.0/16 via 10.1.0.1 dev eth0 metric 77')
    },
  },
  {
    id: '26k',
    title: 'a route of scope link has no gateway',
    expectReference: { fails: 'ADD fails: it adds the gateway of the address', at: /network is unreachable/ },
    async run(subject, version) {
      const pod = createPod()
      await add(withRoutes(subject, version, { dst: '192.169.0.0/16', scope: 253 }), pod)
      expect(routeLines(pod, '')).toContain('192.169.0.0/16 dev eth0 scope link')
    },
  },
  {
    id: '26c',
    title: 'two default routes with different gateways stand side by side (ECMP)',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const gateways = ['10.1.0.1', '10.1.0.9', 'fd00:1::1', 'fd00:1::9']
      const list = gateways.map((gw) => ({ dst: gw.includes(':') ? '::/0' : '0.0.0.0/0', gw }))
      await add(withRoutes(subject, version, ...list), pod)
      const shown = routeLines(pod, 'default').join(' ')
      for (const gateway of gateways) expect(shown).toContain(`via ${gateway} `)
    },
  },
  {
    id: '26d',
    title: 'an IPv6 address stays when the interface goes down and up',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      await add(bridged(subject, version, { ipam: ipamOf(subject, [SUBNET6]) }), pod)
      run(`ip -n ${pod.name} link set eth0 down; ip -n ${pod.name} link set eth0 up`)
      expect(await addressesOf('eth0', pod)).toEqual(['fd00:1::2/64'])
    },
  },
  {
    id: '26e',
    title: 'an interface index in the answer of a delegate is replaced by that of the pod’s interface',
    versions: ['0.3.1', '1.0.0', '1.1.0'],
    expectReference: 'passes',
    async run(subject, version) {
      for (const [i, index] of [7, 0].entries()) {
        const ips = [{ address: `10.1.0.${20 + i}/24`, version: '4', interface: index }]
        writeFileSync('/run/answer.json', JSON.stringify({ cniVersion: version, ips }))
        const type = writeDelegate('scripted', '[ $CNI_COMMAND != ADD ] || cat /run/answer.json')
        const pod = createPod(`pod${i}`)
        const result = await add(bridged(subject, version, { ipam: { type } }), pod)
        expect(result.ips?.map((ip) => ip.interface)).toEqual([2])
        expect(await addressesOf('eth0', pod)).toEqual([`10.1.0.${20 + i}/24`])
      }
    },
  },
  {
    id: '26f',
    title: 'isDefaultGateway beside a default route without gateway is one route, not an error (plugins#615)',
    versions: VERSIONS,
    expectReference: { fails: 'ADD fails: file exists', at: /file exists/ },
    async run(subject, version) {
      const pod = createPod()
      await add(bridged(subject, version, { isDefaultGateway: true }), pod)
      expect(routeLines(pod, 'default').filter(Boolean)).toEqual(['default via 10.1.0.1 dev eth0'])
    },
  },
  {
    id: '26g',
    title: 'mtu and advmss of a route are applied',
    expectReference: { fails: 'mtu and advmss are passed over in silence', at: /to contain '192\.168/ },
    async run(subject, version) {
      const pod = createPod()
      await add(withRoutes(subject, version, { dst: '192.168.0.0/16', mtu: 1300, advmss: 1200 }), pod)
      expect(routeLines(pod, '').join('\n')).toContain(
        '192.168.0.0/16 via 10.1.0.1 dev eth0 mtu 1300 advmss 1200',
      )
    },
  },
  {
    id: '26h',
    title: 'isDefaultGateway leaves a default route with a gateway of its own alone',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      const ipam = { ...ipamOf(subject), routes: [{ dst: '0.0.0.0/0', gw: '10.1.0.200' }] }
      await add(bridged(subject, version, { isDefaultGateway: true, ipam }), pod)
      expect(routeLines(pod, 'default').filter(Boolean)).toEqual(['default via 10.1.0.200 dev eth0'])
    },
  },
  {
    id: '26i',
    title: 'isGateway takes the first address of the subnet where IPAM names no gateway',
    expectReference: 'passes',
    async run(subject, version) {
      writeFileSync(
        '/run/answer.json',
        JSON.stringify({ cniVersion: version, ips: [{ address: '10.1.0.20/24' }] }),
      )
      const type = writeDelegate('scripted', '[ $CNI_COMMAND != ADD ] || cat /run/answer.json')
      const pod = createPod()
      const result = await add(bridged(subject, version, { isDefaultGateway: true, ipam: { type } }), pod)
      expect(result.ips).toMatchObject([{ address: '10.1.0.20/24', gateway: '10.1.0.1' }])
      expect(await addressesOf('cni0')).toEqual(['10.1.0.1/24'])
      expect(routeLines(pod, 'default').filter(Boolean)).toEqual(['default via 10.1.0.1 dev eth0'])
    },
  },
  {
    id: '26j',
    title: 'the interface works when the kernel of the pod begins with IPv6 switched off',
    expectReference: 'passes',
    async run(subject, version) {
      const pod = createPod()
      run(`ip netns exec ${pod.name} sh -c 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'`)
      await add(bridged(subject, version, { ipam: ipamOf(subject, [SUBNET4, SUBNET6]) }), pod)
      expect((await addressesOf('eth0', pod)).toSorted()).toEqual(['10.1.0.2/24', 'fd00:1::2/64'])
    },
  },
]

const FROM_IPAM = { nameservers: ['10.9.9.9'], search: ['ipam.example'] }

/** The DNS settings of a result, where IPAM has its own and the configuration has these. */
async function dnsWith(config: Config, subject: Subject, dns: object | undefined): Promise<unknown> {
  writeFileSync('/run/resolv.conf', 'nameserver 10.9.9.9\nsearch ipam.example\n')
  const ipam = { ...ipamOf(subject), resolvConf: '/run/resolv.conf' }
  const pod = createPod()
  const { output, exitCode } = await invoke('ADD', { ...config, ipam, ...(dns && { dns }) }, pod)
  expect(exitCode).toBe(0)
  await done('DEL', { ...config, ipam }, pod)
  run(`ip netns delete ${pod.name}`)
  return output.dns
}

const DNS: readonly Case[] = [
  {
    id: '24',
    title: 'DNS settings of IPAM stand where the configuration has none, or has an object without members',
    expectReference: 'passes',
    async run(subject, version) {
      for (const config of [bridged(subject, version), routed(subject, version)]) {
        expect(await dnsWith(config, subject, undefined)).toEqual(FROM_IPAM)
        expect(await dnsWith(config, subject, {})).toEqual(FROM_IPAM)
      }
    },
  },
  {
    id: '24b',
    title: 'any member in the configuration replaces all that IPAM says',
    expectReference: 'passes',
    async run(subject, version) {
      for (const config of [bridged(subject, version), routed(subject, version)]) {
        for (const dns of [
          { nameservers: ['10.0.0.10'] },
          { search: ['x.example'] },
          { domain: 'y.example' },
          { options: ['ndots:2'] },
        ]) {
          expect(await dnsWith(config, subject, dns)).toEqual(dns)
        }
      }
    },
  },
  {
    id: '24c',
    title: 'even an empty list does',
    expectReference: 'passes',
    async run(subject, version) {
      for (const config of [bridged(subject, version), routed(subject, version)]) {
        for (const key of ['nameservers', 'search', 'options']) {
          expect(await dnsWith(config, subject, { [key]: [] })).toBeUndefined()
        }
      }
    },
  },
]

conform(...ROUTES, ...DNS)
