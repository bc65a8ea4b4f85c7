import { describe, expect, it } from 'vitest'
import { AddressNode, plantFile } from '../support/address_pool.ts'

describe('the order of addresses', () => {
  it('takes an address that was asked for by name for the last one', () => {
    const node = new AddressNode('10.0.0.0/29')
    expect(node.add('static', { ips: ['10.0.0.3'] })).toEqual(['10.0.0.3'])
    node.del('static')
    const order = ['a', 'b', 'c', 'd', 'e'].flatMap((id) => node.add(id))
    expect(order).toEqual(['10.0.0.4', '10.0.0.5', '10.0.0.6', '10.0.0.2', '10.0.0.3'])
  })

  it('passes over the 64 addresses that were released last, though the cursor has come round to them', () => {
    const node = new AddressNode('10.0.0.0/24')
    for (let i = 0; i < 253; i++) node.add(`pod${i}`)
    for (let i = 99; i >= 0; i--) node.del(`pod${i}`)
    const given = Array.from({ length: 100 }, (_, i) => node.add(`new${i}`)[0])
    const numbers = given.map((address) => Number(address?.split('.')[3]))
    expect(numbers.slice(0, 36).toSorted((a, b) => a - b)).toEqual(
      Array.from({ length: 36 }, (_, i) => i + 66),
    )
    expect(numbers.slice(36)).toEqual(Array.from({ length: 64 }, (_, i) => 65 - i))
  })

  it('goes on when its file is lost, from the address that was handed out last', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    node.add('b')
    node.del('a')
    node.files.remove('/data/.bowline/net/order')
    expect(node.add('c')).toEqual(['10.0.0.4'])
    expect(node.add('d')).toEqual(['10.0.0.5'])
    expect(node.add('e')).toEqual(['10.0.0.6'])
    expect(node.add('f')).toEqual(['10.0.0.2'])
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

describe('what an earlier version has kept', () => {
  it('is removed', () => {
    const node = new AddressNode('10.0.0.0/29', 'fd00::/64')
    for (const name of ['free.0', 'free.1']) plantFile(node.files, `/data/.bowline/net/${name}`, 'bowline1')
    expect(node.add('a')).toEqual(['10.0.0.2', 'fd00::2'])
    expect(node.files.list('/data/.bowline/net')).toEqual(['order'])
  })
})

describe('the order of addresses in a large set', () => {
  it.each(['fd00::/64', 'fd00::/8', '2000::/3', '10.0.0.0/8'])(
    'of %s begins with those never used',
    (subnet) => {
      const node = new AddressNode(subnet)
      const [first] = node.add('a')
      node.del('a')
      const [second] = node.add('b')
      const [third] = node.add('c')
      expect(new Set([first, second, third]).size).toBe(3)
    },
  )

  it('goes on elsewhere behind a long row of leases', () => {
    const node = new AddressNode('10.0.0.0/8')
    for (let i = 2; i < 250; i++) node.plant(`10.0.0.${i}`, `other${i}\r\neth0`)
    const [first = ''] = node.add('a')
    expect(first).not.toMatch(/^10\.0\.0\./)
    const [, , , last] = first.split('.').map(Number)
    expect(node.add('b')).toEqual([first.replace(/\d+$/, `${Number(last) + 1}`)])
  })

  it('comes to the released ones, oldest first, when all others are held', () => {
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
