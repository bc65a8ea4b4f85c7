import { describe, expect } from 'vitest'
import { formatAddress, formatCidr, parseCidr } from '../../../src/core/address.ts'
import type { Netns } from '../../../src/kernel/kernel.ts'
import {
  addAddress,
  addressesOf,
  DAD_FAILED,
  errnoOf,
  eventually,
  FAMILIES,
  type Family,
  type It,
  MAC,
  PERMANENT,
  routesOf,
  setUp,
  TENTATIVE,
} from './fixture.ts'

export function addressSentences(it: It): void {
  describe.each(FAMILIES.map((one) => [one.family, one] as const))('of %s', (_, family) =>
    bothFamilies(it, family),
  )
  ipv4Sentences(it)
  ipv6Sentences(it)

  it('are of both families on one link', ({ a, index }) => {
    a.apply(FAMILIES.map(({ address }) => addAddress(index, address)))
    expect(addressesOf(a, index)).toEqual(['10.1.0.2/24', 'fd00:1::2/64'])
  })

  it('are none of a link that does not exist', ({ a }) => {
    expect(a.addresses(4711)).toEqual([])
  })

  it('of the loopback come with the link', ({ a }) => {
    expect(addressesOf(a, 1)).toEqual([])
    a.apply([{ op: 'setLink', link: { name: 'lo' }, up: true }])
    expect(addressesOf(a, 1)).toEqual(['127.0.0.1/8', '::1/128'])
    expect(routesOf(a, 1).filter((route) => !route.startsWith('::1'))).toEqual([])
  })
}

function bothFamilies(it: It, family: Family): void {
  const { address, sibling, host, network, elsewhere } = family
  const [text, prefixRoute] = [formatCidr(address), formatCidr(network)]
  const routed = (a: Netns, index: number) =>
    routesOf(a, index).some((route) => route.startsWith(prefixRoute))

  it('are shown with prefix, scope and the permanent flag', ({ a, index }) => {
    a.apply([addAddress(index, address)])
    expect(a.addresses(index)).toEqual([{ cidr: address, scope: 0, flags: expect.any(Number) }])
    expect((a.addresses(index)[0]?.flags ?? 0) & PERMANENT).toBe(PERMANENT)
  })

  it('are refused with EEXIST when the link has them', ({ a, index }) => {
    a.apply([addAddress(index, address)])
    expect(errnoOf(() => a.apply([addAddress(index, address)]))).toBe('EEXIST')
  })

  it('are refused with ENODEV on a link that does not exist', ({ a }) => {
    expect(errnoOf(() => a.apply([addAddress(4711, address)]))).toBe('ENODEV')
  })

  it('can be removed, and are refused with EADDRNOTAVAIL when they are not there', ({ a, index }) => {
    a.apply([addAddress(index, address)])
    const other = { ...address, prefix: address.prefix + 1 }
    expect(errnoOf(() => a.apply([{ op: 'removeAddress', linkIndex: index, cidr: other }]))).toBe(
      'EADDRNOTAVAIL',
    )
    a.apply([{ op: 'removeAddress', linkIndex: index, cidr: address }])
    expect(addressesOf(a, index)).toEqual([])
    expect(errnoOf(() => a.apply([{ op: 'removeAddress', linkIndex: index, cidr: address }]))).toBe(
      'EADDRNOTAVAIL',
    )
  })

  it('are refused with ENODEV when removed from a link that does not exist', ({ a }) => {
    expect(errnoOf(() => a.apply([{ op: 'removeAddress', linkIndex: 4711, cidr: address }]))).toBe('ENODEV')
  })

  it('bring the route of their prefix, which goes with them', ({ a, index }) => {
    a.apply([addAddress(index, address)])
    expect(routed(a, index)).toBe(true)
    a.apply([{ op: 'removeAddress', linkIndex: index, cidr: address }])
    expect(routed(a, index)).toBe(false)
  })

  it('bring the route of their prefix only when the link comes up', ({ a, pair }) => {
    const { near } = pair()
    a.apply([addAddress(near.index, address)])
    expect(addressesOf(a, near.index)).toEqual([text])
    expect(routed(a, near.index)).toBe(false)
    a.apply([setUp(near.index)])
    expect(routed(a, near.index)).toBe(true)
  })

  it('of one subnet share its route', ({ a, index }) => {
    a.apply([addAddress(index, address), addAddress(index, sibling)])
    expect(addressesOf(a, index)).toEqual([text, formatCidr(sibling)])
    expect(routesOf(a, index)).toHaveLength(1)
  })

  it('are gone with the link', ({ a, index, livePair }) => {
    a.apply([addAddress(index, address), { op: 'removeLink', link: { index } }])
    expect(a.addresses(index)).toEqual([])
    a.apply([addAddress(livePair().near.index, address)])
  })

  it('can not be the source of a route that stays when they are removed', ({ a, index }) => {
    const route = { dst: elsewhere, linkIndex: index, source: address.address }
    a.apply([addAddress(index, address), { op: 'addRoute', route }])
    const sources = () => routesOf(a, index).filter((one) => one.startsWith(`${formatCidr(elsewhere)} src`))
    expect(sources()).toEqual([`${formatCidr(elsewhere)} src ${formatAddress(address.address)}`])
    a.apply([{ op: 'removeAddress', linkIndex: index, cidr: address }])
    // Family 4 drops the route, family 6 keeps it without the source. A route of another link keeps it on Linux 6.1.
    expect(sources()).toEqual([])
  })

  it('with a host prefix leave every other route as it is', ({ a, index }) => {
    a.apply([addAddress(index, host)])
    // Family 6 shows a route to the address itself, family 4 shows none.
    expect(routesOf(a, index).filter((route) => route !== formatCidr(host))).toEqual([])
  })
}

