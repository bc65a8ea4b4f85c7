import { describe, expect, it } from 'vitest'
import { parseAddress, parseCidr } from '../../src/core/address.ts'
import { readEvents } from '../../src/kernel/netlink/events.ts'
import fixture from './fixtures/rtnetlink_requests.json'

/*
 * The kernel tells its subscribers of a change by the message that asks for it. So the requests of iproute2 do for events.
 */
const messageOf = (ip: string): Buffer =>
  Buffer.from(fixture.captures.find((one) => one.ip === ip)?.hex ?? '', 'hex')

describe('the event of', () => {
  it.each<[string, object]>([
    [
      'ip link set v0 mtu 1300 address 02:00:00:00:00:02 alias bowline',
      { subject: 'link', isGone: false, link: { index: 7, mtu: 1300, mac: '02:00:00:00:00:02' } },
    ],
    [
      'ip addr del 10.1.0.2/24 dev v0',
      { subject: 'address', isGone: true, address: { linkIndex: 7, cidr: parseCidr('10.1.0.2/24') } },
    ],
    [
      'ip neigh replace fd00::9 lladdr 02:00:00:00:00:02 nud permanent dev v0',
      {
        subject: 'neighbour',
        isGone: false,
        linkIndex: 7,
        neighbour: { address: parseAddress('fd00::9'), mac: '02:00:00:00:00:02', linkIndex: 7 },
      },
    ],
    [
      'bridge fdb del 02:00:00:00:00:02 dev v0 dst 192.0.2.2 self permanent',
      {
        subject: 'neighbour',
        isGone: true,
        linkIndex: 7,
        entry: { mac: '02:00:00:00:00:02', destination: parseAddress('192.0.2.2'), linkIndex: 7 },
      },
    ],
    [
      'ip route replace 10.2.0.0/24 via 10.2.0.0 dev v0 onlink proto 98',
      {
        subject: 'route',
        isGone: false,
        routes: [{ dst: parseCidr('10.2.0.0/24'), protocol: 98, onlink: true }],
      },
    ],
    [
      'ip -6 route replace fd00:2::/64 via fe80::2 dev v0 proto 98',
      {
        subject: 'route',
        isGone: false,
        routes: [
          { dst: parseCidr('fd00:2::/64'), gateway: parseAddress('fe80::2'), protocol: 98, linkIndex: 7 },
        ],
      },
    ],
  ])('%s names what has changed', (ip, event) => {
    expect(readEvents(messageOf(ip))).toMatchObject([event])
  })

  it('several changes in one message is each of them', () => {
    const two = Buffer.concat([messageOf('ip addr del 10.1.0.2/24 dev v0'), messageOf('ip link del v0')])
    expect(readEvents(two).map(({ subject }) => subject)).toEqual(['address', 'link'])
  })

  it('a rule or anything else is none', () => {
    const rule = messageOf('ip link del v0')
    rule.writeUInt16LE(32, 4)
    expect(readEvents(rule)).toEqual([])
  })
})
