import fc from 'fast-check'
import * as rt from 'netlink/dist/rt/structs.js'
import * as structs from 'netlink/dist/structs.js'
import { describe, expect, it } from 'vitest'
import { type Address, addressBytes, type Cidr, lastAddressOf, networkOf } from '../../src/core/address.ts'
import { type Mac, macBytes, macFromBytes } from '../../src/core/mac.ts'
import type { Change, Route } from '../../src/kernel/kernel.ts'
import { decodeAddress, decodeLink, decodeNeighbour, decodeRoutes } from '../../src/kernel/netlink/replies.ts'
import { requestsOf } from '../support/netlink/requests.ts'

/*
 * The npm package netlink (node-netlink) as a second opinion: what it writes we read, what we write it reads, and where
 * it can say all that we say, both write the same bytes.
 */

const index = fc.integer({ min: 1, max: 0x7fffffff })
const u32 = fc.integer({ min: 0, max: 0xffffffff })
const name = fc.stringMatching(/^[a-z][a-z0-9.-]{0,14}$/)
const mac: fc.Arbitrary<Mac> = fc.uint8Array({ minLength: 6, maxLength: 6 }).map(macFromBytes)
const address: fc.Arbitrary<Address> = fc.oneof(
  u32.map((value) => ({ family: 4 as const, value: BigInt(value) })),
  fc.bigInt({ min: 0n, max: (1n << 128n) - 1n }).map((value) => ({ family: 6 as const, value })),
)
const cidr: fc.Arbitrary<Cidr> = address.chain((one) =>
  fc.integer({ min: 1, max: one.family === 4 ? 32 : 128 }).map((prefix) => ({ address: one, prefix })),
)
const optional = (values: fc.Arbitrary<number>) => fc.option(values, { nil: undefined })
const route: fc.Arbitrary<Route> = fc
  .record({
    dst: cidr.map(networkOf),
    linkIndex: index,
    scope: fc.constantFrom(0, 253, 254),
    table: u32,
    priority: optional(u32),
    hop: address,
  })
  .map(({ hop, priority, ...rest }) => ({
    ...rest,
    ...(priority !== undefined && { priority }),
    ...(hop.family === rest.dst.address.family && { gateway: hop, source: hop }),
  }))

describe('netlink writes the same bytes, and we read them, for', () => {
  it('an address', () => {
    fc.assert(
      fc.property(index, cidr, fc.boolean(), fc.boolean(), (linkIndex, one, noDad, noPrefixRoute) => {
        const bytes = bytesOf({ op: 'addAddress', linkIndex, cidr: one, noDad, noPrefixRoute })
        expect(bytes).toEqual(addressByOracle(linkIndex, one, noDad, noPrefixRoute))
        const flags = (noDad && one.address.family === 6 ? 2 : 0) | (noPrefixRoute ? 0x200 : 0)
        expect(decodeAddress(bytes.subarray(16))).toEqual({ linkIndex, cidr: one, scope: 0, flags })
      }),
    )
  })

  it('a route without metrics', () => {
    fc.assert(
      fc.property(route, (one) => {
        const bytes = bytesOf({ op: 'addRoute', route: one })
        expect(bytes).toEqual(routeByOracle(one))
        fc.pre(one.table !== 255)
        const scope = one.dst.address.family === 6 ? 0 : one.scope
        expect(decodeRoutes(bytes.subarray(16))).toEqual([{ ...one, scope }])
      }),
    )
  })

  it('a permanent neighbour', () => {
    fc.assert(
      fc.property(index, address, mac, (linkIndex, one, lladdr) => {
        const neighbour = { linkIndex, address: one, mac: lladdr }
        const bytes = bytesOf({ op: 'setNeighbour', neighbour })
        const expected = byOracle(28, 0x505, (out) =>
          rt.formatNeighborMessage(
            {
              kind: 'neighbor',
              data: { family: familyNumber(one), ifindex: linkIndex, state: { permanent: true } },
              attrs: { dst: buffer(addressBytes(one)), lladdr: buffer(macBytes(lladdr)) },
            },
            out,
          ),
        )
        expect(bytes).toEqual(expected)
        expect(decodeNeighbour(bytes.subarray(16))).toEqual(neighbour)
      }),
    )
  })

  it('a link that is brought up with name, MAC, MTU, bridge and alias', () => {
    fc.assert(
      fc.property(name, mac, u32, index, name, (ifname, lladdr, mtu, master, alias) => {
        const link = { name: ifname }
        const bytes = bytesOf({ op: 'setLink', link, up: true, mac: lladdr, mtu, master, alias })
        const expected = byOracle(16, 0x5, (out) =>
          rt.formatLinkMessage(
            {
              kind: 'link',
              data: { flags: { up: true }, change: { up: true } },
              attrs: { ifname, address: buffer(macBytes(lladdr)), mtu, master, ifalias: alias },
            },
            out,
          ),
        )
        expect(bytes).toEqual(expected)
        expect(decodeLink(bytes.subarray(16))).toMatchObject({
          name: ifname,
          mac: lladdr,
          mtu,
          up: true,
          master,
          alias,
        })
      }),
    )
  })
})

function bytesOf(change: Change): Buffer {
  return Buffer.concat(requestsOf(change))
}

function byOracle(type: number, flags: number, format: (out: structs.AttrStream) => void): Buffer {
  const out = new structs.AttrStream()
  format(out)
  // It pads between attributes; the last one we pad as well, as iproute2 does.
  const data = Buffer.concat([...out.bufs, Buffer.alloc(-Buffer.concat(out.bufs).length & 3)])
  return Buffer.concat(structs.formatMessage({ type, flags, seq: 0, port: 0, data }))
}

function addressByOracle(linkIndex: number, one: Cidr, noDad: boolean, noPrefixRoute: boolean): Buffer {
  const bytes = buffer(addressBytes(one.address))
  const dad = noDad && one.address.family === 6
  const hasBroadcast = one.address.family === 4 && one.prefix < 31
  return byOracle(20, 0x605, (out) =>
    rt.formatAddressMessage(
      {
        kind: 'address',
        data: {
          family: familyNumber(one.address),
          prefixlen: one.prefix,
          index: linkIndex,
          ...(dad && !noPrefixRoute && { flags: { nodad: true } }),
        },
        attrs: {
          local: bytes,
          address: bytes,
          ...(hasBroadcast && { broadcast: buffer(addressBytes(lastAddressOf(one))) }),
          ...(noPrefixRoute && { flags: { noprefixroute: true, ...(dad && { nodad: true }) } }),
        },
      },
      out,
    ),
  )
}

function routeByOracle({ dst, linkIndex, gateway, source, table = 254, scope = 0, priority }: Route): Buffer {
  return byOracle(24, 0xc05, (out) =>
    rt.formatRouteMessage(
      {
        kind: 'route',
        data: {
          family: familyNumber(dst.address),
          dstLen: dst.prefix,
          table: table < 256 ? table : 0,
          protocol: 'BOOT',
          scope: dst.address.family === 6 ? 0 : scope,
          type: 'UNICAST',
        },
        attrs: {
          dst: buffer(addressBytes(dst.address)),
          oif: linkIndex,
          ...(gateway && { gateway: buffer(addressBytes(gateway)) }),
          ...(source && { prefsrc: buffer(addressBytes(source)) }),
          ...(table > 255 && { table }),
          ...(priority !== undefined && { priority }),
        },
      },
      out,
    ),
  )
}

function familyNumber({ family }: Address): number {
  return family === 4 ? 2 : 10
}

function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes)
}