function ipv4Sentences(it: It): void {
  const [first, second] = [parseCidr('10.1.0.2/24'), parseCidr('10.1.0.3/24')]

  it('of IPv4 stay when the link goes down, and their route is back when it comes up', ({ a, index }) => {
    a.apply([addAddress(index, first), { op: 'setLink', link: { index }, up: false }])
    expect(addressesOf(a, index)).toEqual(['10.1.0.2/24'])
    expect(routesOf(a, index)).toEqual([])
    a.apply([setUp(index)])
    expect(routesOf(a, index)).toEqual(['10.1.0.0/24 src 10.1.0.2'])
  })

  it('of IPv4 take routes that have them as source along when their link goes', ({
    a,
    index,
    createBridge,
  }) => {
    const bridge = createBridge().index
    a.apply([
      setUp(bridge),
      addAddress(index, first),
      { op: 'addRoute', route: { dst: parseCidr('10.5.0.0/24'), linkIndex: bridge, source: first.address } },
      { op: 'removeLink', link: { index } },
    ])
    expect(routesOf(a, bridge)).toEqual([])
  })

  it('of IPv4 take all IPv4 routes and neighbours of the link with them when the last goes', ({
    a,
    index,
  }) => {
    a.apply([
      addAddress(index, first),
      { op: 'addRoute', route: { dst: parseCidr('10.5.0.0/24'), linkIndex: index } },
      { op: 'setNeighbour', neighbour: { address: second.address, mac: MAC.other, linkIndex: index } },
      { op: 'removeAddress', linkIndex: index, cidr: first },
    ])
    expect(routesOf(a, index)).toEqual([])
    expect(a.neighbours(index)).toEqual([])
  })
}

function ipv6Sentences(it: It): void {
  const flagsOf = (netns: Netns, index: number) =>
    (netns.addresses(index)[0]?.flags ?? 0) & (TENTATIVE | DAD_FAILED)
  const address = parseCidr('fd00:1::2/64')

  it('of IPv6 are usable at once without duplicate detection', ({ a, index }) => {
    a.apply([
      addAddress(index, address),
      {
        op: 'addRoute',
        route: { dst: parseCidr('fd00:5::/64'), linkIndex: index, source: address.address },
      },
    ])
    expect((a.addresses(index)[0]?.flags ?? TENTATIVE) & TENTATIVE).toBe(0)
  })

  it('of IPv6 that nobody else has are usable once duplicate detection is over', ({ a, index }) => {
    a.apply([{ op: 'addAddress', linkIndex: index, cidr: address }])
    expect(eventually(() => flagsOf(a, index) === 0)).toBe(true)
  })

  it('of IPv6 stay the source of a route elsewhere when their link goes', ({ a, index, createBridge }) => {
    const bridge = createBridge().index
    a.apply([
      setUp(bridge),
      addAddress(index, address),
      {
        op: 'addRoute',
        route: { dst: parseCidr('fd00:5::/64'), linkIndex: bridge, source: address.address },
      },
      { op: 'removeLink', link: { index } },
    ])
    expect(routesOf(a, bridge)).toEqual(['fd00:5::/64 src fd00:1::2'])
  })

  it('of IPv6 vanish when the link goes down', ({ a, index }) => {
    a.apply([addAddress(index, address), { op: 'setLink', link: { index }, up: false }])
    expect(addressesOf(a, index)).toEqual([])
    a.apply([setUp(index)])
    expect(addressesOf(a, index)).toEqual([])
  })

  it('of IPv6 stay when the link goes down if keep_addr_on_down says so', ({ a, index }) => {
    a.writeSysctl('ipv6/conf/near/keep_addr_on_down', '1')
    a.apply([addAddress(index, address), { op: 'setLink', link: { index }, up: false }])
    expect(addressesOf(a, index)).toEqual(['fd00:1::2/64'])
    a.apply([setUp(index)])
    expect(routesOf(a, index)).toEqual(['fd00:1::/64'])
  })

  it('that are link-local come by themselves once a link runs, unless it was told not to', ({
    a,
    b,
    pair,
  }) => {
    const { near, far } = pair()
    a.apply([{ op: 'setLink', link: { index: near.index }, up: true }])
    b.apply([{ op: 'setLink', link: { index: far.index }, up: true, ipv6LinkLocal: false }])
    const linkLocals = (count: number) => () => a.addresses(near.index).length === count
    expect(eventually(linkLocals(1))).toBe(true)
    expect(addressesOf(a, near.index)).toEqual(['fe80::ff:fe00:a/64'])
    expect(b.addresses(far.index)).toEqual([])
  })

  it('that are link-local come at the end that comes up last, too', ({ a, b, pair }) => {
    const { near, far } = pair()
    b.apply([setUp(far.index)])
    a.apply([{ op: 'setLink', link: { index: near.index }, up: true }])
    expect(eventually(() => a.addresses(near.index).length === 1)).toBe(true)
  })
}
