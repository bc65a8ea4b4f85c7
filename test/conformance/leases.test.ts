import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { expect } from 'vitest'
import { type Case, conform, type Subject, type Version } from '../support/conformance/cases.ts'
import {
  add,
  asIpam,
  bridged,
  type Config,
  done,
  type How,
  ipamOf,
  type Pod,
  plainAddresses,
  refused,
  SUBNET4,
  SUBNET6,
  useNode,
} from '../support/conformance/node.ts'

// The IPAM plugin by itself: which address it gives, and how it is written down.
useNode()

const LEASES = '/var/lib/cni/networks/net'

/** A container that needs no namespace. */
function container(name: string): Pod {
  return { name, path: '/run/netns/none', containerId: name }
}

function network(subject: Subject, version: Version, ...sets: readonly (readonly object[])[]): Config {
  return bridged(subject, version, { ipam: { type: subject.ipam, ranges: sets } })
}

/** The addresses that an ADD gives, without prefix lengths. */
async function give(subject: Subject, config: Config, name: string, how: How = {}): Promise<string[]> {
  return plainAddresses(await add(config, container(name), { ...asIpam(subject), ...how }))
}

async function take(subject: Subject, config: Config, name: string, how: How = {}): Promise<void> {
  await done('DEL', config, container(name), { ...asIpam(subject), ...how })
}

function leaseFiles(): string[] {
  return readdirSync(LEASES)
    .filter((name) => /^[0-9a-f]+[.:]/.test(name))
    .toSorted()
}

/** Writes what another release, or a killed one, has left. */
function writeLeases(files: Record<string, string>): void {
  mkdirSync(LEASES, { recursive: true })
  for (const [name, text] of Object.entries(files)) writeFileSync(`${LEASES}/${name}`, text)
}

const FILES: readonly Case[] = [
  {
    id: '29',
    title: 'a lease is a file named like the address, with container id and interface; DEL takes it away',
    versions: ['0.2.0', '0.4.0', '1.1.0'],
    expectReference: 'passes',
    async run(subject, version) {
      const config = bridged(subject, version, { ipam: ipamOf(subject, [SUBNET4, SUBNET6]) })
      await add(config, container('c1'), asIpam(subject))
      for (const name of ['10.1.0.2', 'fd00:1::2']) {
        expect(readFileSync(`${LEASES}/${name}`, 'utf8')).toBe('c1\r\neth0')
      }
      const last = [0, 1].map((set) => readFileSync(`${LEASES}/last_reserved_ip.${set}`, 'utf8'))
      expect(last).toEqual(['10.1.0.2', 'fd00:1::2'])
      await take(subject, config, 'c1')
      expect(leaseFiles()).toEqual([])
      expect(readdirSync(LEASES)).toEqual(
        expect.arrayContaining(['last_reserved_ip.0', 'last_reserved_ip.1']),
      )
    },
  },
  {
    id: '29b',
    title: 'dataDir says where the leases are',
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = { ...ipamOf(subject), dataDir: '/var/lib/cni/elsewhere' }
      const config = bridged(subject, version, { ipam })
      await add(config, container('c1'), asIpam(subject))
      expect(readFileSync('/var/lib/cni/elsewhere/net/10.1.0.2', 'utf8')).toBe('c1\r\neth0')
      await take(subject, config, 'c1')
    },
  },
  {
    id: '30',
    title: 'DEL of one interface on one network leaves another interface on another network alone',
    expectReference: 'passes',
    async run(subject, version) {
      const [net0, net1] = ['net', 'net1'].map((name) => ({
        ...network(subject, version, [{ subnet: SUBNET4 }]),
        name,
      }))
      await give(subject, net0 as Config, 'c1', { ifName: 'eth0' })
      await give(subject, net1 as Config, 'c1', { ifName: 'eth1' })
      await take(subject, net0 as Config, 'c1', { ifName: 'eth0' })
      expect(readFileSync('/var/lib/cni/networks/net1/10.1.0.2', 'utf8')).toBe('c1\r\neth1')
      expect(leaseFiles()).toEqual([])
    },
  },
  {
    id: '31',
    title:
      'a second ADD of a container and interface is refused, its lease stays, another container gets the next',
    expectReference: 'passes',
    async run(subject, version) {
      const config = network(subject, version, [{ subnet: SUBNET4 }])
      await give(subject, config, 'c1')
      await refused('ADD', config, container('c1'), asIpam(subject))
      expect(leaseFiles()).toEqual(['10.1.0.2'])
      expect(await give(subject, config, 'c2')).toEqual(['10.1.0.3'])
    },
  },
  {
    id: '32',
    title: 'DEL frees a lease that an old release wrote: the container id alone',
    expectReference: 'passes',
    async run(subject, version) {
      const config = network(subject, version, [{ subnet: SUBNET4 }])
      writeLeases({ '10.1.0.2': 'c1', '10.1.0.3': 'c2' })
      await take(subject, config, 'c1')
      expect(leaseFiles()).toEqual(['10.1.0.3'])
    },
  },
  {
    id: '33',
    title: 'DEL of a container that it does not know succeeds',
    expectReference: 'passes',
    async run(subject, version) {
      await take(subject, network(subject, version, [{ subnet: SUBNET4 }]), 'nobody')
    },
  },
  {
    id: '33b',
    title: 'white space at the ends of a lease file does not count',
    expectReference: 'passes',
    async run(subject, version) {
      const config = network(subject, version, [{ subnet: SUBNET4 }])
      writeLeases({ '10.1.0.2': ' c1\r\neth0 \n', 'last_reserved_ip.0': ' 10.1.0.2\n' })
      expect(await give(subject, config, 'c2')).toEqual(['10.1.0.3'])
      await take(subject, config, 'c1')
      expect(leaseFiles()).toEqual(['10.1.0.3'])
    },
  },
  {
    id: '33c',
    title: 'an empty lease file, left by a process that was killed, holds no address for ever (plugins#498)',
    expectReference: { fails: 'the address is lost', at: /no IP addresses available/ },
    async run(subject, version) {
      const config = network(subject, version, [
        { subnet: SUBNET4, rangeStart: '10.1.0.2', rangeEnd: '10.1.0.2' },
      ])
      writeLeases({ '10.1.0.2': '' })
      expect(await give(subject, config, 'c1')).toEqual(['10.1.0.2'])
    },
  },
  {
    id: '33d',
    title: 'DEL does not mind an ipam section that has become invalid, and frees the address',
    expectReference: { fails: 'DEL fails: no IP ranges specified', at: /DEL succeeds.*no IP ranges/s },
    async run(subject, version) {
      const config = network(subject, version, [{ subnet: SUBNET4 }])
      await give(subject, config, 'c1')
      await take(subject, { ...config, ipam: { type: subject.ipam } }, 'c1')
      expect(leaseFiles()).toEqual([])
    },
  },
]

