import { beforeEach, describe, expect, it, vi } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import { homeNamespace, type NamespaceHandle, within } from '../../src/kernel/linux/namespace.ts'
import { faultOf } from '../support/fault_of.ts'

const HOME = 3
const POD: NamespaceHandle = { fd: 9, identity: { device: 4, inode: 9 } }

const log = vi.hoisted(() => ({
  entered: [] as number[],
  refused: [] as number[],
  exits: [] as number[],
  complaints: [] as string[],
}))

vi.mock('../../src/kernel/linux/net.ts', () => ({
  openNamespace: () => 3,
  isNetworkNamespace: () => true,
  enterNamespace(fd: number) {
    if (log.refused.includes(fd)) throw new Fault('EPERM', { errno: 'EPERM' })
    log.entered.push(fd)
  },
}))
vi.mock('../../src/kernel/linux/disk.ts', () => ({
  close: () => {},
  statusOf: () => ({ identity: '0:4:3' }),
}))
vi.mock('../../src/kernel/linux/stdio.ts', () => ({
  exit: (code: number) => void log.exits.push(code),
  writeStandardError: (text: string) => void log.complaints.push(text),
}))

beforeEach(() => {
  log.entered = []
  log.refused = []
  log.exits = []
})

describe('a visit to another namespace', () => {
  it('goes in, works and comes back', () => {
    expect(within(POD, () => [...log.entered])).toEqual([POD.fd])
    expect(log.entered).toEqual([POD.fd, HOME])
  })

  it('comes back when the work fails, and lets the failure through', () => {
    const fault = new Fault('refused')
    expect(
      faultOf(() =>
        within(POD, () => {
          throw fault
        }),
      ),
    ).toBe(fault)
    expect(log.entered).toEqual([POD.fd, HOME])
  })

  it('does not begin to work when it cannot go in', () => {
    log.refused = [POD.fd]
    const work = vi.fn()
    expect(faultOf(() => within(POD, work)).errno).toBe('EPERM')
    expect(work).not.toHaveBeenCalled()
    expect(log.exits).toEqual([])
  })

  it('ends the process when the way back is barred', () => {
    homeNamespace()
    log.refused = [HOME]
    within(POD, () => {})
    expect(log.exits).toEqual([71])
    expect(log.complaints).toHaveLength(1)
  })
})
