import { describe, expect } from 'vitest'
import { formatAddress, formatCidr, parseAddress, parseCidr } from '../../../src/core/address.ts'
import type { Change, Route } from '../../../src/kernel/kernel.ts'
import {
  addAddress,
  errnoOf,
  eventually,
  FAMILIES,
  type Family,
  type It,
  routesOf,
  setUp,
} from './fixture.ts'

const add = (route: Route, replace = false): Change => ({ op: 'addRoute', route, replace })

export function routeSentences(it: It): void {
  describe.each(FAMILIES.map((one) => [one.family, one] as const))('of %s', (_, family) => {
    additionSentences(it, family)
    refusalSentences(it, family)
    lifeSentences(it, family)
    removalSentences(it, family)
    routeToSentences(it, family)
  })

  it('of IPv4 without a gateway have scope link, with one scope universe, unless said otherwise', ({
    a,
    index,
  }) => {
    const [one, two, three] = ['10.1.0.1/32', '10.2.0.0/24', '10.3.0.0/24'].map(parseCidr)
    if (!one || !two || !three) throw new Error('three routes')
    a.apply([
      add({ dst: one, linkIndex: index }),
      add({ dst: two, linkIndex: index, gateway: one.address }),
      add({ dst: three, linkIndex: index, scope: 0 }),
    ])
    const scopes = a.routes(index).map(({ dst, scope }) => [formatCidr(dst), scope])
    expect(Object.fromEntries(scopes)).toEqual({ '10.1.0.1/32': 253, '10.2.0.0/24': 0, '10.3.0.0/24': 0 })
  })

  it('of IPv4 with host bits in the destination are refused with EINVAL', ({ index, a }) => {
    const route = { dst: parseCidr('10.3.0.1/24'), linkIndex: index }
    expect(errnoOf(() => a.apply([add(route)]))).toBe('EINVAL')
  })

  it('of IPv4 with a gateway are refused with ENETUNREACH in scope link', ({ a, index: linkIndex }) => {
    a.apply([addAddress(linkIndex, parseCidr('10.1.0.2/24'))])
    const route = { dst: parseCidr('10.3.0.0/24'), linkIndex, gateway: parseAddress('10.1.0.1'), scope: 253 }
    expect(errnoOf(() => a.apply([add(route)]))).toBe('ENETUNREACH')
  })

  it('of IPv6 are refused with EINVAL when the gateway is an address of the namespace itself', ({
    a,
    index: linkIndex,
  }) => {
    const own = parseCidr('fd00:1::2/64')
    a.apply([addAddress(linkIndex, own)])
    const route = { dst: parseCidr('fd00:5::/64'), linkIndex, gateway: own.address }
    expect(errnoOf(() => a.apply([add(route)]))).toBe('EINVAL')
  })

  it('of IPv6 may use a link-local gateway that no route leads to', ({ a, index }) => {
    a.apply([add({ dst: parseCidr('::/0'), linkIndex: index, gateway: parseAddress('fe80::1') })])
    expect(routesOf(a, index)).toEqual(['::/0 via fe80::1'])
  })
}

