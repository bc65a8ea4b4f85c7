import { describe, expect, it } from 'vitest'
import { AddressNode } from '../support/address_pool.ts'

/** A node on which this many addresses are held, a third of them come and gone before. */
function nodeWith(leases: number, subnets: string[]): AddressNode {
  const node = new AddressNode(...subnets)
  const text = new TextEncoder().encode('x\r\neth0')
  node.files.ensureDirectory('/data/net')
  for (let i = 0; i < leases; i++) {
    const host = i + 300
    const names = [`10.0.${host >> 8}.${host & 255}`, `fd00::${host.toString(16)}`]
    for (const name of names.slice(0, subnets.length)) node.files.writeAt(`/data/net/${name}`, 0, text)
  }
  for (let i = 0; i < 9; i++) node.add(`pod${i}`)
  for (let i = 0; i < 9; i += 3) node.del(`pod${i}`)
  return node
}

/** The names of the operations that `work` does, in order. */
function operationsOf(node: AddressNode, work: () => unknown): string[] {
  const names: string[] = []
  node.files.onOperation = ({ name, phase }) => {
    if (phase === 'before') names.push(name)
  }
  work()
  node.files.onOperation = undefined
  return names
}

describe('the cost of an attachment', () => {
  it.each([10, 1_000, 60_000])('is the same few file operations with %i leases', (leases) => {
    const node = nodeWith(leases, ['10.0.0.0/16'])
    expect(operationsOf(node, () => node.add('new'))).toEqual([
      'lock',
      'read',
      'lock',
      'read',
      'readAt',
      'read',
      'create',
      'create',
      'writeAt',
      'writeAt',
      'writeAt',
    ])
    expect(operationsOf(node, () => node.del('new'))).toEqual([
      'lock',
      'read',
      'lock',
      'read',
      'remove',
      'readAt',
      'writeAt',
      'remove',
      'removeDirectory',
    ])
  })

  it.each([10, 1_000, 20_000])('is the same for both families at once with %i leases of each', (leases) => {
    const node = nodeWith(leases, ['10.0.0.0/16', 'fd00::/64'])
    expect(operationsOf(node, () => node.add('new'))).toHaveLength(15)
    expect(operationsOf(node, () => node.del('new'))).toHaveLength(11)
  })

  it('of a requested address is the same', () => {
    const node = nodeWith(1_000, ['10.0.0.0/16'])
    const plain = operationsOf(node, () => node.add('plain')).length
    const requested = operationsOf(node, () => node.add('static', { ips: ['10.0.0.200'] })).length
    expect(requested).toBe(plain)
  })

  it.each(['10.0.0.0/24', '10.0.0.0/16', '10.0.0.0/12', 'fd00::/64'])(
    'of the first in %s is the same, and it writes the same',
    (subnet) => {
      const [node, smallest] = [new AddressNode(subnet), new AddressNode('10.0.0.0/29')]
      const operations = operationsOf(node, () => node.add('first'))
      expect(operations).toEqual(operationsOf(smallest, () => smallest.add('first')))
      const bytes = ({ files }: AddressNode) => Object.values(files.dump()).join('').length
      expect(bytes(node)).toBeLessThan(bytes(smallest) + 50)
    },
  )

  it('has a bound where tens of thousands of leases stand in a row', () => {
    const node = nodeWith(60_000, ['10.0.0.0/16'])
    node.add('before', { ips: ['10.0.1.42'] })
    const operations = operationsOf(node, () => node.add('new'))
    expect(operations).not.toContain('list')
    expect(operations.length).toBeLessThan(80)
  })

  it('has a bound where only one of ten is free, all over the set', () => {
    const node = new AddressNode('10.0.0.0/16')
    node.add('before')
    for (let i = 3; i < 65_535; i++) {
      if (i % 11 > 0) node.files.writeAt(`/data/net/10.0.${i >> 8}.${i & 255}`, 0, new Uint8Array([120]))
    }
    for (let i = 0; i < 200; i++) {
      const operations = operationsOf(node, () => node.add(`pod${i}`))
      expect(operations.length).toBeLessThan(25)
    }
  })

  it('is one listing where less than that is free', () => {
    const node = nodeWith(65_230, ['10.0.0.0/16'])
    const operations = operationsOf(node, () => node.add('new'))
    expect(operations.filter((name) => name === 'list').length).toBeLessThanOrEqual(1)
    expect(operations.length).toBeLessThan(120)
  })
})
