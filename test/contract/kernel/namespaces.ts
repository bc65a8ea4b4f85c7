import { expect } from 'vitest'
import { Code } from '../../../src/core/errors.ts'
import { faultOf } from '../../support/fault_of.ts'
import { createVeth, errnoOf, eventually, type It } from './fixture.ts'

export function namespaceSentences(it: It): void {
  it('gives the same object for the host each time', ({ kernel }) => {
    expect(kernel.host()).toBe(kernel.host())
  })

  it('gives two handles of one namespace the same identity', ({ kernel, paths, a }) => {
    const again = kernel.openNetns(paths.a)
    expect(again.identity).toEqual(a.identity)
    again.close()
  })

  it('gives different namespaces different identities', ({ kernel, a, b }) => {
    expect(a.identity).not.toEqual(b.identity)
    expect(a.identity).not.toEqual(kernel.host().identity)
  })

  it('refuses a missing path with ENOENT', ({ kernel, subject }) => {
    expect(errnoOf(() => kernel.openNetns(subject.missing))).toBe('ENOENT')
  })

  it('refuses a plain file as an invalid network namespace', ({ kernel, subject }) => {
    const fault = faultOf(() => kernel.openNetns(subject.plainFile))
    expect(fault.code).toBe(Code.invalidNetns)
    expect(fault.message).toContain(subject.plainFile)
  })

  it('refuses a namespace of another kind as an invalid network namespace', ({ kernel, subject }) => {
    expect(faultOf(() => kernel.openNetns(subject.otherNamespace)).code).toBe(Code.invalidNetns)
  })

  it('refuses a namespace that was removed with ENOENT', ({ kernel, subject }) => {
    const path = subject.makeNetns()
    subject.removeNetns(path)
    expect(errnoOf(() => kernel.openNetns(path))).toBe('ENOENT')
  })

  it('keeps a namespace alive for a handle that is open', ({ kernel, subject, a }) => {
    const path = subject.makeNetns()
    const open = kernel.openNetns(path)
    a.apply([createVeth(open, 'near', 'far')])
    subject.removeNetns(path)
    Bun.sleepSync(50)
    expect(open.link({ name: 'far' })?.name).toBe('far')
    expect(a.link({ name: 'near' })?.name).toBe('near')
    open.close()
  })

  it('takes both ends of a veth away when the namespace of one goes', ({ kernel, subject, a }) => {
    const path = subject.makeNetns()
    const gone = kernel.openNetns(path)
    a.apply([createVeth(gone, 'near', 'far')])
    gone.close()
    subject.removeNetns(path)
    expect(eventually(() => a.link({ name: 'near' }) === undefined)).toBe(true)
  })

  it('begins with the loopback as the only link, down, with index 1', ({ a }) => {
    const lo = { index: 1, name: 'lo', kind: '', up: false, mac: '00:00:00:00:00:00', mtu: 65_536 }
    expect(a.links()).toHaveLength(1)
    expect(a.links()[0]).toMatchObject(lo)
    expect(a.link({ index: 1 })?.master).toBeUndefined()
  })

  it('has a boot id that stays the same', ({ kernel }) => {
    expect(kernel.bootId()).not.toBe('')
    expect(kernel.bootId()).toBe(kernel.bootId())
  })
}
