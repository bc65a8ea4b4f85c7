import { describe, expect, it } from 'vitest'
import { createFakeNode, type FakeNode, L3 } from '../fakes/node.ts'
import { AddressNode, idOf, NETWORK } from '../support/address_pool.ts'

/*
 * Leases that another program took away while their pods run: an administrator who cleared the directory, or host-local
 * when the node was switched back to it for a while.
 */
describe('when the directory of leases was deleted', () => {
  /** `rm -r` of all that is below the data directory. */
  function deleteStore(node: AddressNode): void {
    for (const path of Object.keys(node.files.dump())) if (path.startsWith('/data/')) node.files.remove(path)
  }

  it('the pool makes the leases of its attachments again, and gives other addresses', () => {
    const node = new AddressNode('10.0.0.0/29')
    for (const id of ['a', 'b']) node.add(id)
    deleteStore(node)
    expect(node.add('c')).toEqual(['10.0.0.4'])
    expect(node.leases()).toEqual({
      '10.0.0.2': 'a\r\neth0',
      '10.0.0.3': 'b\r\neth0',
      '10.0.0.4': 'c\r\neth0',
    })
  })

  it('no lease comes back of an attachment that somebody is removing, or that never was complete', () => {
    const node = new AddressNode('10.0.0.0/29')
    for (const id of ['a', 'b']) node.add(id)
    deleteStore(node)
    const record = node.records.list(NETWORK).find(({ containerId }) => containerId === 'b')
    node.records.write({ ...record, ...idOf('b'), version: 1, bootId: node.bootId, complete: false })
    node.locks.withAttachment(idOf('a'), () => {
      expect(node.add('c')).toEqual(['10.0.0.2'])
    })
    expect(node.leases()).toEqual({ '10.0.0.2': 'c\r\neth0' })
  })
})

describe('when somebody has emptied the lease of a pod', () => {
  it.each([{ ips: [] }, { ips: ['10.0.0.2'] }])('its address is not given again: ADD with %o', (wish) => {
    const node = new AddressNode([{ subnet: '10.0.0.0/29', rangeStart: '10.0.0.2', rangeEnd: '10.0.0.2' }])
    node.add('a')
    node.files.remove('/data/net/10.0.0.2')
    node.plant('10.0.0.2', '')
    expect(() => node.add('b', wish)).toThrow(/held by container a|no free address/)
    expect(node.leases()).toEqual({ '10.0.0.2': 'a\r\neth0' })
  })
})

describe('a late DEL of a pod whose lease host-local has freed', () => {
  it('leaves the masquerading of the subnet', () => {
    const node = createFakeNode()
    const asking = { ...L3, runtimeConfig: { ips: ['10.1.0.7'] } }
    const second = { containerId: 'c2', netns: '/var/run/netns/pod2', config: asking }
    node.kernel.makeNetns(second.netns)
    node.call('ADD', { config: asking })
    node.files.remove('/var/lib/cni/networks/net/10.1.0.7')
    expect(node.call('ADD', second).exitCode).toBe(0)
    expect(node.call('DEL', { config: asking }).exitCode).toBe(0)
    expect(masqueraded(node)).toEqual(['10.1.0.0/24'])
  })

  function masqueraded(node: FakeNode): string[] {
    const maps = node.kernel.dump().nft['inet bowline']?.maps as
      | { subnets4?: { elements: object } }
      | undefined
    return Object.keys(maps?.subnets4?.elements ?? {})
  }
})
