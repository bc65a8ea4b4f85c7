import { describe, expect, it } from 'vitest'
import { formatAddress, formatCidr } from '../../src/core/address.ts'
import type { Route } from '../../src/kernel/kernel.ts'
import { MessageWriter, readMessages } from '../../src/kernel/netlink/message.ts'
import { decodeAddress, decodeLink, decodeNeighbour, decodeRoutes } from '../../src/kernel/netlink/replies.ts'
import dumps from './fixtures/rtnetlink_dumps.json'

/*
 * Dumps of a real kernel, judged by what `ip -j` says about the same tables. The fixture tells how it was made.
 */

const NAMES: Record<number, string> = Object.fromEntries(
  dumps.links.ip.map((link) => [link.ifindex, link.ifname]),
)

describe('a dump of links', () => {
  const links = bodiesOf(dumps.links, 16).map(decodeLink)

  it('gives every link in order', () => {
    expect(links.map(({ index, name }) => [index, name])).toEqual(
      dumps.links.ip.map(({ ifindex, ifname }) => [ifindex, ifname]),
    )
  })

  it.each(dumps.links.ip)('says of $ifname what ip says', (wanted) => {
    const link = links.find(({ index }) => index === wanted.ifindex)
    expect(link).toMatchObject({
      kind: wanted.linkinfo?.info_kind ?? '',
      mac: wanted.address,
      mtu: wanted.mtu,
      up: wanted.flags.includes('UP'),
      running: wanted.operstate !== 'DOWN',
      promiscuous: wanted.flags.includes('PROMISC'),
    })
  })

  it('tells the bridge, the port options and the alias of a port', () => {
    const port = links.find(({ name }) => name === 'v0')
    expect(port).toMatchObject({
      master: 9,
      port: { hairpin: true, isolated: true },
      alias: 'bowline',
      peer: 8,
    })
  })

  it('tells the other end of a veth in the same namespace', () => {
    expect(links.find(({ name }) => name === 'v1')?.peer).toBe(12)
  })

  it('tells whether a link believes router advertisements', () => {
    expect(links.map(({ acceptRa }) => acceptRa)).toEqual(links.map(() => 1))
  })

  it('tells whether a bridge filters VLANs', () => {
    expect(links.find(({ name }) => name === 'br0')?.vlanFiltering).toBe(false)
  })

  it('leaves out what a plain link has not', () => {
    expect(Object.keys(links[0] ?? {}).sort()).toEqual(
      [
        'acceptRa',
        'group',
        'index',
        'kind',
        'mac',
        'mtu',
        'name',
        'promiscuous',
        'running',
        'txQueueLength',
        'up',
      ].sort(),
    )
  })
})

describe('a VLAN link', () => {
  /** As `ip -d link show` has it: IFLA_LINK 5, IFLA_LINKINFO 18 with kind and data, IFLA_LINK_NETNSID 37. */
  const vlanLink = (isAbroad: boolean) => {
    const writer = new MessageWriter()
    writer.u16(0, 1).u32(12).u32(0).u32(0)
    writer.attributeString(3, 'br0.100').attributeU32(5, 9)
    writer.nest(18, () => writer.attributeString(1, 'vlan').nest(2, () => writer.attributeU16(1, 100)))
    if (isAbroad) writer.attributeU32(37, 0)
    return decodeLink(writer.finish())
  }

  it('tells its number, and the link that it is on', () => {
    expect(vlanLink(false)).toMatchObject({ kind: 'vlan', vlan: { id: 100, parent: 9 } })
  })

  it('tells of no link that is in another namespace, where the index means another', () => {
    expect(vlanLink(true).vlan).toEqual({ id: 100 })
  })
})

describe('a dump of addresses', () => {
  const addresses = bodiesOf(dumps.addresses, 20).map(decodeAddress)
  const SCOPES: Record<string, number> = { global: 0, link: 253, host: 254 }

  it.each(dumps.addresses.ip)(
    'gives those of link $ifindex with scope and flags',
    ({ ifindex, addr_info }) => {
      const found = addresses.filter(({ linkIndex }) => linkIndex === ifindex)
      expect(found.map(({ cidr, scope, flags }) => [formatCidr(cidr), scope, flags])).toEqual(
        addr_info.map((one) => [`${one.local}/${one.prefixlen}`, SCOPES[one.scope], flagsOf(one)]),
      )
    },
  )

  function flagsOf(one: { noprefixroute?: boolean; nodad?: boolean; tentative?: boolean }): number {
    const PERMANENT = 0x80
    return PERMANENT | (one.noprefixroute ? 0x200 : 0) | (one.nodad ? 0x02 : 0) | (one.tentative ? 0x40 : 0)
  }
})

