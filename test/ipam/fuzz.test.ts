import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { readAdopted } from '../../ipam/lease_owner.ts'
import { leasedAddresses, ownerOf, ownershipOf } from '../../ipam/leases.ts'
import { readOrder } from '../../ipam/order.ts'
import { parseResolvConf } from '../../ipam/resolv_conf.ts'
import { formatRecord, parseRecord } from '../../src/attachment/record_format.ts'
import { formatAddress, parseAddress, parseCidr } from '../../src/core/address.ts'
import { isPlainPath } from '../../src/core/files.ts'
import { isCniName } from '../../src/core/names.ts'
import { createFakeFiles } from '../fakes/files.ts'
import { AddressNode, DATA_DIR, idOf, NETWORK, RECORDS_DIR } from '../support/address_pool.ts'
import { malformed, malformedText } from '../support/damage.ts'

/*
 * Whatever bytes stand in the files of the store: a reader gives what they say or nothing, and never throws; an ADD gives
 * an address that is free, and finds one as long as there is one.
 */

const NUM_RUNS = 2000
const record = {
  ...idOf('box'),
  version: 1,
  bootId: 'boot-1',
  complete: false,
  leases: { dataDir: DATA_DIR, addresses: ['10.0.0.2', 'fd00::2'] },
  delegate: 'host-local',
  netns: { path: '/var/run/netns/box', device: 4, inode: 4026532281 },
  hostIfName: 'veth0123456789a',
  mode: 'l2',
  bridge: 'cni0',
  masquerade: ['10.0.0.2/24', 'fd00::2/64'],
} as const

describe('a record of any bytes', () => {
  it('is nothing, or one that nothing dangerous can be made of', () => {
    let sound = 0
    fc.assert(
      fc.property(malformedText([formatRecord(record)]), (text) => {
        const read = parseRecord(text)
        if (!read) return
        sound++
        expect([read.network, read.containerId].every(isCniName)).toBe(true)
        expect(read.ifName).toMatch(/^[^/:\s]{1,15}$/)
        const { leases, masquerade = [] } = read
        if (leases) expect(isPlainPath(leases.dataDir)).toBe(true)
        for (const address of leases?.addresses ?? [])
          expect(formatAddress(parseAddress(address))).toBe(address)
        for (const cidr of masquerade) parseCidr(cidr)
        expect(parseRecord(formatRecord(read))).toEqual(read)
      }),
      { numRuns: 2 * NUM_RUNS },
    )
    // Some damage makes another sound record: a letter of a name is changed. Most does not.
    expect(sound).toBeGreaterThan(20)
  })

  it('counts only where its own fields lead to', () => {
    fc.assert(
      fc.property(malformedText([formatRecord(record)]), (text) => {
        const node = new AddressNode('10.0.0.0/29')
        const id = idOf('box')
        node.records.write({ ...record })
        const [key] = node.files.list(`${RECORDS_DIR}/${NETWORK}`)
        node.files.replace(`${RECORDS_DIR}/${NETWORK}/${key}`, text)
        const read = node.records.read(id)
        if (read) expect(read).toMatchObject(id)
        node.del('box')
        expect(node.records.list(NETWORK)).toEqual([])
      }),
      { numRuns: 300 },
    )
  })
})

describe('a lease of any name and text', () => {
  const names = malformedText(['10.0.0.2', 'fd00::2', 'last_reserved_ip.0', '::ffff:10.0.0.2', '..', 'lock'])
  const text = malformedText(['box\r\neth0', 'box', 'box\neth0', '\r\n', '\0\0\0'])

  it('is an address only under its canonical name', () => {
    fc.assert(
      fc.property(names, (name) => {
        fc.pre(name !== '' && !/[/\0]/.test(name))
        const files = createFakeFiles()
        files.ensureDirectory('/leases')
        files.create(`/leases/${name}`, 'box\r\neth0')
        const found = leasedAddresses(files, '/leases').map(formatAddress)
        expect(found).toEqual(found.length > 0 ? [name] : [])
      }),
      { numRuns: NUM_RUNS },
    )
  })

  it('belongs to one owner, whom its text names', () => {
    const owner = { containerId: 'box', ifName: 'eth0' }
    fc.assert(
      fc.property(text, (lease) => {
        const ownership = ownershipOf(lease, owner)
        if (ownership === 'ours') expect(lease.trim()).toBe('box\r\neth0')
        if (ownership === 'ours in the old form') expect(lease.trim()).toBe('box')
        expect(ownerOf(parseAddress('10.0.0.2'), lease) === undefined).toBe(/^(\0*|\s*)$/.test(lease))
      }),
      { numRuns: NUM_RUNS },
    )
  })
})

