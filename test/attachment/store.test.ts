import { beforeEach, describe, expect, it } from 'vitest'
import type { AttachmentRecord } from '../../src/attachment/record.ts'
import { isDamaged, openRecords, type Records } from '../../src/attachment/store.ts'
import { Code, Fault } from '../../src/core/errors.ts'
import { deriveNames } from '../../src/core/names.ts'
import { createFakeFiles, type FakeFiles } from '../fakes/files.ts'
import { faultOf } from '../support/fault_of.ts'

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
  let records: Records

  beforeEach(() => {
    files = createFakeFiles()
    records = openRecords(files, '/records')
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
    records.lock(id, 0).release()
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
    ['of another version', changed({ version: 2 })],
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
    ['with a masquerade that is null', changed({ masquerade: null })],
  ]

  it.each(damages)('that is %s is neither trusted nor taken for none', (_, damaged) => {
    const files = createFakeFiles()
    const records = openRecords(files, '/records')
    files.ensureDirectory('/records/net')
    files.create(path, damaged)
    const reading = records.read(id)
    expect(isDamaged(reading) && reading.damaged).toBe(`record ${path} is damaged`)
    expect(records.list('net')).toEqual([])
    expect(records.listDamaged('net')).toEqual([deriveNames(id).key])
  })

  it('can be removed by who it would belong to, or by its key', () => {
    const files = createFakeFiles()
    const records = openRecords(files, '/records')
    for (const remove of [
      () => records.remove(id),
      () => records.removeDamaged('net', deriveNames(id).key),
    ]) {
      files.ensureDirectory('/records/net')
      files.create(path, '')
      expect(remove()).toBe(true)
      expect(files.read(path)).toBeUndefined()
    }
  })

  it('is not removed by a key that is no key', () => {
    const records = openRecords(createFakeFiles(), '/records')
    expect(() => records.removeDamaged('net', '../../etc/passwd')).toThrow('not the key')
  })

  it('is replaced by the next one that is written', () => {
    const files = createFakeFiles()
    const records = openRecords(files, '/records')
    files.ensureDirectory('/records/net')
    files.create(path, '{')
    records.write(record)
    expect(records.read(id)).toEqual(record)
  })

  function changed(fields: Record<string, unknown>): string {
    return JSON.stringify({ ...record, ...fields })
  }
})

describe('the lock of an attachment', () => {
  it('keeps a second process out, and says try again later', () => {
    const files = createFakeFiles()
    const records = openRecords(files, '/records')
    const lock = records.lock(id, 0)
    expect(records.tryLock(id)).toBeUndefined()
    const fault = faultOf(() => records.lock(id, 900))
    expect(fault.code).toBe(Code.tryLater)
    expect(files.waitedMs).toBe(900)
    lock.release()
    expect(records.tryLock(id)).toBeDefined()
  })

  it('keeps nobody out of other attachments', () => {
    const records = openRecords(createFakeFiles(), '/records')
    records.lock(id, 0)
    expect(records.tryLock({ ...id, ifName: 'eth1' })).toBeDefined()
    expect(records.tryLock({ ...id, network: 'other' })).toBeDefined()
  })

  it('lives in one of a bounded number of files, which no network can be named after', () => {
    const files = createFakeFiles()
    const records = openRecords(files, '/records')
    for (let i = 0; i < 5_000; i++) records.tryLock({ ...id, containerId: `box${i}` })
    expect(files.list('/records')).toEqual(['.locks'])
    expect(files.list('/records/.locks').length).toBeLessThanOrEqual(4_096)
    expect(records.networks()).toEqual([])
  })

  it('fails with what the disk says when it can’t be had', () => {
    const files = createFakeFiles()
    files.onOperation = ({ name }) => {
      if (name === 'lock') throw new Fault('lock: EACCES', { errno: 'EACCES' })
    }
    expect(faultOf(() => openRecords(files, '/records').tryLock(id)).errno).toBe('EACCES')
  })

  it.each(['ENOSPC', 'EDQUOT', 'EROFS'])('is nobody’s where the disk lets nobody make it: %s', (errno) => {
    const files = createFakeFiles()
    files.onOperation = ({ name }) => {
      if (name === 'lock' || name === 'ensureDirectory') throw new Fault(`${name}: ${errno}`, { errno })
    }
    const records = openRecords(files, '/records')
    records.lock(id, 0).release()
    expect(records.remove(id)).toBe(true)
  })

  it('gives up when its directory goes away again and again', () => {
    const files = createFakeFiles()
    files.onOperation = ({ name }) => {
      if (name === 'lock') throw new Fault('lock: ENOENT', { errno: 'ENOENT' })
    }
    expect(faultOf(() => openRecords(files, '/records').tryLock(id)).errno).toBe('ENOENT')
  })
})
