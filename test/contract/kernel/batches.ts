import { expect } from 'vitest'
import { parseCidr } from '../../../src/core/address.ts'
import type { Change } from '../../../src/kernel/kernel.ts'
import { faultOf } from '../../support/fault_of.ts'
import { addAddress, addressesOf, createVeth, errnoOf, type It, MAC } from './fixture.ts'

export function batchSentences(it: It): void {
  it('of no change at all do nothing', ({ a }) => {
    a.apply([])
    expect(a.links()).toHaveLength(1)
  })

  it('go on after a refusal, then throw the first one', ({ a, pair }) => {
    const { index } = pair().near
    const changes: Change[] = [
      addAddress(index, parseCidr('10.1.0.2/24')),
      { op: 'removeLink', link: { name: 'none' } },
      addAddress(index, parseCidr('10.1.0.2/24')),
      addAddress(index, parseCidr('fd00:1::2/64')),
    ]
    expect(errnoOf(() => a.apply(changes))).toBe('ENODEV')
    expect(addressesOf(a, index)).toEqual(['10.1.0.2/24', 'fd00:1::2/64'])
  })

  it('name the change that was refused', ({ a, index }) => {
    const dst = parseCidr('10.77.0.0/24')
    const gateway = parseCidr('10.66.0.1/32').address
    const fault = faultOf(() => a.apply([{ op: 'addRoute', route: { dst, gateway, linkIndex: index } }]))
    expect(fault.message).toContain('10.77.0.0/24 via 10.66.0.1')
    expect(fault.message).toContain('ENETUNREACH')
  })

  it('of hundreds of changes are all tried, also after a refusal', ({ a, pair }) => {
    const { index } = pair().near
    const addresses = Array.from({ length: 200 }, (_, i) => parseCidr(`10.1.${i}.1/24`))
    const changes: Change[] = [
      { op: 'removeLink', link: { name: 'none' } },
      ...addresses.map((cidr) => addAddress(index, cidr)),
    ]
    expect(errnoOf(() => a.apply(changes))).toBe('ENODEV')
    expect(a.addresses(index)).toHaveLength(200)
  })

  it('with a question read the link as it is after the changes', ({ a, b }) => {
    const link = a.applyAndRead(
      [
        createVeth(b, 'near', 'far'),
        { op: 'setLink', link: { name: 'near' }, mtu: 1400, alias: 'pod', up: true },
      ],
      { name: 'near' },
    )
    expect(link).toMatchObject({ name: 'near', mtu: 1400, alias: 'pod', up: true, mac: MAC.near })
  })

  it('with a question for a link that is not there fail with ENODEV', ({ a }) => {
    expect(errnoOf(() => a.applyAndRead([], { name: 'none' }))).toBe('ENODEV')
  })

  it('with a question throw a refusal, after all was tried', ({ a, pair }) => {
    const { index } = pair().near
    const changes: Change[] = [
      { op: 'createBridge', name: 'near', mac: MAC.bridge },
      { op: 'setLink', link: { index }, alias: 'pod' },
    ]
    expect(errnoOf(() => a.applyAndRead(changes, { index }))).toBe('EEXIST')
    expect(a.link({ index })?.alias).toBe('pod')
  })

  it('of changes that each depend on the one before are carried out in order', ({ a, b }) => {
    a.apply([
      createVeth(b, 'near', 'far'),
      { op: 'removeLink', link: { name: 'near' } },
      createVeth(b, 'near', 'far'),
    ])
    expect(a.links()).toHaveLength(2)
    expect(b.links()).toHaveLength(2)
  })
}