describe('the order of a pool', () => {
  const path = `${DATA_DIR}/.bowline/${NETWORK}/order`
  const written = poolWith(['a', 'b'], ['a'])
  const sample = new TextEncoder().encode(written.files.read(path))

  it('of any bytes is nothing, or lists of texts', () => {
    let sound = 0
    fc.assert(
      fc.property(malformed([sample]), (bytes) => {
        const files = createFakeFiles()
        files.writeAt('/order', 0, bytes)
        const order = readOrder(files, '')
        if (!order) return
        sound++
        expect(order.bootId).toBeTypeOf('string')
        for (const one of [...order.cursors, ...order.released]) expect(one).toBeTypeOf('string')
      }),
      { numRuns: NUM_RUNS },
    )
    expect(sound).toBeGreaterThan(20)
  })

  it('in any bytes costs no address, and gives none twice', () => {
    fc.assert(
      fc.property(malformed([sample]), malformedText(['10.0.0.3']), (bytes, cursor) => {
        const node = poolWith(['a', 'b'])
        overwrite(node, path, bytes)
        overwrite(node, `${DATA_DIR}/${NETWORK}/last_reserved_ip.0`, new TextEncoder().encode(cursor))
        const given = ['c', 'd', 'e'].flatMap((pod) => node.add(pod))
        expect(given.toSorted()).toEqual(['10.0.0.4', '10.0.0.5', '10.0.0.6'])
        for (const pod of ['a', 'b', 'c', 'd', 'e']) node.del(pod)
        expect(node.leases()).toEqual({})
      }),
      { numRuns: 500 },
    )
  })
})

describe('what was adopted, of any bytes', () => {
  it('is nothing, or names leases by boot', () => {
    const text = JSON.stringify({ bootId: 'boot-1', leases: { '10.0.0.2': 'box\r\neth0' } })
    fc.assert(
      fc.property(malformedText([text, '{}', 'null', '[]', '{"bootId":"b","leases":[]}']), (adopted) => {
        const files = createFakeFiles()
        files.create('/adopted', adopted)
        const read = readAdopted(files, '')
        if (!read) return
        expect(read.bootId).toBeTypeOf('string')
        expect(Object.values(read.leases).every((lease) => typeof lease === 'string')).toBe(true)
      }),
      { numRuns: NUM_RUNS },
    )
  })
})

describe('a resolv.conf of any bytes', () => {
  it('is read without an error, into words', () => {
    const text = 'nameserver 10.0.0.10\nsearch a b\noptions ndots:5\ndomain d\n# x\n;y\n'
    fc.assert(
      fc.property(malformedText([text]), (conf) => {
        const { nameservers, search, options, domain = 'd' } = parseResolvConf(conf)
        for (const word of [...nameservers, ...search, ...options, domain]) expect(word).toMatch(/^\S+$/)
      }),
      { numRuns: NUM_RUNS },
    )
  })
})

function poolWith(pods: readonly string[], gone: readonly string[] = []): AddressNode {
  const node = new AddressNode('10.0.0.0/29')
  for (const pod of pods) node.add(pod)
  for (const pod of gone) node.del(pod)
  return node
}

function overwrite({ files }: AddressNode, path: string, bytes: Uint8Array): void {
  files.remove(path)
  files.writeAt(path, 0, bytes)
}
