import { describe, expect, it } from 'vitest'
import { AddressNode, idOf, NETWORK } from '../support/address_pool.ts'

const recordPath = (key: string) => `/records/${NETWORK}/${key}`

describe('after a reboot', () => {
  it('the leases of the boot before are free, and their records are gone', () => {
    const node = new AddressNode('10.0.0.0/29')
    for (const id of ['a', 'b', 'c', 'd', 'e']) node.add(id)
    node.reboot('boot-2')
    expect(node.add('new')).toEqual(['10.0.0.2'])
    expect(node.leases()).toEqual({ '10.0.0.2': 'new\r\neth0' })
    expect(node.records.list(NETWORK)).toHaveLength(1)
  })

  it('a full pool is not counted as full, so that there will be an ADD', () => {
    const node = new AddressNode('10.0.0.0/29')
    for (const id of ['a', 'b', 'c', 'd', 'e']) node.add(id)
    expect(node.stats()[0]?.held).toBe(5)
    node.reboot('boot-2')
    expect(node.stats()[0]?.held).toBe(0)
  })

  it('leases of host-local that we saw before it are free', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.plant('10.0.0.4', 'old\r\neth0')
    node.add('a')
    node.reboot('boot-2')
    node.add('b')
    expect(node.leases()).toEqual({ '10.0.0.3': 'b\r\neth0' })
  })

  it('leases of host-local that we have not seen before stay, for their pods may live', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    node.reboot('boot-2')
    node.plant('10.0.0.4', 'new\r\neth0')
    node.add('b')
    expect(node.leases()).toEqual({ '10.0.0.3': 'b\r\neth0', '10.0.0.4': 'new\r\neth0' })
  })

  it('leases that we saw stay when host-local has been at work since', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.plant('10.0.0.4', 'old\r\neth0')
    node.add('a')
    node.reboot('boot-2')
    node.plant('10.0.0.6', 'new\r\neth0')
    node.plant('last_reserved_ip.0', '10.0.0.6')
    node.add('b')
    expect(Object.keys(node.leases())).toEqual(['10.0.0.2', '10.0.0.4', '10.0.0.6'])
    node.reboot('boot-3')
    node.add('c')
    expect(Object.values(node.leases())).toEqual(['c\r\neth0'])
  })

  it.each([
    ['empty', ''],
    ['of zeros', '\0'.repeat(300)],
  ])('a lease is free and its record gone when a power cut has left the record %s', (_, text) => {
    const node = new AddressNode('10.0.0.0/29')
    for (const id of ['a', 'b', 'c', 'd', 'e']) node.add(id)
    for (const key of node.files.list(`/records/${NETWORK}`)) node.files.replace(recordPath(key), text)
    node.reboot('boot-2')
    expect(node.stats()[0]?.held).toBe(0)
    for (const id of ['f', 'g', 'h', 'i', 'j']) node.add(id)
    expect(node.records.readFiles(NETWORK)).toHaveLength(5)
    expect(node.records.list(NETWORK)).toHaveLength(5)
  })

  it('a record that turns empty later frees no lease, for its pod lives', () => {
    const node = new AddressNode('10.0.0.0/29')
    for (const id of ['a', 'b', 'c', 'd', 'e']) node.add(id)
    const leases = node.leases()
    for (const key of node.files.list(`/records/${NETWORK}`)) node.files.replace(recordPath(key), '')
    expect(() => node.add('f')).toThrow('no free address')
    expect(node.leases()).toEqual(leases)
    expect(node.stats()[0]?.held).toBe(5)
  })

  it('an empty record that another process works on is left to it', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    const [key = ''] = node.files.list(`/records/${NETWORK}`)
    node.files.replace(recordPath(key), '')
    node.reboot('boot-2')
    node.locks.withAttachment(idOf('a'), () => void node.add('b'))
    expect(node.records.readFiles(NETWORK)).toContainEqual({ key, damage: 'blank' })
  })

  it('a lease whose record is damaged stays for one boot more, as nobody knows whose it is', () => {
    const node = new AddressNode('10.0.0.0/29')
    node.add('a')
    const [key = ''] = node.files.list(`/records/${NETWORK}`)
    node.files.replace(recordPath(key), '{"version":1')
    node.reboot('boot-2')
    node.add('b')
    expect(Object.values(node.leases())).toContain('a\r\neth0')
    node.reboot('boot-3')
    node.add('c')
    expect(Object.values(node.leases())).toEqual(['c\r\neth0'])
  })

  it('a late DEL of a pod of the boot before does not harm who has its address now', () => {
    const node = new AddressNode('10.0.0.0/30')
    node.add('old')
    node.reboot('boot-2')
    node.add('new')
    node.del('old')
    expect(node.leases()).toEqual({ '10.0.0.2': 'new\r\neth0' })
  })
})