function additionSentences(it: It, family: Family): void {
  const { address, gateway, gateway2, elsewhere } = family
  const via = formatAddress(gateway)

  it('are added with gateway, source, table and metrics as given', ({ a, addressed }) => {
    const linkIndex = addressed(family)
    const source = address.address
    a.apply([
      add({ dst: elsewhere, linkIndex, gateway, source, priority: 7, mtu: 1300, advmss: 1200, table: 100 }),
    ])
    const found = a.routes(linkIndex).find(({ table }) => table === 100)
    expect(found).toMatchObject({ dst: elsewhere, gateway, source, priority: 7, mtu: 1300, advmss: 1200 })
  })

  it('are added in a table above 255', ({ a, addressed, added }) => {
    const linkIndex = addressed(family)
    a.apply([add({ dst: elsewhere, linkIndex, gateway, table: 1000 })])
    expect(added(linkIndex, family)).toEqual([`${formatCidr(elsewhere)} via ${via} table 1000`])
  })

  it('lead to a gateway by way of a host route to it', ({ a, index: linkIndex }) => {
    const host = { address: gateway, prefix: family.host.prefix }
    a.apply([add({ dst: host, linkIndex }), add({ dst: family.default, linkIndex, gateway })])
    expect(routesOf(a, linkIndex)).toEqual(
      [`${formatCidr(family.default)} via ${via}`, formatCidr(host)].sort(),
    )
  })

  it('stand side by side when two gateways lead to the same destination', ({ a, addressed, added }) => {
    const linkIndex = addressed(family)
    a.apply([
      add({ dst: family.default, linkIndex, gateway }),
      add({ dst: family.default, linkIndex, gateway: gateway2 }),
    ])
    expect(added(linkIndex, family)).toEqual([
      `${formatCidr(family.default)} via ${via}`,
      `${formatCidr(family.default)} via ${formatAddress(gateway2)}`,
    ])
  })

  it('stand side by side when their priorities differ', ({ a, addressed, added }) => {
    const linkIndex = addressed(family)
    const route = { dst: elsewhere, linkIndex, gateway }
    a.apply([add({ ...route, priority: 5 }), add({ ...route, priority: 6 })])
    expect(added(linkIndex, family)).toHaveLength(2)
  })

  it('replace the one that is there when asked to', ({ a, addressed, added }) => {
    const linkIndex = addressed(family)
    a.apply([add({ dst: elsewhere, linkIndex, gateway })])
    a.apply([add({ dst: elsewhere, linkIndex, gateway: gateway2 }, true)])
    expect(added(linkIndex, family)).toEqual([`${formatCidr(elsewhere)} via ${formatAddress(gateway2)}`])
  })

  it('are added by a replacement when there is nothing to replace', ({ a, addressed, added }) => {
    const linkIndex = addressed(family)
    a.apply([add({ dst: elsewhere, linkIndex, gateway }, true)])
    expect(added(linkIndex, family)).toEqual([`${formatCidr(elsewhere)} via ${via}`])
  })
}

function refusalSentences(it: It, family: Family): void {
  const { gateway, elsewhere, far } = family

  it('are refused with EEXIST when the very same is there', ({ addressed, a }) => {
    const linkIndex = addressed(family)
    for (const route of [
      { dst: elsewhere, linkIndex },
      { dst: family.default, linkIndex, gateway },
    ]) {
      a.apply([add(route)])
      expect(errnoOf(() => a.apply([add(route)]))).toBe('EEXIST')
    }
  })

  it(`are refused with ${family.offLink} when the gateway is not on the link`, ({ addressed, a }) => {
    const linkIndex = addressed(family)
    const route = { dst: family.default, linkIndex, gateway: far }
    expect(errnoOf(() => a.apply([add(route)]))).toBe(family.offLink)
  })

  it('are refused with ENETDOWN on a link that is down', ({ pair, a }) => {
    const { index } = pair().near
    expect(errnoOf(() => a.apply([add({ dst: elsewhere, linkIndex: index })]))).toBe('ENETDOWN')
  })

  it('are refused with ENODEV on a link that does not exist', ({ a }) => {
    expect(errnoOf(() => a.apply([add({ dst: elsewhere, linkIndex: 4711 })]))).toBe('ENODEV')
  })

  it('are refused with EINVAL when the preferred source is no address of the namespace', ({
    addressed,
    a,
  }) => {
    const linkIndex = addressed(family)
    const route = { dst: elsewhere, linkIndex, source: far }
    expect(errnoOf(() => a.apply([add(route)]))).toBe('EINVAL')
  })
}

