import { beforeEach, describe, expect, it } from 'vitest'
import { openLocks } from '../../src/attachment/locks.ts'
import type { AttachmentRecord } from '../../src/attachment/record.ts'
import { type AttachmentStore, openStore } from '../../src/attachment/store.ts'
import { deriveNames } from '../../src/core/names.ts'
import { createFakeFiles, type FakeFiles } from '../fakes/files.ts'

const id = { network: 'net', containerId: 'box', ifName: 'eth0' }
const record: AttachmentRecord = {
  ...id,
  version: 1,
  bootId: '6a3f-1',
  complete: false,
  leases: { dataDir: '/var/lib/cni/networks', addresses: ['10.0.0.2', 'fd00::2'] },
  netns: { path: '/var/run/netns/box', device: 4, inode: 4026532281 },
  hostIfName: 'veth0123456789a',
  mode: 'l2',
  bridge: 'cni0',
  masquerade: ['10.0.0.2/24', 'fd00::2/64'],
}
const path = `/records/net/${deriveNames(id).key}`

describe('attachment records', () => {
  let files: FakeFiles
  let records: AttachmentStore

  beforeEach(() => {
    files = createFakeFiles()
    records = openStore(files, '/records')
  })

  it('come back as they were written', () => {
    records.write(record)
    expect(records.read(id)).toEqual(record)
  })

  it('come back with the fewest fields as well', () => {
    const { network, containerId, ifName } = id
    const least: AttachmentRecord = { network, containerId, ifName, version: 1, bootId: 'b', complete: true }
    records.write(least)
    expect(records.read(id)).toEqual(least)
  })

  it('are undefined when there is none', () => {
    expect(records.read(id)).toBeUndefined()
  })

  it('can be replaced', () => {
    records.write(record)
    records.write({ ...record, bridge: 'other' })
    expect(records.read(id)).toEqual({ ...record, bridge: 'other' })
  })

  it.each([false, true])('are complete once that is said, if complete was %s before', (complete) => {
    records.write({ ...record, complete })
    records.complete(id)
    expect(records.read(id)).toEqual({ ...record, complete: true })
  })

  it('that could not be read again are not written', () => {
    expect(() => records.write({ ...record, hostIfName: 'a name that is too long' })).toThrow(
      'would not be read',
    )
    expect(files.read(path)).toBeUndefined()
  })

  it('cost one operation each to write and to complete', () => {
    records.write({ ...record, containerId: 'first' })
    const before = files.operations
    records.write(record)
    records.complete(id)
    expect(files.operations - before).toBe(2)
  })

  it('are listed by network, with the networks', () => {
    records.write(record)
    records.write({ ...record, containerId: 'other' })
    records.write({ ...record, network: 'second' })
    openLocks(files, '/records').withAttachment(id, () => {})
    expect(
      records
        .list('net')
        .map(({ containerId }) => containerId)
        .sort(),
    ).toEqual(['box', 'other'])
    expect(records.networks().sort()).toEqual(['net', 'second'])
    expect(records.list('none')).toEqual([])
  })

  it('say on removal whether they were the last of their network', () => {
    records.write(record)
    records.write({ ...record, containerId: 'other' })
    expect(records.remove(id)).toBe(false)
    expect(records.remove({ ...id, containerId: 'other' })).toBe(true)
    expect(files.list('/records')).toEqual([])
  })

  it('say last again for a removal that was killed before it could use the answer', () => {
    records.write(record)
    records.remove(id)
    expect(records.remove(id)).toBe(true)
  })

  it('do not say last when others are left, however often one is removed', () => {
    records.write(record)
    records.write({ ...record, containerId: 'other' })
    records.remove(id)
    expect(records.remove(id)).toBe(false)
  })
})

