import { describe, expect, it } from 'vitest'
import { capacityOf, formatRangeSet, isGateway } from '../../ipam/range_set.ts'
import { formatAddress, parseAddress } from '../../src/core/address.ts'
import { Code } from '../../src/core/errors.ts'
import { faultOf } from '../support/fault_of.ts'
import { plannedRanges, type RangeJson } from '../support/planned_ranges.ts'

describe('the ranges of a network', () => {
  it.each([
    ['10.0.0.0/24', '10.0.0.1-10.0.0.254', '10.0.0.1'],
    ['192.0.2.0/29', '192.0.2.1-192.0.2.6', '192.0.2.1'],
    ['10.0.0.0/30', '10.0.0.1-10.0.0.2', '10.0.0.1'],
    ['2001:db8:1::/64', '2001:db8:1::1-2001:db8:1:0:ffff:ffff:ffff:ffff', '2001:db8:1::1'],
    ['fd00::/126', 'fd00::1-fd00::3', 'fd00::1'],
  ])('of %s go from the first address to the last, gateway first', (subnet, expected, gateway) => {
    const [set] = plannedRanges({ ranges: [[{ subnet }]] })
    expect(set && formatRangeSet(set)).toBe(expected)
    expect(set && formatAddress(set.ranges[0]?.gateway ?? { family: 4, value: 0n })).toBe(gateway)
  })

  it.each([
    ['10.1.0.0/31', 'routed', '10.1.0.0-10.1.0.1', undefined],
    ['fd00::4/127', 'routed', 'fd00::4-fd00::5', undefined],
    ['10.1.0.7/32', 'routed', '10.1.0.7-10.1.0.7', undefined],
    ['fd00::7/128', 'routed', 'fd00::7-fd00::7', undefined],
    ['10.1.0.0/31', 'bridged', '10.1.0.0-10.1.0.1', '10.1.0.1'],
    ['fd00::4/127', 'bridged', 'fd00::4-fd00::5', 'fd00::5'],
    ['10.1.0.0/31', 'unknown', '10.1.0.0-10.1.0.1', '10.1.0.1'],
    ['10.1.0.7/32', 'unknown', '10.1.0.7-10.1.0.7', undefined],
  ] as const)('of %s, %s, are all of its addresses', (subnet, use, expected, gateway) => {
    const [set] = plannedRanges({ ranges: [[{ subnet }]] }, [], use)
    const given = set?.ranges[0]?.gateway
    expect([set && formatRangeSet(set), given && formatAddress(given)]).toEqual([expected, gateway])
  })

  it.each([
    ['10.1.0.0', '10.1.0.1'],
    ['10.1.0.1', '10.1.0.0'],
  ])('of two addresses with %s for the pod have the other one as gateway', (pod, gateway) => {
    const [set] = plannedRanges({ ranges: [[{ subnet: '10.1.0.0/31', rangeStart: pod, rangeEnd: pod }]] })
    expect(set?.ranges[0]?.gateway).toEqual(parseAddress(gateway))
  })

  it('of one address need a gateway by name on a bridge', () => {
    const fault = faultOf(() => plannedRanges({ ranges: [[{ subnet: '10.1.0.7/32' }]] }, [], 'bridged'))
    expect(fault.message).toContain('"ipam.ranges[0][0].subnet": 10.1.0.7/32 leaves no address for a gateway')
    const ranges = [[{ subnet: '10.1.0.7/32', gateway: '169.254.1.1' }]]
    expect(plannedRanges({ ranges }, [], 'bridged')).toHaveLength(1)
  })

  it.each([
    ['0.0.0.0', 'the unspecified address'],
    ['0.0.0.5', 'an address of "this network"'],
    ['127.0.0.1', 'a loopback address'],
    ['224.0.0.1', 'a multicast address'],
    ['239.255.255.255', 'a multicast address'],
    ['255.255.255.255', 'the broadcast address'],
    ['240.0.0.1', 'an address of the reserved block'],
    ['10.1.0.0', 'the network address of 10.1.0.0/24'],
    ['10.1.0.255', 'the broadcast address of 10.1.0.0/24'],
    ['::ffff:127.0.0.1', 'a loopback address'],
    ['::', 'the unspecified address'],
    ['::1', 'a loopback address'],
    ['::5', 'an address of the reserved block'],
    ['ff02::1', 'a multicast address'],
    ['fd00::', 'the network address of fd00::/64'],
  ])('refuse the gateway %s', (gateway, why) => {
    const family = gateway.includes('.') ? 4 : 6
    const subnet = family === 4 ? '10.1.0.0/24' : 'fd00::/64'
    const shown = formatAddress(parseAddress(gateway))
    const fault = faultOf(() => plannedRanges({ ranges: [[{ subnet, gateway }]] }))
    expect(fault).toMatchObject({
      code: 7,
      message: expect.stringContaining(`"ipam.ranges[0][0].gateway": ${shown} is ${why}`),
    })
    const routes = [{ dst: '10.9.0.0/24', gw: gateway }]
    const refused = faultOf(() => plannedRanges({ ranges: [[{ subnet }]], routes }))
    expect(refused?.message).toContain(`"ipam.routes[0].gw": ${shown} is ${why}`)
  })

  it.each([
    ['10.1.0.0/24', '169.254.1.1'],
    ['10.1.0.0/24', '::ffff:10.1.0.9'],
    ['240.1.0.0/24', '240.1.0.1'],
    ['10.1.0.0/31', '10.1.0.0'],
    ['fd00::/64', 'fe80::1'],
    ['fd00::/127', 'fd00::'],
    ['fd00::/64', 'fd00::ffff:ffff:ffff:ffff'],
  ])('of %s take the gateway %s', (subnet, gateway) => {
    expect(plannedRanges({ ranges: [[{ subnet, gateway }]] })[0]?.ranges[0]?.gateway).toEqual(
      parseAddress(gateway),
    )
  })

  it.each([
    '0.0.0.0/0',
    '0.0.0.0/8',
    '127.0.0.0/24',
    '64.0.0.0/2',
    '224.0.0.0/24',
    '::/64',
    '::1/128',
    'ff02::/64',
  ])('refuse the subnet %s, which has no hosts', (subnet) => {
    const fault = faultOf(() => plannedRanges({ ranges: [[{ subnet }]] }))
    expect(fault.message).toContain(`"ipam.ranges[0][0].subnet": ${subnet} has `)
  })

  it('keep a next hop of the routes for the router that has it', () => {
    const config = {
      ranges: [[{ subnet: '10.1.0.0/29' }], [{ subnet: 'fd00::/64' }]],
      routes: [
        { dst: '10.9.0.0/24', gw: '10.1.0.3' },
        { dst: '10.8.0.0/24', gw: '10.1.0.1' },
      ],
    }
    const [v4, v6] = plannedRanges(config)
    expect(v4 && capacityOf(v4)).toBe(4n)
    expect(v4 && isGateway(v4, parseAddress('10.1.0.3'))).toBe(true)
    expect(v6).not.toHaveProperty('nextHops')
  })

  it('come from the runtime first, then from the old place, then from "ranges"', () => {
    const sets = plannedRanges(
      { subnet: '10.1.0.0/24', ranges: [[{ subnet: '10.2.0.0/24' }], [{ subnet: 'fd02::/64' }]] },
      [[{ subnet: '10.3.0.0/24' }]],
    )
    expect(sets.map((set) => formatRangeSet(set).split('-')[0])).toEqual([
      '10.3.0.1',
      '10.1.0.1',
      '10.2.0.1',
      'fd02::1',
    ])
    expect(sets.map(({ index }) => index)).toEqual([0, 1, 2, 3])
  })

  it('in the old place take the other three keys from there as well', () => {
    const [set] = plannedRanges({
      subnet: '10.1.0.0/24',
      rangeStart: '10.1.0.10',
      rangeEnd: '10.1.0.20',
      gateway: '10.1.0.15',
    })
    expect(set && formatRangeSet(set)).toBe('10.1.0.10-10.1.0.20')
    expect(set?.ranges[0]?.gateway?.value).toBe(0x0a01000fn)
  })

  it('leave out the network and the broadcast address, even where they are asked for', () => {
    const [set] = plannedRanges({
      ranges: [[{ subnet: '10.0.0.0/29', rangeStart: '10.0.0.0', rangeEnd: '10.0.0.7' }]],
    })
    expect(set && formatRangeSet(set)).toBe('10.0.0.1-10.0.0.6')
  })

  it('may have a gateway outside the subnet', () => {
    const [set] = plannedRanges({ ranges: [[{ subnet: '10.0.0.0/24', gateway: '169.254.1.1' }]] })
    expect(set?.ranges[0]?.gateway?.value).toBe(0xa9fe0101n)
  })

  it('may share a subnet as long as they share no address', () => {
    const subnet = '10.0.0.0/24'
    const low: RangeJson = { subnet, rangeEnd: '10.0.0.99' }
    const high: RangeJson = { subnet, rangeStart: '10.0.0.100' }
    expect(plannedRanges({ ranges: [[low, high]] })).toHaveLength(1)
    expect(plannedRanges({ ranges: [[low], [high]] })).toHaveLength(2)
  })

  const refused: [string, Parameters<typeof plannedRanges>[0], string, string][] = [
    ['that are none', {}, 'key "ipam.ranges" is missing', '"subnet": "10.1.0.0/24"'],
    ['that are an empty list', { ranges: [] }, 'key "ipam.ranges" is missing', 'Add one'],
    [
      'with an empty set',
      { ranges: [[]] },
      'key "ipam.ranges[0]": the range set is empty',
      'Give it a range',
    ],
    [
      'with host bits',
      one({ subnet: '10.1.0.5/24' }),
      '"ipam.ranges[0][0].subnet": 10.1.0.5/24 has host bits set',
      'Write 10.1.0.0/24.',
    ],
    [
      'with host bits in IPv6',
      one({ subnet: 'fd00::5/64' }),
      'fd00::5/64 has host bits set',
      'Write fd00::/64.',
    ],
    [
      'with no prefix',
      one({ subnet: '10.1.0.0' }),
      '"ipam.ranges[0][0].subnet": "10.1.0.0" is not an address with a prefix',
      '10.1.0.0/24',
    ],
    [
      'in the old place with a bad key',
      { subnet: '10.1.0.0/24', rangeStart: 'x' },
      'key "ipam.rangeStart": "x" is not',
      'Write it like',
    ],
    [
      'that start outside',
      one({ subnet: '10.1.0.0/24', rangeStart: '10.2.0.1' }),
      'rangeStart": 10.2.0.1 is not in 10.1.0.0/24',
      'of the subnet',
    ],
    [
      'that end outside',
      one({ subnet: '10.1.0.0/24', rangeEnd: '10.2.0.1' }),
      'rangeEnd": 10.2.0.1 is not in 10.1.0.0/24',
      'of the subnet',
    ],
    [
      'that are reversed',
      one({ subnet: '10.1.0.0/24', rangeStart: '10.1.0.9', rangeEnd: '10.1.0.8' }),
      '10.1.0.9 is behind rangeEnd 10.1.0.8',
      'Exchange',
    ],
    [
      'that hold the broadcast address alone',
      one({ subnet: '10.1.0.0/24', rangeStart: '10.1.0.255', rangeEnd: '10.1.0.255' }),
      'holds no address that a pod can have',
      'Keep off',
    ],
    [
      'that hold the network address alone',
      one({ subnet: '10.1.0.0/24', rangeStart: '10.1.0.0', rangeEnd: '10.1.0.0' }),
      'holds no address that a pod can have',
      'Keep off',
    ],
    [
      'that hold the gateway alone',
      one({ subnet: '10.1.0.0/24', rangeEnd: '10.1.0.1' }),
      '10.1.0.1-10.1.0.1 holds no address besides the gateway',
      'Move',
    ],
    [
      'with a gateway of the other family',
      one({ subnet: '10.1.0.0/24', gateway: 'fd00::1' }),
      'gateway": fd00::1 is not of the family',
      'same family',
    ],
    [
      'of two families in one set',
      { ranges: [[{ subnet: '10.1.0.0/24' }, { subnet: 'fd00::/64' }]] },
      '"ipam.ranges[0]": 10.1.0.0/24 and fd00::/64 are of different families',
      'a set each',
    ],
    [
      'that overlap in one set',
      { ranges: [[{ subnet: '10.1.0.0/24' }, { subnet: '10.1.0.0/25' }]] },
      'keys "ipam.ranges[0][0]" and "ipam.ranges[0][1]" overlap',
      'keep apart',
    ],
    [
      'that overlap between sets',
      { subnet: '10.1.0.0/24', ranges: [[{ subnet: 'fd00::/64' }], [{ subnet: '10.1.0.0/16' }]] },
      'keys "ipam" and "ipam.ranges[1][0]" overlap',
      'keep apart',
    ],
  ]

  it.each(refused)('%s are refused', (_, config, message, hint) => {
    const fault = faultOf(() => plannedRanges(config))
    expect(fault.code).toBe(Code.invalidConfig)
    expect(fault.message).toContain(message)
    expect(fault.hint).toContain(hint)
  })

  it('of the runtime are refused by their own key', () => {
    const fault = faultOf(() => plannedRanges({}, [[{ subnet: '10.1.0.5/24' }]]))
    expect(fault.message).toContain('"runtimeConfig.ipRanges[0][0].subnet"')
  })
})

function one(range: RangeJson): Parameters<typeof plannedRanges>[0] {
  return { ranges: [[range]] }
}