/** One turn of the round robin: which addresses are held, which was given last, and which one comes next. */
type Turn = {
  readonly id: string
  readonly title: string
  readonly ranges: readonly object[]
  readonly held?: readonly string[]
  readonly last?: string
  readonly next: string
}

const SMALL = { subnet: '10.1.0.0/29' }
const TWO = [SMALL, { subnet: '10.1.0.16/29' }]

const TURNS: readonly Turn[] = [
  { id: '35', title: 'the first address after the gateway', ranges: [SMALL], next: '10.1.0.2' },
  { id: '35b', title: 'the one after the last given', ranges: [SMALL], last: '10.1.0.3', next: '10.1.0.4' },
  {
    id: '35c',
    title: 'not one that is held',
    ranges: [SMALL],
    held: ['10.1.0.4'],
    last: '10.1.0.3',
    next: '10.1.0.5',
  },
  { id: '35d', title: 'after the end the start again', ranges: [SMALL], last: '10.1.0.6', next: '10.1.0.2' },
  {
    id: '35e',
    title: 'the start when the last is outside the range',
    ranges: [SMALL],
    last: '10.1.0.128',
    next: '10.1.0.2',
  },
  {
    id: '35f',
    title: 'the last given itself when no other is free',
    ranges: [SMALL],
    held: ['10.1.0.2', '10.1.0.3', '10.1.0.5', '10.1.0.6'],
    last: '10.1.0.4',
    next: '10.1.0.4',
  },
  {
    id: '35g',
    title: 'from the end of a range to the next of its set',
    ranges: TWO,
    last: '10.1.0.6',
    next: '10.1.0.18',
  },
  {
    id: '35h',
    title: 'from the end of a set to its start',
    ranges: TWO,
    last: '10.1.0.22',
    next: '10.1.0.2',
  },
  {
    id: '35i',
    title: 'what is free in a later range when the first is full',
    ranges: TWO,
    held: ['10.1.0.2', '10.1.0.3', '10.1.0.4', '10.1.0.5', '10.1.0.6'],
    next: '10.1.0.18',
  },
]

const ORDER: readonly Case[] = [
  ...TURNS.map(
    ({ id, title, ranges, held = [], last, next }): Case => ({
      id,
      title: `gives ${title}`,
      expectReference: 'passes',
      async run(subject, version) {
        const others = Object.fromEntries(held.map((address) => [address, 'other\r\neth0']))
        writeLeases({ ...others, ...(last && { 'last_reserved_ip.0': last }) })
        expect(await give(subject, network(subject, version, ranges), 'c1')).toEqual([next])
      },
    }),
  ),
  {
    id: '35j',
    title: 'never gives the gateway, the network or the broadcast address',
    expectReference: 'passes',
    async run(subject, version) {
      const config = network(subject, version, [SMALL])
      const given: string[] = []
      for (let i = 0; i < 5; i++) given.push(...(await give(subject, config, `c${i}`)))
      expect(given).toEqual(['10.1.0.2', '10.1.0.3', '10.1.0.4', '10.1.0.5', '10.1.0.6'])
      await refused('ADD', config, container('more'), asIpam(subject))
    },
  },
  {
    id: '35k',
    title: 'a container that comes again gets another address than before',
    expectReference: 'passes',
    async run(subject, version) {
      const config = network(subject, version, [SMALL])
      const given: string[] = []
      for (let i = 0; i < 5; i++) {
        given.push(...(await give(subject, config, 'c1')))
        await take(subject, config, 'c1')
      }
      expect(new Set(given).size).toBe(5)
    },
  },
  {
    id: '35l',
    title: 'goes on where a host-local of the same network has left off',
    expectReference: 'passes',
    async run(subject, version) {
      const config = network(subject, version, [SMALL])
      await give(subject, config, 'c1')
      writeLeases({ '10.1.0.3': 'other\r\neth0', 'last_reserved_ip.0': '10.1.0.3' })
      expect(await give(subject, config, 'c2')).toEqual(['10.1.0.4'])
    },
  },
]

conform(...FILES, ...ORDER)
