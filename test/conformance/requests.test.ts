import { expect } from 'vitest'
import {
  type Case,
  conform,
  type Subject,
  type Version,
  versionsBefore,
} from '../support/conformance/cases.ts'
import {
  add,
  asIpam,
  bridged,
  type Config,
  done,
  freshNode,
  type How,
  type Pod,
  plainAddresses,
  refused,
  SUBNET4,
  SUBNET6,
  useNode,
} from '../support/conformance/node.ts'
import { residue } from '../support/node/sandbox.ts'

// Addresses that are asked for, the ranges that they come from, and pools that are full.
useNode()

const CONTAINER: Pod = { name: 'c1', path: '/run/netns/none', containerId: 'c1' }

function network(
  subject: Subject,
  version: Version,
  ipam: object,
  more: Record<string, unknown> = {},
): Config {
  return bridged(subject, version, { ipam: { type: subject.ipam, ...ipam }, ...more })
}

async function give(subject: Subject, config: Config, how: How = {}): Promise<string[]> {
  return plainAddresses(await add(config, CONTAINER, { ...asIpam(subject), ...how }))
}

/** A refused request, after which nothing is held. */
async function refuse(subject: Subject, config: Config, how: How = {}): Promise<string> {
  const { text } = await refused('ADD', config, CONTAINER, { ...asIpam(subject), ...how })
  expect((await residue()).leases, 'nothing is held').toEqual([])
  return text
}

const V4 = { ranges: [[{ subnet: SUBNET4 }]] }
const BOTH = { ranges: [[{ subnet: SUBNET4 }], [{ subnet: SUBNET6 }]] }

const REQUESTS: readonly Case[] = [
  {
    id: '34',
    title: 'gives the address that CNI_ARGS, args.cni or runtimeConfig asks for, with or without prefix',
    expectReference: 'passes',
    async run(subject, version) {
      for (const ip of ['10.1.0.88', '10.1.0.88/24']) {
        const ways: [Record<string, unknown>, How][] = [
          [{}, { args: `IgnoreUnknown=1;IP=${ip}` }],
          [{ args: { cni: { ips: [ip] } } }, {}],
          [{ runtimeConfig: { ips: [ip] } }, {}],
        ]
        for (const [more, how] of ways) {
          freshNode()
          expect(await give(subject, network(subject, version, V4, more), how)).toEqual(['10.1.0.88'])
        }
      }
    },
  },
  {
    id: '34b',
    title: 'gives one asked-for address from each range set',
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = { ranges: [[{ subnet: SUBNET4 }], [{ subnet: '10.2.0.0/24' }]] }
      const config = network(subject, version, ipam, { args: { cni: { ips: ['10.2.0.77', '10.1.0.88'] } } })
      expect(await give(subject, config)).toEqual(['10.1.0.88', '10.2.0.77'])
    },
  },
  {
    id: '34c',
    title: 'gives asked-for addresses of both families, and of one beside a free one of the other',
    expectReference: 'passes',
    async run(subject, version) {
      const config = (...ips: string[]): Config => network(subject, version, BOTH, { runtimeConfig: { ips } })
      expect(await give(subject, config('fd00:1::99', '10.1.0.99'))).toEqual(['10.1.0.99', 'fd00:1::99'])
      freshNode()
      expect(await give(subject, config('fd00:1::99'))).toEqual(['10.1.0.2', 'fd00:1::99'])
    },
  },
  {
    id: '34d',
    title: 'refuses two asked-for addresses of one range set, and names the one that is over',
    expectReference: 'passes',
    async run(subject, version) {
      const config = network(subject, version, V4, { args: { cni: { ips: ['10.1.0.77', '10.1.0.88'] } } })
      expect(await refuse(subject, config)).toMatch(/10\.1\.0\.(77|88)/)
    },
  },
  {
    id: '36',
    title: 'refuses an asked-for address that is held, behind the end or before the start of the range',
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = { ranges: [[{ subnet: SUBNET4, rangeStart: '10.1.0.10', rangeEnd: '10.1.0.20' }]] }
      const asking = (ip: string): Config => network(subject, version, ipam, { runtimeConfig: { ips: [ip] } })
      for (const ip of ['10.1.0.9', '10.1.0.21', '10.9.0.10'])
        expect(await refuse(subject, asking(ip))).toContain(ip)
      await give(subject, asking('10.1.0.15'))
      const other = { ...CONTAINER, containerId: 'c2' }
      expect((await refused('ADD', asking('10.1.0.15'), other, asIpam(subject))).text).toContain('10.1.0.15')
    },
  },
]

