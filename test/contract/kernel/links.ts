import { describe, expect } from 'vitest'
import { createVeth, errnoOf, eventually, type It, MAC, setUp } from './fixture.ts'

export function linkSentences(it: It): void {
  describe('a veth pair', () => vethSentences(it))
  describe('setting', () => settingSentences(it))
  describe('removing', () => removingSentences(it))

  it('are undefined when there is none of that name or index', ({ a }) => {
    expect(a.link({ name: 'none' })).toBeUndefined()
    expect(a.link({ index: 4711 })).toBeUndefined()
  })

  it('are the same by name, by index and in the list', ({ a, pair }) => {
    const { near } = pair()
    expect(a.link({ index: near.index })).toEqual(a.link({ name: 'near' }))
    expect(a.links().find(({ name }) => name === 'near')).toEqual(near)
  })

  it('are listed as they are after each change', ({ a, pair, createBridge }) => {
    pair()
    createBridge()
    expect(a.links().map(({ name }) => name)).toEqual(['lo', 'near', 'br0'])
    a.apply([{ op: 'removeLink', link: { name: 'near' } }])
    expect(a.links().map(({ name }) => name)).toEqual(['lo', 'br0'])
  })

  it('do not get an index that was in use before', ({ a, pair }) => {
    const { near } = pair()
    a.apply([{ op: 'removeLink', link: { index: near.index } }])
    expect(pair().near.index).toBeGreaterThan(near.index)
  })
}

function vethSentences(it: It): void {
  it('is made with the names, MACs and MTU as given, both ends down', ({ pair }) => {
    const { near, far } = pair(1400)
    expect(near).toMatchObject({ name: 'near', kind: 'veth', mac: MAC.near, mtu: 1400, up: false })
    expect(far).toMatchObject({ name: 'far', kind: 'veth', mac: MAC.far, mtu: 1400, up: false })
    expect(near.running).toBe(false)
  })

  it('has an MTU of 1500 when none is given', ({ pair }) => {
    const { near, far } = pair()
    expect([near.mtu, far.mtu]).toEqual([1500, 1500])
  })

  it('names the index of the other end as peer', ({ pair }) => {
    const { near, far } = pair()
    expect(near.peer).toBe(far.index)
    expect(far.peer).toBe(near.index)
  })

  it('shows the other end neither here nor in any other namespace than its own', ({ a, b, kernel, pair }) => {
    pair()
    expect(a.link({ name: 'far' })).toBeUndefined()
    expect(b.link({ name: 'near' })).toBeUndefined()
    expect(kernel.host().link({ name: 'far' })).toBeUndefined()
  })

  it('can have both ends in one namespace', ({ a }) => {
    const near = a.applyAndRead([createVeth(a, 'near', 'far')], { name: 'near' })
    expect(a.link({ index: near.peer ?? 0 })?.name).toBe('far')
  })

  it('is refused with EEXIST when its name is taken, and leaves nothing behind', ({ a, b, createBridge }) => {
    createBridge('near')
    expect(errnoOf(() => a.apply([createVeth(b, 'near', 'far')]))).toBe('EEXIST')
    expect(b.link({ name: 'far' })).toBeUndefined()
  })

  it('is refused with EEXIST when the name of the other end is taken, and leaves nothing behind', ({
    a,
    b,
  }) => {
    b.apply([{ op: 'createBridge', name: 'far', mac: MAC.bridge }])
    expect(errnoOf(() => a.apply([createVeth(b, 'near', 'far')]))).toBe('EEXIST')
    expect(a.link({ name: 'near' })).toBeUndefined()
  })

  it('runs once both ends are up', ({ a, b, pair }) => {
    const { near, far } = pair()
    const runs = (wanted: boolean) => () => a.link({ name: 'near' })?.running === wanted
    a.apply([setUp(near.index)])
    expect(a.link({ name: 'near' })?.up).toBe(true)
    expect(eventually(runs(false))).toBe(true)
    b.apply([setUp(far.index)])
    expect(eventually(runs(true))).toBe(true)
    expect(eventually(() => b.link({ name: 'far' })?.running === true)).toBe(true)
  })
}

