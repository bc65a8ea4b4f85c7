import { describe, expect, it } from 'vitest'
import { parseMac } from '../../src/core/mac.ts'
import type { Change } from '../../src/kernel/kernel.ts'
import { REQUESTS, requestsOf } from '../support/netlink/requests.ts'
import { treeOf } from '../support/netlink/tree.ts'
import fixture from './fixtures/rtnetlink_requests.json'

const captured = new Map(fixture.captures.map(({ ip, hex }) => [ip, hex]))

/** Where iproute2 also writes the attributes in our order, with our flags: these are equal to the last byte. */
const SAME_BYTES = [
  'ip link set v0 up',
  'ip link set v0 down',
  'ip link set v0 promisc on',
  'ip link set v0 up master br0',
  'ip link set v0 nomaster',
  'ip link del v0',
  'ip addr add 10.1.0.2/31 dev v0',
  'ip addr add fd00::2/64 dev v0 nodad',
  'ip addr del 10.1.0.2/24 dev v0',
  'ip addr del fd00::2/64 dev v0',
  'ip route append 10.2.0.0/24 dev v0 scope host',
  'ip -6 route append fd00::1/128 dev v0',
  'ip neigh replace 10.1.0.9 lladdr 02:00:00:00:00:02 nud permanent dev v0',
  'ip neigh replace fd00::9 lladdr 02:00:00:00:00:02 nud permanent dev v0',
]

describe('a change says the same to the kernel as', () => {
  it.each(REQUESTS)('%s', (ip, change) => {
    expect(requestsOf(change).map(treeOf)).toEqual([treeOf(captured.get(ip) ?? '')])
  })
})

describe('a change is written in the same bytes as', () => {
  it.each(SAME_BYTES)('%s', (ip) => {
    const change = REQUESTS.find(([command]) => command === ip)?.[1]
    expect(change && requestsOf(change).map(hexOf)).toEqual([captured.get(ip)])
  })
})

describe('a change of a link', () => {
  const link = { index: 7 }

  it('that joins a bridge with port options joins first and is up only with its options', () => {
    const change: Change = { op: 'setLink', link, master: 9, up: true, port: { isolated: true } }
    expect(requestsOf(change)).toEqual([
      ...requestsOf({ op: 'setLink', link, master: 9 }),
      ...requestsOf({ op: 'setLink', link, up: true, port: { isolated: true } }),
    ])
  })

  it('that comes up without a link-local address is told so before it is up', () => {
    const none = { ipv6LinkLocal: false }
    expect(requestsOf({ op: 'setLink', link, up: true, mtu: 1400, ...none })).toEqual([
      ...requestsOf({ op: 'setLink', link, ...none }),
      ...requestsOf({ op: 'setLink', link, up: true, mtu: 1400 }),
    ])
  })

  it('that leaves its bridge is one request', () => {
    expect(requestsOf({ op: 'setLink', link, master: 0, up: true })).toHaveLength(1)
  })

  it('carries IPv4 settings as attributes numbered by their place in the kernel’s table', () => {
    const ipv4 = { sendRedirects: false, arpNotify: true, forwarding: true, rpFilter: true }
    const [message = new Uint8Array()] = requestsOf({ op: 'setLink', link, ipv4 })
    // IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF; IPV4_DEVCONF_FORWARDING 1, SEND_REDIRECTS 6, RP_FILTER 8, ARP_NOTIFY 22.
    const settings = [
      [1, '01000000'],
      [6, '00000000'],
      [8, '01000000'],
      [22, '01000000'],
    ]
    expect(treeOf(message).attributes).toEqual([[26, [[2, [[1, settings]]]]]])
  })

  it('carries the length of the transmit queue as IFLA_TXQLEN, 13', () => {
    const [message = new Uint8Array()] = requestsOf({ op: 'setLink', link, txQueueLength: 5000 })
    expect(treeOf(message).attributes).toEqual([[13, '88130000']])
  })

  it('carries settings of both families in one attribute', () => {
    const change: Change = { op: 'setLink', link, ipv4: { arpNotify: true }, ipv6LinkLocal: false }
    const [message = new Uint8Array()] = requestsOf(change)
    expect(treeOf(message).attributes).toEqual([
      [
        26,
        [
          [2, [[1, [[22, '01000000']]]]],
          [10, [[8, '01']]],
        ],
      ],
    ])
  })

  it('may name the link instead of its index', () => {
    const [message = new Uint8Array()] = requestsOf({ op: 'setLink', link: { name: 'lo' }, up: true })
    expect(treeOf(message)).toMatchObject({
      head: '00000000000000000100000001000000',
      attributes: [[3, 'lo']],
    })
  })

  it('leaves the flags alone that it does not mention', () => {
    const [message = new Uint8Array()] = requestsOf({
      op: 'setLink',
      link,
      mac: parseMac('02:00:00:00:00:01'),
    })
    expect(treeOf(message).head).toBe('00000000070000000000000000000000')
  })
})

function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