const RANGES: readonly Case[] = [
  {
    id: '37',
    title:
      'one address of each set, in this order: ipRanges of the runtime, the range in the old place, ranges',
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = { subnet: '10.2.0.0/24', rangeStart: '10.2.0.9', ranges: [[{ subnet: '10.3.0.0/24' }]] }
      const runtimeConfig = { ipRanges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: SUBNET6 }]] }
      const config = network(subject, version, ipam, { runtimeConfig })
      expect(await give(subject, config)).toEqual(['10.1.0.2', 'fd00:1::2', '10.2.0.9', '10.3.0.2'])
    },
  },
  {
    id: '37b',
    title: 'refuses ranges that overlap, in one set and in two, and families mixed in one set',
    expectReference: 'passes',
    async run(subject, version) {
      const wide = { subnet: '10.1.0.0/16' }
      const narrow = { subnet: '10.1.3.0/24' }
      expect(await refuse(subject, network(subject, version, { ranges: [[wide, narrow]] }))).toMatch(
        /overlap/,
      )
      expect(await refuse(subject, network(subject, version, { ranges: [[wide], [narrow]] }))).toMatch(
        /overlap/,
      )
      const mixed = { ranges: [[{ subnet: SUBNET4 }, { subnet: SUBNET6 }]] }
      expect(await refuse(subject, network(subject, version, mixed))).toMatch(/families/)
    },
  },
  {
    id: '37d',
    title: 'refuses two sets of one family before 0.3.0, and holds nothing',
    versions: versionsBefore('0.3.0'),
    expectReference: 'passes',
    async run(subject, version) {
      const ipam = { ranges: [[{ subnet: SUBNET4 }], [{ subnet: '10.2.0.0/24' }]] }
      expect(await refuse(subject, network(subject, version, ipam))).toMatch(/address (per|of each) family/)
    },
  },
  {
    id: '38',
    title: 'takes .1 for the gateway, and from .2 to the one before the broadcast address for the range',
    expectReference: 'passes',
    async run(subject, version) {
      const config = network(subject, version, {
        ranges: [[{ subnet: '10.1.0.0/30' }], [{ subnet: 'fd00:1::/126' }]],
      })
      const { ips } = await add(config, CONTAINER, asIpam(subject))
      expect(ips?.map(({ address, gateway }) => [address, gateway])).toEqual([
        ['10.1.0.2/30', '10.1.0.1'],
        ['fd00:1::2/126', 'fd00:1::1'],
      ])
    },
  },
  {
    id: '38e',
    title: 'gives the one address of a /32 or /128, and of a /31 or /127 the one that is not the gateway',
    expectReference: { fails: 'refused: too small to allocate from', at: /too small/ },
    async run(subject, version) {
      for (const subnet of ['10.1.0.0/31', '10.2.0.0/32', 'fd00:1::/127', 'fd00:2::/128']) {
        const given = await give(subject, network(subject, version, { ranges: [[{ subnet }]] }))
        expect(given).toEqual([subnet.replace(/\/.*/, '')])
        await done('DEL', network(subject, version, { ranges: [[{ subnet }]] }), CONTAINER, asIpam(subject))
      }
    },
  },
]

conform(...REQUESTS, ...RANGES)
