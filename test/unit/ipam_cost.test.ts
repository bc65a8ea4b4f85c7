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
      'readAt',
      'readAt',
      'read',
      'create',
      'create',
      'read',
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
      'writeAt',
      'readAt',
      'remove',
      'removeDirectory',
    ])
  })

  it.each([10, 1_000, 20_000])('is the same for both families at once with %i leases of each', (leases) => {
    const node = nodeWith(leases, ['10.0.0.0/16', 'fd00::/64'])
    expect(operationsOf(node, () => node.add('new'))).toHaveLength(18)
    expect(operationsOf(node, () => node.del('new'))).toHaveLength(14)
  })

  it('of a requested address is one look through the order more', () => {
    const node = nodeWith(1_000, ['10.0.0.0/16'])
    const plain = operationsOf(node, () => node.add('plain')).length
    const requested = operationsOf(node, () => node.add('static', { ips: ['10.0.0.200'] })).length
    expect(requested).toBeLessThanOrEqual(plain + 4)
  })
})
