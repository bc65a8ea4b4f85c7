import { expect } from 'vitest'
import { formatAddress, parseAddress, parseCidr, sameAddress } from '../../../src/core/address.ts'
import type { Change, Link, Netns, Route } from '../../../src/kernel/kernel.ts'
import { errnoOf, type It, type KernelFixture, MAC } from './fixture.ts'

const OPTIONS = { vni: 4242, port: 4789, learning: false }
const FAR_NODE = parseAddress('192.0.2.2')
const OTHER_NODE = parseAddress('192.0.2.3')
const ROUTE: Route = {
  dst: parseCidr('10.244.2.0/24'),
  gateway: parseAddress('10.244.2.0'),
  linkIndex: 0,
  protocol: 98,
  onlink: true,
}

export function vxlanSentences(it: It): void {
  it('show the options and the MAC and MTU that they were created with', ({ a }) => {
    expect(createVxlan(a)).toMatchObject({ kind: 'vxlan', mac: MAC.far, mtu: 1450, vxlan: OPTIONS })
    const local = parseAddress('2001:db8::1')
    const create = { op: 'createVxlan', name: 'vx6', mac: MAC.other, mtu: 1430 } as const
    const link = a.applyAndRead([{ ...create, vxlan: { ...OPTIONS, vni: 7, local, learning: true } }], {
      name: 'vx6',
    })
    expect(link.vxlan).toEqual({ vni: 7, port: 4789, local, learning: true })
  })

  it('are refused with EEXIST for a name that is taken', ({ a }) => {
    createVxlan(a)
    expect(errnoOf(() => createVxlan(a))).toBe('EEXIST')
  })

  it('have one forwarding entry for a MAC, which is replaced and removed', ({ a }) => {
    const { index: linkIndex } = createVxlan(a)
    const entry = { mac: MAC.near, destination: FAR_NODE, linkIndex }
    a.apply([{ op: 'setFdbEntry', entry }])
    expect(a.fdbEntries(linkIndex)).toEqual([entry])
    const moved = { ...entry, destination: OTHER_NODE }
    a.apply([{ op: 'setFdbEntry', entry: moved }])
    expect(a.fdbEntries(linkIndex)).toEqual([moved])
    a.apply([{ op: 'removeFdbEntry', entry: moved }])
    expect(a.fdbEntries(linkIndex)).toEqual([])
    expect(errnoOf(() => a.apply([{ op: 'removeFdbEntry', entry: moved }]))).toBe('ENOENT')
  })

  it('leave checksums to the device until they are told not to', ({ a }) => {
    createVxlan(a)
    expect(a.checksumOffload('vx')).toBe(true)
    a.setChecksumOffload('vx', false)
    expect(a.checksumOffload('vx')).toBe(false)
    a.setChecksumOffload('vx', true)
    expect(a.checksumOffload('vx')).toBe(true)
    expect(a.checksumOffload('vy')).toBeUndefined()
    expect(errnoOf(() => a.setChecksumOffload('vy', true))).toBe('ENODEV')
  })

  it('keep their forwarding entries when they go down', ({ a }) => {
    const { index: linkIndex } = createVxlan(a)
    const entry = { mac: MAC.near, destination: FAR_NODE, linkIndex }
    a.apply([
      { op: 'setFdbEntry', entry },
      { op: 'setLink', link: { index: linkIndex }, up: false },
    ])
    expect(a.fdbEntries(linkIndex)).toEqual([entry])
  })

  it('are refused forwarding entries with ENODEV when there is no such link', ({ a }) => {
    const entry = { mac: MAC.near, destination: FAR_NODE, linkIndex: 4711 }
    expect(errnoOf(() => a.apply([{ op: 'setFdbEntry', entry }]))).toBe('ENODEV')
  })

  it('take a route by a gateway that no other route leads to, if it is on the link', ({ a }) => {
    const linkIndex = createAddressed(a)
    const { onlink: _, ...ordinary } = { ...ROUTE, linkIndex }
    expect(errnoOf(() => a.apply([{ op: 'addRoute', route: ordinary }]))).toBe('ENETUNREACH')
    a.apply([{ op: 'addRoute', route: { ...ROUTE, linkIndex } }])
    expect(a.routesOfProtocol(98)).toEqual([{ ...ROUTE, linkIndex, scope: 0, table: 254 }])
  })

  it('have routes that are told apart by their protocol, and removed by it', (fixture) => {
    const { a } = fixture
    const linkIndex = createAddressed(a)
    const own = { ...ROUTE, linkIndex }
    const other = { ...own, dst: parseCidr('10.244.3.0/24'), protocol: 99 }
    a.apply([
      { op: 'addRoute', route: own },
      { op: 'addRoute', route: other },
    ])
    expect(destinationsOf(fixture, 98)).toEqual(['10.244.2.0'])
    expect(errnoOf(() => a.apply([{ op: 'removeRoute', route: { ...other, protocol: 98 } }]))).toBe('ESRCH')
    a.apply([{ op: 'removeRoute', route: own }])
    expect(destinationsOf(fixture, 98)).toEqual([])
    expect(destinationsOf(fixture, 99)).toEqual(['10.244.3.0'])
  })

  it('lose a neighbour that is removed', ({ a }) => {
    const { index: linkIndex } = createVxlan(a)
    const neighbour = { address: FAR_NODE, mac: MAC.near, linkIndex }
    a.apply([{ op: 'setNeighbour', neighbour }])
    a.apply([{ op: 'removeNeighbour', neighbour }])
    expect(a.neighbours(linkIndex).filter(({ address }) => sameAddress(address, FAR_NODE))).toEqual([])
  })

  it('are remembered with all that lies on them, until any of it is another', async ({ a }) => {
    // An address of link scope would be tentative at first.
    const link = { name: 'vx' }
    const create: Change = { op: 'createVxlan', name: 'vx', mac: MAC.far, mtu: 1450, vxlan: OPTIONS }
    const { index: linkIndex } = a.applyAndRead([create, { op: 'setLink', link, ipv6LinkLocal: false }], link)
    const on = { linkIndex, mac: MAC.near }
    a.apply([
      { op: 'setLink', link, up: true },
      { op: 'addAddress', linkIndex, cidr: parseCidr('10.244.1.0/32') },
      { op: 'setFdbEntry', entry: { ...on, destination: FAR_NODE } },
      { op: 'setNeighbour', neighbour: { ...on, address: ROUTE.dst.address } },
      { op: 'addRoute', route: { ...ROUTE, linkIndex } },
    ])
    const remember = () =>
      a.remember(() => [
        a.link({ name: 'vx' }),
        a.routesOfProtocol(98),
        a.fdbEntries(linkIndex),
        a.neighbours(linkIndex),
        a.addresses(linkIndex),
        a.checksumOffload('vx'),
      ])
    const changes: Change[] = [
      { op: 'setFdbEntry', entry: { ...on, destination: OTHER_NODE } },
      { op: 'removeFdbEntry', entry: { ...on, destination: OTHER_NODE } },
      { op: 'setNeighbour', neighbour: { ...on, address: ROUTE.dst.address, mac: MAC.other } },
      { op: 'setNeighbour', neighbour: { ...on, address: FAR_NODE } },
      { op: 'addRoute', route: { ...ROUTE, linkIndex, mtu: 1400 }, replace: true },
      { op: 'removeRoute', route: { ...ROUTE, linkIndex } },
      { op: 'addAddress', linkIndex, cidr: parseCidr('10.244.9.0/32') },
      { op: 'setLink', link: { name: 'vx' }, mtu: 1400 },
    ]
    for (const change of changes) {
      const { value, isSame } = remember()
      expect(value).toEqual(remember().value)
      // Entries have an age in hundredths of a second.
      await new Promise((resolve) => setTimeout(resolve, 20))
      expect(isSame()).toBe(true)
      a.apply([change])
      expect([change.op, isSame()]).toEqual([change.op, false])
    }
    const { isSame } = remember()
    a.setChecksumOffload('vx', false)
    expect(isSame()).toBe(false)
  })

  it('have their addresses listed with those of all links', ({ a, index }) => {
    const { index: linkIndex } = createVxlan(a)
    const cidrs = [parseCidr('10.244.1.0/32'), parseCidr('10.1.0.1/24')] as const
    a.apply([
      { op: 'addAddress', linkIndex, cidr: cidrs[0] },
      { op: 'addAddress', linkIndex: index, cidr: cidrs[1] },
    ])
    const found = a.allAddresses().filter(({ cidr }) => cidr.address.family === 4)
    expect(found).toMatchObject([
      { cidr: cidrs[1], linkIndex: index },
      { cidr: cidrs[0], linkIndex },
    ])
  })
}

function createVxlan(netns: Netns): Link {
  return netns.applyAndRead(
    [
      { op: 'createVxlan', name: 'vx', mac: MAC.far, mtu: 1450, vxlan: OPTIONS },
      { op: 'setLink', link: { name: 'vx' }, up: true },
    ],
    { name: 'vx' },
  )
}

/** Linux refuses an onlink gateway in a namespace that has had no address of IPv4 at all (EINVAL): it has no local table. */
function createAddressed(netns: Netns): number {
  const { index } = createVxlan(netns)
  netns.apply([{ op: 'addAddress', linkIndex: index, cidr: parseCidr('10.244.1.0/32') }])
  return index
}

function destinationsOf({ a }: KernelFixture, protocol: number): string[] {
  return a.routesOfProtocol(protocol).map(({ dst }) => formatAddress(dst.address))
}