function settingSentences(it: It): void {
  it('takes a link up and down, by name or by index', ({ a, pair }) => {
    const { index } = pair().near
    a.apply([{ op: 'setLink', link: { name: 'near' }, up: true }])
    expect(a.link({ index })?.up).toBe(true)
    a.apply([{ op: 'setLink', link: { index }, up: false }])
    expect(a.link({ index })?.up).toBe(false)
  })

  it('changes MTU and MAC of this end only', ({ a, b, pair }) => {
    const { index } = pair().near
    const link = a.applyAndRead([{ op: 'setLink', link: { index }, mtu: 1300, mac: MAC.other }], { index })
    expect(link).toMatchObject({ mtu: 1300, mac: MAC.other })
    expect(b.link({ name: 'far' })).toMatchObject({ mtu: 1500, mac: MAC.far })
  })

  it('changes the length of the transmit queue, which is 1000 at first', ({ a, pair }) => {
    const { near } = pair()
    const set = { op: 'setLink', link: { index: near.index }, txQueueLength: 5000 } as const
    expect(a.applyAndRead([set], set.link)).toEqual({ ...near, txQueueLength: 5000 })
    expect(near.txQueueLength).toBe(1000)
  })

  it('changes nothing that was not asked for', ({ a, pair }) => {
    const { near } = pair()
    const after = a.applyAndRead([{ op: 'setLink', link: { name: 'near' }, alias: 'pod' }], { name: 'near' })
    expect(after).toEqual({ ...near, alias: 'pod' })
  })

  it('keeps an alias of 254 bytes, refuses a longer one with ERANGE, and replaces it', ({ a, pair }) => {
    const link = { name: pair().near.name }
    const alias = 'x'.repeat(254)
    expect(a.applyAndRead([{ op: 'setLink', link, alias }], link).alias).toBe(alias)
    expect(errnoOf(() => a.apply([{ op: 'setLink', link, alias: `${alias}x` }]))).toBe('ERANGE')
    expect(a.applyAndRead([{ op: 'setLink', link, alias: 'pod' }], link).alias).toBe('pod')
    expect(a.applyAndRead([{ op: 'setLink', link, alias: '' }], link).alias).toBeUndefined()
  })

  it('takes promiscuous mode on and off', ({ a, pair }) => {
    const link = { name: pair().near.name }
    expect(a.applyAndRead([{ op: 'setLink', link, promiscuous: true }], link).promiscuous).toBe(true)
    expect(a.applyAndRead([{ op: 'setLink', link, promiscuous: false }], link).promiscuous).toBe(false)
  })

  it('is refused with ENODEV when there is no such link', ({ a }) => {
    expect(errnoOf(() => a.apply([{ op: 'setLink', link: { name: 'none' }, up: true }]))).toBe('ENODEV')
    expect(errnoOf(() => a.apply([{ op: 'setLink', link: { index: 4711 }, up: true }]))).toBe('ENODEV')
    expect(a.links()).toHaveLength(1)
  })
}

function removingSentences(it: It): void {
  it('takes the other end away too, from whichever side', ({ a, b, pair }) => {
    pair()
    a.apply([{ op: 'removeLink', link: { name: 'near' } }])
    expect(b.link({ name: 'far' })).toBeUndefined()
    const { far } = pair()
    b.apply([{ op: 'removeLink', link: { index: far.index } }])
    expect(a.link({ name: 'near' })).toBeUndefined()
  })

  it('is refused with ENODEV when there is no such link', ({ a }) => {
    expect(errnoOf(() => a.apply([{ op: 'removeLink', link: { name: 'none' } }]))).toBe('ENODEV')
    expect(errnoOf(() => a.apply([{ op: 'removeLink', link: { index: 4711 } }]))).toBe('ENODEV')
  })

  it('is refused with EOPNOTSUPP for the loopback', ({ a }) => {
    expect(errnoOf(() => a.apply([{ op: 'removeLink', link: { name: 'lo' } }]))).toBe('EOPNOTSUPP')
  })
}