function lifeSentences(it: It, family: Family): void {
  const { gateway, gateway2, elsewhere } = family

  it('can be removed, and are refused with ESRCH when they are not there', ({ a, addressed, added }) => {
    const route = { dst: elsewhere, linkIndex: addressed(family), gateway }
    a.apply([add(route), { op: 'removeRoute', route }])
    expect(added(route.linkIndex, family)).toEqual([])
    expect(errnoOf(() => a.apply([{ op: 'removeRoute', route }]))).toBe('ESRCH')
  })

  it('of another gateway, priority or table are left alone by a removal', ({ a, addressed, added }) => {
    const linkIndex = addressed(family)
    const route = { dst: elsewhere, linkIndex, gateway, priority: 7 }
    a.apply([add(route)])
    for (const other of [{ gateway: gateway2 }, { priority: 8 }, { table: 100 }]) {
      const removal: Change = { op: 'removeRoute', route: { ...route, ...other } }
      expect(errnoOf(() => a.apply([removal]))).toBe('ESRCH')
    }
    expect(added(linkIndex, family)).toHaveLength(1)
  })

  it('are shown for their own link only', ({ a, addressed, createBridge }) => {
    const linkIndex = addressed(family)
    const bridge = createBridge().index
    a.apply([setUp(bridge), add({ dst: elsewhere, linkIndex })])
    expect(routesOf(a, bridge)).toEqual([])
    expect(a.routes(4711)).toEqual([])
  })

  it('are all gone when the link goes down, and do not come back with it', ({ a, addressed, added }) => {
    const linkIndex = addressed(family)
    a.apply([add({ dst: elsewhere, linkIndex, gateway }), add({ dst: elsewhere, linkIndex, table: 100 })])
    a.apply([{ op: 'setLink', link: { index: linkIndex }, up: false }])
    expect(routesOf(a, linkIndex)).toEqual([])
    a.apply([setUp(linkIndex)])
    expect(added(linkIndex, family)).toEqual([])
  })
}

function removalSentences(it: It, family: Family): void {
  it('are gone with their link', ({ a, addressed }) => {
    const linkIndex = addressed(family)
    a.apply([
      add({ dst: family.elsewhere, linkIndex, gateway: family.gateway }),
      { op: 'removeLink', link: { index: linkIndex } },
    ])
    expect(a.routes(linkIndex)).toEqual([])
    expect(a.routeTo(family.far)).toBeUndefined()
  })
}

function routeToSentences(it: It, family: Family): void {
  const { gateway, elsewhere, far } = family

  it('lead nowhere in a fresh namespace', ({ a }) => {
    expect(a.routeTo(far)).toBeUndefined()
  })

  it('are found by the longest prefix', ({ a, addressed, createBridge }) => {
    const linkIndex = addressed(family)
    const bridge = createBridge().index
    a.apply([setUp(bridge), add({ dst: family.default, linkIndex, gateway })])
    expect(a.routeTo(far)).toBe(linkIndex)
    a.apply([add({ dst: elsewhere, linkIndex: bridge })])
    expect(a.routeTo(far)).toBe(bridge)
    expect(a.routeTo(gateway)).toBe(linkIndex)
  })

  it('lead nowhere to an address of the namespace itself', ({ a, addressed }) => {
    addressed(family)
    expect(eventually(() => a.routeTo(family.address.address) === undefined)).toBe(true)
  })

  it('of the lower priority number win', ({ a, addressed, createBridge }) => {
    const linkIndex = addressed(family)
    const bridge = createBridge().index
    a.apply([
      setUp(bridge),
      add({ dst: elsewhere, linkIndex: bridge, priority: 9 }),
      add({ dst: elsewhere, linkIndex, priority: 5 }),
    ])
    expect(a.routeTo(far)).toBe(linkIndex)
  })

  it('are told as they stand in their table, with its policy rules', ({ a, addressed }) => {
    const linkIndex = addressed(family)
    a.apply([add({ dst: family.default, linkIndex, gateway, mtu: 1300 })])
    // A socket that has dumped is stricter.
    a.addresses(linkIndex)
    const { routes } = a.routing([far, gateway])
    expect(routes).toMatchObject([
      [{ dst: family.default, linkIndex, gateway, mtu: 1300, table: 254 }],
      [{ linkIndex }],
    ])
  })

  it('are told of none where there is none', ({ a }) => {
    expect(a.routing([far]).routes).toEqual([[]])
  })

  it('to everywhere are told for one table', ({ a, addressed }) => {
    const linkIndex = addressed(family)
    a.apply([add({ dst: family.default, linkIndex, gateway, table: 77 })])
    const { family: number } = gateway
    expect(a.defaultRoutes(number, 77)).toMatchObject([{ dst: family.default, linkIndex, gateway }])
    expect(a.defaultRoutes(number, 254)).toEqual([])
  })
}