type IpRoute = {
  type?: string
  dst: string
  dev?: string
  gateway?: string
  via?: { host: string }
  table?: string
  scope?: string
  prefsrc?: string
  metric?: number
  metrics?: { mtu?: number; advmss?: number }[]
  nexthops?: { gateway: string; dev: string }[]
}

describe('a dump of routes', () => {
  const routes = bodiesOf(dumps.routes, 24).flatMap(decodeRoutes)

  it.each([
    ['IPv4', dumps.routes.ip4],
    ['IPv6', dumps.routes.ip6],
  ] as [string, IpRoute[]][])('gives the unicast routes of %s outside the local table', (family, wanted) => {
    const found = routes.filter(({ dst }) => `IPv${dst.address.family}` === family).map(describeRoute)
    const unicast = wanted.filter(({ type, table }) => type === undefined && table !== 'local')
    expect(found.sort()).toEqual(unicast.flatMap(describeIpRoute).sort())
  })

  it('gives two routes for one route by two gateways', () => {
    const defaults = routes.filter(({ dst }) => formatCidr(dst) === '::/0')
    expect(defaults.map(({ gateway }) => gateway && formatAddress(gateway))).toEqual(['fd00::2', 'fd00::3'])
  })

  it('tells the scope of IPv4 routes', () => {
    const scopes = routes.map(({ dst, scope }) => [formatCidr(dst), scope])
    expect(Object.fromEntries(scopes)).toMatchObject({
      '0.0.0.0/0': 0,
      '10.7.0.0/16': 253,
      '10.1.0.0/24': 253,
    })
  })

  it('gives nothing for a route of another protocol than IP', () => {
    const AF_MPLS = 28
    const writer = new MessageWriter()
    writer.u8(AF_MPLS, 20).u8(254, 3, 0, 1).u32(0).attributeU32(1, 0x100).attributeU32(4, 7)
    expect(decodeRoutes(writer.finish())).toEqual([])
  })

  function describeRoute(route: Route): string {
    const gateway = route.gateway && formatAddress(route.gateway)
    const source = route.source && formatAddress(route.source)
    return [
      formatCidr(route.dst),
      gateway,
      NAMES[route.linkIndex],
      route.table,
      source,
      route.priority,
      route.mtu,
      route.advmss,
    ].join(' ')
  }

  function describeIpRoute(route: IpRoute): string[] {
    const width = route.dst.includes(':') || route.nexthops ? 128 : 32
    const any = route.nexthops || route.gateway?.includes(':') ? '::/0' : '0.0.0.0/0'
    const dst = route.dst === 'default' ? any : route.dst.includes('/') ? route.dst : `${route.dst}/${width}`
    const [{ mtu, advmss } = {}] = route.metrics ?? []
    return (route.nexthops ?? [{ gateway: route.gateway ?? route.via?.host, dev: route.dev }]).map((hop) =>
      [dst, hop.gateway, hop.dev, Number(route.table ?? 254), route.prefsrc, route.metric, mtu, advmss].join(
        ' ',
      ),
    )
  }
})

describe('a dump of neighbours', () => {
  const neighbours = bodiesOf(dumps.neighbours, 28).flatMap((body) => decodeNeighbour(body) ?? [])

  it('gives those that were set or learned, not those of multicast', () => {
    const found = neighbours.map(({ address, mac, linkIndex }) => [
      formatAddress(address),
      mac,
      NAMES[linkIndex],
    ])
    const wanted = dumps.neighbours.ip.filter(({ state }) => !state.includes('NOARP'))
    expect(found).toEqual(wanted.map(({ dst, lladdr, dev }) => [dst, lladdr, dev]))
  })

  it('gives nothing for one that is still asked for', () => {
    const INCOMPLETE = 1
    const writer = new MessageWriter()
    writer
      .u8(2)
      .u32(7)
      .u16(INCOMPLETE)
      .attribute(1, Uint8Array.of(10, 1, 0, 9))
    expect(decodeNeighbour(writer.finish())).toBeUndefined()
  })
})

function bodiesOf({ datagrams }: { datagrams: string[] }, type: number): Uint8Array[] {
  return datagrams
    .flatMap((hex) => readMessages(new Uint8Array(Buffer.from(hex, 'hex'))))
    .filter((message) => message.type === type)
    .map(({ body }) => body)
}