describe('a damaged record', () => {
  const text = JSON.stringify(record)
  const damages: [string, string][] = [
    ['empty', ''],
    ['cut short', text.slice(0, 80)],
    ['not JSON', 'garbage'],
    ['null', 'null'],
    ['a list', '[]'],
    ['of no version that there ever was', changed({ version: 0 })],
    ['without a version', changed({ version: undefined })],
    ['of another container', changed({ containerId: 'other' })],
    ['of another network', changed({ network: 'other' })],
    ['with a network that is a path', changed({ network: '../x' })],
    ['with a complete that is a word', changed({ complete: 'true' })],
    ['without a boot id', changed({ bootId: '' })],
    ['with leases below a relative path', changed({ leases: { dataDir: 'data', addresses: [] } })],
    ['with leases on a path that climbs', changed({ leases: { dataDir: '/data/../etc', addresses: [] } })],
    [
      'with a lease that is a path',
      changed({ leases: { dataDir: '/data', addresses: ['../../etc/passwd'] } }),
    ],
    [
      'with a lease that is not in canonical text',
      changed({ leases: { dataDir: '/data', addresses: ['FD00::0:1'] } }),
    ],
    ['with leases that are no list', changed({ leases: { dataDir: '/data', addresses: '10.0.0.2' } })],
    ['with a delegate that is a path', changed({ delegate: '../bin/sh' })],
    ['with a host interface that is too long', changed({ hostIfName: 'x'.repeat(16) })],
    ['with a host interface with a slash', changed({ hostIfName: 'a/b' })],
    ['with a bridge that is a number', changed({ bridge: 5 })],
    ['with an unknown mode', changed({ mode: 'l4' })],
    ['with an inode that is no number', changed({ netns: { path: '/x', device: 4, inode: 'x' } })],
    ['with an empty netns path', changed({ netns: { path: '', device: 4, inode: 5 } })],
    ['with a masqueraded address without prefix', changed({ masquerade: ['10.0.0.2'] })],
    [
      'with a host port that no packet has',
      changed({ hostPorts: { ports: ['99999:80/tcp'], pods: ['10.0.0.2/24'] } }),
    ],
    ['with a masquerade that is null', changed({ masquerade: null })],
  ]

  it.each(damages)('that is %s is neither trusted nor taken for none', (_, damaged) => {
    const files = createFakeFiles()
    const records = openStore(files, '/records')
    files.ensureDirectory('/records/net')
    files.create(path, damaged)
    const { key } = deriveNames(id)
    expect(records.read(id)).toBeUndefined()
    expect(records.list('net')).toEqual([])
    expect(records.readFiles('net')).toEqual([{ key, damage: damaged === '' ? 'blank' : 'other' }])
  })

  it('of a later release is refused by its key, and stays', () => {
    const files = createFakeFiles()
    const records = openStore(files, '/records')
    files.ensureDirectory('/records/net')
    files.create(path, '{"version":2,"complete":true}')
    expect(() => records.read(id)).toThrow('was written by a later release of Bowline')
    expect(records.readFiles('net')).toEqual([{ key: deriveNames(id).key, damage: 'newer' }])
  })

  it('can be removed by who it would belong to, or by its key', () => {
    const files = createFakeFiles()
    const records = openStore(files, '/records')
    for (const remove of [
      () => records.remove(id),
      () => records.remove({ network: 'net', key: deriveNames(id).key }),
    ]) {
      files.ensureDirectory('/records/net')
      files.create(path, '')
      expect(remove()).toBe(true)
      expect(files.read(path)).toBeUndefined()
    }
  })

  it('is not removed by a key that is no key', () => {
    const records = openStore(createFakeFiles(), '/records')
    expect(() => records.remove({ network: 'net', key: '../../etc/passwd' })).toThrow('not the key')
  })

  it('is replaced by the next one that is written', () => {
    const files = createFakeFiles()
    const records = openStore(files, '/records')
    files.ensureDirectory('/records/net')
    files.create(path, '{')
    records.write(record)
    expect(records.read(id)).toEqual(record)
  })

  function changed(fields: Record<string, unknown>): string {
    return JSON.stringify({ ...record, ...fields })
  }
})
