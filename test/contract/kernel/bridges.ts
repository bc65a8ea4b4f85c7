import { expect, it } from 'vitest'
import type { Change, Link, PortVlan } from '../../../src/kernel/kernel.ts'
import { errnoOf, eventually, type KernelFixture, MAC, required, setUp } from './fixture.ts'

export function bridgeSentences(fixture: () => KernelFixture): void {
  const join = (port: Link, bridge: Link, more: Partial<Change> = {}): Change => ({
    op: 'setLink',
    link: { index: port.index },
    master: bridge.index,
    ...(more as object),
  })

  it('is made with its name, MAC and MTU as given, down', () => {
    const { a } = fixture()
    const link = { name: 'br0' }
    const bridge = a.applyAndRead([{ op: 'createBridge', name: 'br0', mac: MAC.bridge, mtu: 1400 }], link)
    expect(bridge).toMatchObject({ name: 'br0', kind: 'bridge', mac: MAC.bridge, mtu: 1400, up: false })
    expect(bridge.vlanFiltering).toBe(false)
  })

  it('is made without filtering of VLANs when that is what is said', () => {
    const { a } = fixture()
    const change: Change = { op: 'createBridge', name: 'br0', mac: MAC.bridge, vlanFiltering: false }
    expect(a.applyAndRead([change], { name: 'br0' }).vlanFiltering).toBe(false)
  })

  it('is refused with EEXIST when the name is taken', () => {
    fixture().bridge()
    expect(errnoOf(() => fixture().bridge())).toBe('EEXIST')
  })

  it('takes a port, with its attributes in the same change', () => {
    const { a } = fixture()
    const [bridge, { near }] = [fixture().bridge(), fixture().pair()]
    const change = join(near, bridge, { port: { hairpin: true, isolated: true } })
    const port = a.applyAndRead([change], { name: 'near' })
    expect(port.master).toBe(bridge.index)
    expect(port.port).toEqual({ hairpin: true, isolated: true })
  })

  it('shows a port’s attributes as off unless set, and changes them one by one', () => {
    const { a } = fixture()
    const link = { name: 'near' }
    const port = a.applyAndRead([join(fixture().pair().near, fixture().bridge())], link)
    expect(port.port).toEqual({ hairpin: false, isolated: false })
    const set = a.applyAndRead([{ op: 'setLink', link, port: { isolated: true } }], link)
    expect(set.port).toEqual({ hairpin: false, isolated: true })
  })

  it('listens to all on its ports, which is not shown as what somebody asked for', () => {
    const { a } = fixture()
    const link = { name: 'near' }
    const { near } = fixture().pair()
    expect(a.applyAndRead([join(near, fixture().bridge())], link).promiscuous).toBe(false)
    expect(a.applyAndRead([{ op: 'setLink', link, promiscuous: true }], link).promiscuous).toBe(true)
    const left = a.applyAndRead([{ op: 'setLink', link, master: 0 }], link)
    expect(left.promiscuous).toBe(true)
    expect(left.master).toBeUndefined()
    expect(left.port).toBeUndefined()
  })

  it('keeps the MAC that it was made with when ports come and go', () => {
    const { a } = fixture()
    const bridge = fixture().bridge()
    a.apply([join(fixture().pair().near, bridge), { op: 'removeLink', link: { name: 'near' } }])
    expect(a.link({ name: 'br0' })?.mac).toBe(MAC.bridge)
  })

  it('takes the least MTU of its ports as its own, even when it was made with one', () => {
    const { a } = fixture()
    const change: Change = { op: 'createBridge', name: 'br0', mac: MAC.bridge, mtu: 9000 }
    const bridge = a.applyAndRead([change], { name: 'br0' })
    a.apply([join(fixture().pair(1400).near, bridge)])
    expect(a.link({ name: 'br0' })?.mtu).toBe(1400)
  })

  it('has an MTU of 1500 again when its last port is removed', () => {
    const { a } = fixture()
    const bridge = fixture().bridge()
    a.apply([join(fixture().pair(1400).near, bridge)])
    expect(a.link({ name: 'br0' })?.mtu).toBe(1400)
    a.apply([{ op: 'removeLink', link: { name: 'near' } }])
    expect(a.link({ name: 'br0' })?.mtu).toBe(1500)
  })

  it('keeps an MTU that was set after it was made', () => {
    const { a } = fixture()
    const bridge = fixture().bridge()
    a.apply([{ op: 'setLink', link: { name: 'br0' }, mtu: 1300 }, join(fixture().pair().near, bridge)])
    expect(a.link({ name: 'br0' })?.mtu).toBe(1300)
  })

  it('does not take an MTU for one that was set, which it was made with or has already', () => {
    const { a } = fixture()
    const link = { name: 'br0' }
    a.apply([{ op: 'createBridge', name: 'br0', mac: MAC.bridge, mtu: 1400 }])
    const bridge = a.applyAndRead([{ op: 'setLink', link, mtu: 1400 }], link)
    a.apply([join(fixture().pair(1400).near, bridge), { op: 'removeLink', link: { name: 'near' } }])
    expect(a.link(link)?.mtu).toBe(1500)
  })

  it('runs when it is up and a port of it runs', () => {
    const { a } = fixture()
    const bridge = fixture().bridge()
    const { near } = fixture().livePair()
    a.apply([setUp(bridge.index)])
    const runs = (wanted: boolean) => () => a.link({ name: 'br0' })?.running === wanted
    expect(eventually(runs(false))).toBe(true)
    a.apply([join(near, bridge)])
    expect(eventually(runs(true))).toBe(true)
  })

  it('lets its ports go when it is removed', () => {
    const { a } = fixture()
    a.apply([join(fixture().pair().near, fixture().bridge()), { op: 'removeLink', link: { name: 'br0' } }])
    const port = required(a.link({ name: 'near' }))
    expect(port.master).toBeUndefined()
  })

  it('moves a port that joins another one', () => {
    const { a } = fixture()
    const { near } = fixture().pair()
    const second = fixture().bridge('br1')
    a.apply([join(near, fixture().bridge()), join(near, second)])
    expect(a.link({ name: 'near' })?.master).toBe(second.index)
  })

  it('is refused as master with EOPNOTSUPP when it is no bridge, EINVAL when it is missing', () => {
    const { a } = fixture()
    const { near } = fixture().pair()
    expect(errnoOf(() => a.apply([join(near, near)]))).toBe('EOPNOTSUPP')
    expect(errnoOf(() => a.apply([join(near, { ...near, index: 4711 })]))).toBe('EINVAL')
  })

  it('takes neither the loopback (EINVAL) nor a bridge (ELOOP) as a port', () => {
    const { a } = fixture()
    const bridge = fixture().bridge()
    expect(errnoOf(() => a.apply([join(required(a.link({ name: 'lo' })), bridge)]))).toBe('EINVAL')
    expect(errnoOf(() => a.apply([join(fixture().bridge('br1'), bridge)]))).toBe('ELOOP')
  })

  it('refuses port attributes with EOPNOTSUPP for what is no port', () => {
    const { a } = fixture()
    const change: Change = {
      op: 'setLink',
      link: { name: fixture().pair().near.name },
      port: { hairpin: true },
    }
    expect(errnoOf(() => a.apply([change]))).toBe('EOPNOTSUPP')
  })

  vlanSentences(fixture, join)
}

