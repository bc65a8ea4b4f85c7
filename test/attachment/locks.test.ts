import { describe, expect, it } from 'vitest'
import { openLocks } from '../../src/attachment/locks.ts'
import { openStore } from '../../src/attachment/store.ts'
import { Code, Fault } from '../../src/core/errors.ts'
import { createFakeFiles } from '../fakes/files.ts'
import { faultOf } from '../support/fault_of.ts'

const id = { network: 'net', containerId: 'box', ifName: 'eth0' }

describe('the lock of an attachment', () => {
  it('keeps a second process out, and says try again later', () => {
    const files = createFakeFiles()
    const locks = openLocks(files, '/records', 900)
    locks.withAttachment(id, () => {
      expect(locks.whenIdle(id, () => true)).toBeUndefined()
      expect(faultOf(() => locks.withAttachment(id, () => {})).code).toBe(Code.tryLater)
      expect(files.waitedMs).toBe(900)
    })
    expect(locks.whenIdle(id, () => true)).toBe(true)
  })

  it('is released when the work fails', () => {
    const locks = openLocks(createFakeFiles(), '/records')
    const work = () => {
      throw new Error('the test')
    }
    expect(() => locks.withAttachment(id, work)).toThrow('the test')
    expect(() => locks.whenIdle(id, work)).toThrow('the test')
    expect(locks.whenIdle(id, () => true)).toBe(true)
  })

  it('keeps nobody out of other attachments', () => {
    const locks = openLocks(createFakeFiles(), '/records')
    locks.withAttachment(id, () => {
      expect(locks.whenIdle({ ...id, ifName: 'eth1' }, () => true)).toBe(true)
      expect(locks.whenIdle({ ...id, network: 'other' }, () => true)).toBe(true)
    })
  })

  it('lives in one of a bounded number of files, which no network can be named after', () => {
    const files = createFakeFiles()
    const locks = openLocks(files, '/records')
    for (let i = 0; i < 5_000; i++) locks.whenIdle({ ...id, containerId: `box${i}` }, () => {})
    expect(files.list('/records')).toEqual(['.locks'])
    expect(files.list('/records/.locks').length).toBeLessThanOrEqual(4_096)
    expect(openStore(files, '/records').networks()).toEqual([])
  })

  it('fails with what the disk says when it can’t be had', () => {
    const files = createFakeFiles()
    files.onOperation = ({ name }) => {
      if (name === 'lock') throw new Fault('lock: EACCES', { errno: 'EACCES' })
    }
    expect(faultOf(() => openLocks(files, '/records').whenIdle(id, () => {})).errno).toBe('EACCES')
  })

  it.each(['ENOSPC', 'EDQUOT', 'EROFS'])('is nobody’s where the disk lets nobody make it: %s', (errno) => {
    const files = createFakeFiles()
    files.onOperation = ({ name }) => {
      if (name === 'lock' || name === 'ensureDirectory') throw new Fault(`${name}: ${errno}`, { errno })
    }
    expect(openLocks(files, '/records').withAttachment(id, () => true)).toBe(true)
    expect(openStore(files, '/records').remove(id)).toBe(true)
  })

  it('gives up when its directory goes away again and again', () => {
    const files = createFakeFiles()
    files.onOperation = ({ name }) => {
      if (name === 'lock') throw new Fault('lock: ENOENT', { errno: 'ENOENT' })
    }
    expect(faultOf(() => openLocks(files, '/records').whenIdle(id, () => {})).errno).toBe('ENOENT')
  })
})
