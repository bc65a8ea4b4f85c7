import { describe, expect, it } from 'vitest'
import { AddressNode } from '../support/address_pool.ts'

describe('the order of addresses', () => {
  it('begins at the first address behind the gateway', () => {
    const node = new AddressNode('10.0.0.0/29')
    expect(node.add('a')).toEqual(['10.0.0.2'])
    expect(node.add('b')).toEqual(['10.0.0.3'])
  })

  it('gives a container that comes again another address', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    node.del('a')
    expect(node.add('a')).toEqual(['10.0.0.3'])
  })

  it('hands out addresses that were never used first, then the one that was released first', () => {
    const node = new AddressNode('10.0.0.0/29')
    for (const id of ['a', 'b', 'c']) node.add(id)
    for (const id of ['c', 'a', 'b']) node.del(id)
    const order = ['d', 'e', 'f', 'g', 'h'].flatMap((id) => node.add(id))
    expect(order).toEqual(['10.0.0.5', '10.0.0.6', '10.0.0.4', '10.0.0.2', '10.0.0.3'])
  })

  it('never hands out the network, the broadcast or the gateway address', () => {
    const node = new AddressNode('10.0.0.0/29')
    const given = ['a', 'b', 'c', 'd', 'e'].flatMap((id) => node.add(id))
    expect(given).toEqual(['10.0.0.2', '10.0.0.3', '10.0.0.4', '10.0.0.5', '10.0.0.6'])
    expect(() => node.add('f')).toThrow('no free address')
  })

  it('puts an address that was asked for by name at the end of its turn, as if it had come by itself', () => {
    const node = new AddressNode('10.0.0.0/29')
    expect(node.add('static', { ips: ['10.0.0.3'] })).toEqual(['10.0.0.3'])
    node.del('static')
    const order = ['a', 'b', 'c', 'd', 'e'].flatMap((id) => node.add(id))
    expect(order).toEqual(['10.0.0.2', '10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.0.3'])
  })

  it('goes on when its file is lost, from the address that was handed out last', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    node.add('b')
    node.del('a')
    node.files.remove('/data/.bowline/net/free.0')
    expect(node.add('c')).toEqual(['10.0.0.4'])
    expect(node.add('d')).toEqual(['10.0.0.5'])
    expect(node.add('e')).toEqual(['10.0.0.6'])
    expect(node.add('f')).toEqual(['10.0.0.2'])
  })

  it.each([
    ['empty', () => ''],
    ['cut short', (text: string) => text.slice(0, 100)],
    ['of another version', (text: string) => text.replace('bowline1', 'bowline9')],
    ['garbage', () => 'x'.repeat(500)],
  ])('goes on when its file is %s', (_, damage) => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    node.files.replace(
      '/data/.bowline/net/free.0',
      damage(node.files.dump()['/data/.bowline/net/free.0'] ?? ''),
    )
    expect(node.add('b')).toEqual(['10.0.0.3'])
    expect(node.add('c')).toEqual(['10.0.0.4'])
  })

  it('starts anew when the ranges change, and keeps what is held', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    node.sets.splice(0, 1, ...new AddressNode('10.0.0.0/28').sets)
    expect(node.add('b')).toEqual(['10.0.0.3'])
    expect(Object.keys(node.leases())).toEqual(['10.0.0.2', '10.0.0.3'])
  })

  it('works for IPv6, up to the last address of the subnet', () => {
    const node = new AddressNode('fd00::/125')
    const given = ['a', 'b', 'c', 'd', 'e', 'f'].flatMap((id) => node.add(id))
    expect(given).toEqual(['fd00::2', 'fd00::3', 'fd00::4', 'fd00::5', 'fd00::6', 'fd00::7'])
    node.del('b')
    expect(node.add('g')).toEqual(['fd00::3'])
  })

  it('gives one address of each set', () => {
    const node = new AddressNode('10.0.0.0/29', 'fd00::/64')
    expect(node.add('a')).toEqual(['10.0.0.2', 'fd00::2'])
    expect(node.add('b')).toEqual(['10.0.0.3', 'fd00::3'])
  })

  it('goes from one subnet of a set to the next', () => {
    const node = new AddressNode([{ subnet: '10.0.0.0/30' }, { subnet: '10.0.1.0/30' }])
    expect(node.add('a')).toEqual(['10.0.0.2'])
    expect(node.add('b')).toEqual(['10.0.1.2'])
    node.del('b')
    node.del('a')
    expect(node.add('c')).toEqual(['10.0.1.2'])
  })
})

describe('the address handed out last', () => {
  it('is written for host-local whole, also after a longer one', () => {
    const node = new AddressNode('10.0.0.0/24')
    for (const ip of ['10.0.0.100', '10.0.0.9', '10.0.0.33', '10.0.0.7']) {
      node.add(`pod${ip}`, { ips: [ip] })
      expect(node.files.read('/data/net/last_reserved_ip.0')).toBe(ip)
    }
  })
})

describe('the order of addresses in a set too large to list', () => {
  it.each(['fd00::/64', 'fd00::/8', '::/0', '10.0.0.0/8'])('of %s begins with those never used', (subnet) => {
    const node = new AddressNode(subnet)
    const [first] = node.add('a')
    node.del('a')
    const [second] = node.add('b')
    const [third] = node.add('c')
    expect(new Set([first, second, third]).size).toBe(3)
  })

  it('starts again when its file names a position that the set does not have', () => {
    const node = new AddressNode('10.0.0.0/8')
    node.add('a')
    const sweepNext = 120
    node.files.writeAt('/data/.bowline/net/free.0', sweepNext, new Uint8Array(16).fill(255))
    expect(node.add('b')).toEqual(['10.0.0.3'])
  })

  it('skips a long row of leases with one look at the directory', () => {
    const node = new AddressNode('10.0.0.0/8')
    for (let i = 2; i < 250; i++) node.plant(`10.0.0.${i}`, `other${i}\r\neth0`)
    const before = node.files.operations
    expect(node.add('a')).toEqual(['10.0.0.250'])
    const firstCost = node.files.operations - before
    expect(node.add('b')).toEqual(['10.0.0.251'])
    expect(firstCost).toBeLessThan(2 * 248)
  })

  it('comes to the released ones, oldest first, when the sweep has been round', () => {
    const node = new AddressNode('10.0.0.0/15')
    const held = new TextEncoder().encode('other\r\neth0')
    for (const id of ['a', 'b', 'c']) node.add(id)
    for (const id of ['c', 'a', 'b']) node.del(id)
    for (let i = 0; i < 1 << 17; i++) {
      const name = `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`
      if (i > 4) node.files.writeAt(`/data/net/${name}`, 0, held)
    }
    expect(['d', 'e', 'f'].flatMap((id) => node.add(id))).toEqual(['10.0.0.4', '10.0.0.2', '10.0.0.3'])
  })
})