/** On a kernel without VLANs the same sentences hold with EOPNOTSUPP for an answer. */
function vlanSentences(fixture: () => KernelFixture, join: (port: Link, bridge: Link) => Change): void {
  const answer = (errno?: string) => (fixture().subject.vlans ? errno : 'EOPNOTSUPP')
  const outcome = (changes: readonly Change[]): string | undefined => {
    try {
      fixture().a.apply(changes)
      return undefined
    } catch (error) {
      return errnoOf(() => {
        throw error
      })
    }
  }
  const portOf = (): Link => {
    const { near } = fixture().pair()
    fixture().a.apply([join(near, fixture().bridge())])
    return near
  }
  const add = (linkIndex: number, vlan: PortVlan, self = false): Change => ({
    op: 'addPortVlan',
    linkIndex,
    vlan,
    self,
  })

  const shown = (...texts: string[]) => (fixture().subject.vlans ? texts : [])
  const vlansOf = (index: number): string[] =>
    fixture()
      .a.portVlans(index)
      .flatMap(({ from, to, pvid, untagged }) =>
        Array.from(
          { length: to - from + 1 },
          (_, i) => `${from + i}${pvid ? ' PVID' : ''}${untagged ? ' untagged' : ''}`,
        ),
      )

  it('filters VLANs if it was made to, where the kernel can', () => {
    const change: Change = { op: 'createBridge', name: 'br0', mac: MAC.bridge, vlanFiltering: true }
    expect(outcome([change])).toBe(answer())
    expect(fixture().a.link({ name: 'br0' })?.vlanFiltering).toBe(fixture().subject.vlans ? true : undefined)
  })

  it('filters VLANs once it is told to, where the kernel can', () => {
    fixture().bridge()
    expect(outcome([{ op: 'setLink', link: { name: 'br0' }, vlanFiltering: true }])).toBe(answer())
    expect(fixture().a.link({ name: 'br0' })?.vlanFiltering).toBe(fixture().subject.vlans)
  })

  it('takes VLANs, ranges and a PVID on its ports, again and again, where the kernel can', () => {
    const { index } = portOf()
    expect(outcome([add(index, { from: 100, to: 100, pvid: true, untagged: true })])).toBe(answer())
    expect(outcome([add(index, { from: 100, to: 100, pvid: true, untagged: true })])).toBe(answer())
    expect(outcome([add(index, { from: 200, to: 210 })])).toBe(answer())
  })

  it('takes VLANs on itself, where the kernel can', () => {
    const { index } = fixture().bridge()
    expect(outcome([add(index, { from: 100, to: 100 }, true)])).toBe(answer())
    expect(vlansOf(index)).toEqual(shown('1 PVID untagged', '100'))
  })

  it('shows the VLANs of a port, which begins in VLAN 1, where the kernel can', () => {
    const { index } = portOf()
    expect(vlansOf(index)).toEqual(shown('1 PVID untagged'))
    outcome([
      add(index, { from: 100, to: 100, pvid: true, untagged: true }),
      add(index, { from: 200, to: 202 }),
      add(index, { from: 300, to: 300, untagged: true }),
    ])
    expect(vlansOf(index)).toEqual(
      shown('1 untagged', '100 PVID untagged', '200', '201', '202', '300 untagged'),
    )
  })

  it('takes all VLANs off a port with one range', () => {
    const { index } = portOf()
    outcome([add(index, { from: 200, to: 210 })])
    outcome([{ op: 'removePortVlan', linkIndex: index, vlan: { from: 1, to: 4094 } }])
    expect(vlansOf(index)).toEqual([])
  })

  it('shows no VLANs of what is no port, or missing', () => {
    expect(vlansOf(fixture().pair().near.index)).toEqual([])
    expect(vlansOf(4711)).toEqual([])
  })

  it('says nothing when a VLAN is removed that was not there', () => {
    const { index } = portOf()
    expect(outcome([{ op: 'removePortVlan', linkIndex: index, vlan: { from: 300, to: 300 } }])).toBe(
      undefined,
    )
  })

  it('refuses VLANs out of bounds with EINVAL', () => {
    const { index } = portOf()
    expect(outcome([add(index, { from: 0, to: 0 })])).toBe('EINVAL')
    expect(outcome([add(index, { from: 4095, to: 4095 })])).toBe('EINVAL')
  })

  it('refuses a range as PVID with EINVAL', () => {
    expect(outcome([add(portOf().index, { from: 10, to: 20, pvid: true })])).toBe('EINVAL')
  })

  it('refuses VLANs on what is no port with EOPNOTSUPP, on what is missing with ENODEV', () => {
    const { near } = fixture().pair()
    expect(outcome([add(near.index, { from: 100, to: 100 })])).toBe('EOPNOTSUPP')
    expect(outcome([add(near.index, { from: 100, to: 100 }, true)])).toBe('EOPNOTSUPP')
    expect(outcome([add(4711, { from: 100, to: 100 })])).toBe('ENODEV')
  })

  it('carries a VLAN link on top, where the kernel can', () => {
    const { a } = fixture()
    const bridge = fixture().bridge()
    const vlan = (name: string, id: number): Change => ({
      op: 'createVlan',
      name,
      parent: bridge.index,
      vlan: id,
    })
    expect(outcome([vlan('br0.100', 100)])).toBe(answer())
    expect(outcome([vlan('br0.100', 101)])).toBe(answer('EEXIST'))
    expect(outcome([vlan('again', 100)])).toBe(answer('EEXIST'))
    expect(outcome([vlan('br0.4095', 4095)])).toBe(answer('ERANGE'))
    const made = a.link({ name: 'br0.100' })
    expect(made?.kind).toBe(fixture().subject.vlans ? 'vlan' : undefined)
    expect(made?.vlan).toEqual(fixture().subject.vlans ? { id: 100, parent: bridge.index } : undefined)
    a.apply([{ op: 'removeLink', link: { name: 'br0' } }])
    expect(a.link({ name: 'br0.100' })).toBeUndefined()
  })
}
