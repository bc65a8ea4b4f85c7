import { expect } from 'vitest'
import { Fault } from '../../../src/core/errors.ts'
import type { Change, Link, PortVlan } from '../../../src/kernel/kernel.ts'
import { errnoOf, eventually, type It, type KernelFixture, MAC, required, setUp } from './fixture.ts'

export function bridgeSentences(it: It): void {
  const join = (port: Link, bridge: Link, more: Partial<Change> = {}): Change => ({
    op: 'setLink',
    link: { index: port.index },
    master: bridge.index,
    ...(more as object),
  })

  it('is made with its name, MAC and MTU as given, down', ({ a }) => {
    const link = { name: 'br0' }
    const bridge = a.applyAndRead([{ op: 'createBridge', name: 'br0', mac: MAC.bridge, mtu: 1400 }], link)
    expect(bridge).toMatchObject({ name: 'br0', kind: 'bridge', mac: MAC.bridge, mtu: 1400, up: false })
    expect(bridge.vlanFiltering).toBe(false)
  })

  it('is made without filtering of VLANs when that is what is said', ({ a }) => {
    const change: Change = { op: 'createBridge', name: 'br0', mac: MAC.bridge, vlanFiltering: false }
    expect(a.applyAndRead([change], { name: 'br0' }).vlanFiltering).toBe(false)
  })

  it('is refused with EEXIST when the name is taken', ({ createBridge }) => {
    createBridge()
    expect(errnoOf(() => createBridge())).toBe('EEXIST')
  })

  it('takes a port, with its attributes in the same change', ({ a, createBridge, pair }) => {
    const [bridge, { near }] = [createBridge(), pair()]
    const change = join(near, bridge, { port: { hairpin: true, isolated: true } })
    const port = a.applyAndRead([change], { name: 'near' })
    expect(port.master).toBe(bridge.index)
    expect(port.port).toEqual({ hairpin: true, isolated: true })
  })

  it('shows a port’s attributes as off unless set, and changes them one by one', ({
    a,
    pair,
    createBridge,
  }) => {
    const link = { name: 'near' }
    const port = a.applyAndRead([join(pair().near, createBridge())], link)
    expect(port.port).toEqual({ hairpin: false, isolated: false })
    const set = a.applyAndRead([{ op: 'setLink', link, port: { isolated: true } }], link)
    expect(set.port).toEqual({ hairpin: false, isolated: true })
  })

  it('listens to all on its ports, which is not shown as what somebody asked for', ({
    a,
    pair,
    createBridge,
  }) => {
    const link = { name: 'near' }
    const { near } = pair()
    expect(a.applyAndRead([join(near, createBridge())], link).promiscuous).toBe(false)
    expect(a.applyAndRead([{ op: 'setLink', link, promiscuous: true }], link).promiscuous).toBe(true)
    const left = a.applyAndRead([{ op: 'setLink', link, master: 0 }], link)
    expect(left.promiscuous).toBe(true)
    expect(left.master).toBeUndefined()
    expect(left.port).toBeUndefined()
  })

  it('keeps the MAC that it was made with when ports come and go', ({ a, createBridge, pair }) => {
    const bridge = createBridge()
    a.apply([join(pair().near, bridge), { op: 'removeLink', link: { name: 'near' } }])
    expect(a.link({ name: 'br0' })?.mac).toBe(MAC.bridge)
  })

  it('takes the least MTU of its ports as its own, even when it was made with one', ({ a, pair }) => {
    const change: Change = { op: 'createBridge', name: 'br0', mac: MAC.bridge, mtu: 9000 }
    const bridge = a.applyAndRead([change], { name: 'br0' })
    a.apply([join(pair(1400).near, bridge)])
    expect(a.link({ name: 'br0' })?.mtu).toBe(1400)
  })

  it('has an MTU of 1500 again when its last port is removed', ({ a, createBridge, pair }) => {
    const bridge = createBridge()
    a.apply([join(pair(1400).near, bridge)])
    expect(a.link({ name: 'br0' })?.mtu).toBe(1400)
    a.apply([{ op: 'removeLink', link: { name: 'near' } }])
    expect(a.link({ name: 'br0' })?.mtu).toBe(1500)
  })

  it('keeps an MTU that was set after it was made', ({ a, createBridge, pair }) => {
    const bridge = createBridge()
    a.apply([{ op: 'setLink', link: { name: 'br0' }, mtu: 1300 }, join(pair().near, bridge)])
    expect(a.link({ name: 'br0' })?.mtu).toBe(1300)
  })

  it('does not take an MTU for one that was set, which it was made with or has already', ({ a, pair }) => {
    const link = { name: 'br0' }
    a.apply([{ op: 'createBridge', name: 'br0', mac: MAC.bridge, mtu: 1400 }])
    const bridge = a.applyAndRead([{ op: 'setLink', link, mtu: 1400 }], link)
    a.apply([join(pair(1400).near, bridge), { op: 'removeLink', link: { name: 'near' } }])
    expect(a.link(link)?.mtu).toBe(1500)
  })

  it('runs when it is up and a port of it runs', ({ a, createBridge, livePair }) => {
    const bridge = createBridge()
    const { near } = livePair()
    a.apply([setUp(bridge.index)])
    const runs = (wanted: boolean) => () => a.link({ name: 'br0' })?.running === wanted
    expect(eventually(runs(false))).toBe(true)
    a.apply([join(near, bridge)])
    expect(eventually(runs(true))).toBe(true)
  })

  it('lets its ports go when it is removed', ({ a, pair, createBridge }) => {
    a.apply([join(pair().near, createBridge()), { op: 'removeLink', link: { name: 'br0' } }])
    const port = required(a.link({ name: 'near' }))
    expect(port.master).toBeUndefined()
  })

  it('moves a port that joins another one', ({ a, pair, createBridge }) => {
    const { near } = pair()
    const second = createBridge('br1')
    a.apply([join(near, createBridge()), join(near, second)])
    expect(a.link({ name: 'near' })?.master).toBe(second.index)
  })

  it('is refused as master with EOPNOTSUPP when it is no bridge, EINVAL when it is missing', ({
    a,
    pair,
  }) => {
    const { near } = pair()
    expect(errnoOf(() => a.apply([join(near, near)]))).toBe('EOPNOTSUPP')
    expect(errnoOf(() => a.apply([join(near, { ...near, index: 4711 })]))).toBe('EINVAL')
  })

  it('refuses port attributes with EOPNOTSUPP for what is no port', ({ a, pair }) => {
    const change: Change = {
      op: 'setLink',
      link: { name: pair().near.name },
      port: { hairpin: true },
    }
    expect(errnoOf(() => a.apply([change]))).toBe('EOPNOTSUPP')
  })

  vlanSentences(it, join)
}

/** On a kernel without VLANs the same sentences hold with EOPNOTSUPP for an answer. */
function vlanSentences(it: It, join: (port: Link, bridge: Link) => Change): void {
  const add = (linkIndex: number, vlan: PortVlan, self = false): Change => ({
    op: 'addPortVlan',
    linkIndex,
    vlan,
    self,
  })
  const on = (sentence: string, proof: (vlans: ReturnType<typeof vlansOn>, fixture: KernelFixture) => void) =>
    it(sentence, (fixture) => proof(vlansOn(fixture, join), fixture))

  on('filters VLANs if it was made to, where the kernel can', ({ answer, outcome }, { a, subject }) => {
    const change: Change = { op: 'createBridge', name: 'br0', mac: MAC.bridge, vlanFiltering: true }
    expect(outcome([change])).toBe(answer())
    expect(a.link({ name: 'br0' })?.vlanFiltering).toBe(subject.vlans ? true : undefined)
  })

  on(
    'filters VLANs once it is told to, where the kernel can',
    ({ answer, outcome }, { createBridge, a, subject }) => {
      createBridge()
      expect(outcome([{ op: 'setLink', link: { name: 'br0' }, vlanFiltering: true }])).toBe(answer())
      expect(a.link({ name: 'br0' })?.vlanFiltering).toBe(subject.vlans)
    },
  )

  on(
    'takes VLANs, ranges and a PVID on its ports, again and again, where the kernel can',
    ({ answer, outcome, portOf }) => {
      const { index } = portOf()
      expect(outcome([add(index, { from: 100, to: 100, pvid: true, untagged: true })])).toBe(answer())
      expect(outcome([add(index, { from: 100, to: 100, pvid: true, untagged: true })])).toBe(answer())
      expect(outcome([add(index, { from: 200, to: 210 })])).toBe(answer())
    },
  )

  on(
    'takes VLANs on itself, where the kernel can',
    ({ answer, outcome, shown, vlansOf }, { createBridge }) => {
      const { index } = createBridge()
      expect(outcome([add(index, { from: 100, to: 100 }, true)])).toBe(answer())
      expect(vlansOf(index)).toEqual(shown('1 PVID untagged', '100'))
    },
  )

  on(
    'shows the VLANs of a port, which begins in VLAN 1, where the kernel can',
    ({ outcome, portOf, shown, vlansOf }) => {
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
    },
  )

  on('takes all VLANs off a port with one range', ({ outcome, portOf, vlansOf }) => {
    const { index } = portOf()
    outcome([add(index, { from: 200, to: 210 })])
    outcome([{ op: 'removePortVlan', linkIndex: index, vlan: { from: 1, to: 4094 } }])
    expect(vlansOf(index)).toEqual([])
  })

  on('shows no VLANs of what is no port, or missing', ({ vlansOf }, { pair }) => {
    expect(vlansOf(pair().near.index)).toEqual([])
    expect(vlansOf(4711)).toEqual([])
  })

  on('says nothing when a VLAN is removed that was not there', ({ outcome, portOf }) => {
    const { index } = portOf()
    expect(outcome([{ op: 'removePortVlan', linkIndex: index, vlan: { from: 300, to: 300 } }])).toBe(
      undefined,
    )
  })

  on('refuses VLANs out of bounds with EINVAL', ({ outcome, portOf }) => {
    const { index } = portOf()
    expect(outcome([add(index, { from: 0, to: 0 })])).toBe('EINVAL')
    expect(outcome([add(index, { from: 4095, to: 4095 })])).toBe('EINVAL')
  })

  on('refuses a range as PVID with EINVAL', ({ outcome, portOf }) => {
    expect(outcome([add(portOf().index, { from: 10, to: 20, pvid: true })])).toBe('EINVAL')
  })

  on(
    'refuses VLANs on what is no port with EOPNOTSUPP, on what is missing with ENODEV',
    ({ outcome }, { pair }) => {
      const { near } = pair()
      expect(outcome([add(near.index, { from: 100, to: 100 })])).toBe('EOPNOTSUPP')
      expect(outcome([add(near.index, { from: 100, to: 100 }, true)])).toBe('EOPNOTSUPP')
      expect(outcome([add(4711, { from: 100, to: 100 })])).toBe('ENODEV')
    },
  )

  on(
    'carries a VLAN link on top, where the kernel can',
    ({ answer, outcome }, { a, createBridge, subject }) => {
      const bridge = createBridge()
      const vlan = (name: string, id: number): Change => ({
        op: 'createVlan',
        name,
        parent: bridge.index,
        vlan: id,
      })
      expect(outcome([vlan('br0.100', 100)])).toBe(answer())
      expect(outcome([vlan('br0.100', 101)])).toBe(answer('EEXIST'))
      expect(outcome([vlan('again', 100)])).toBe(answer('EEXIST'))
      const made = a.link({ name: 'br0.100' })
      expect(made?.kind).toBe(subject.vlans ? 'vlan' : undefined)
      expect(made?.vlan).toEqual(subject.vlans ? { id: 100, parent: bridge.index } : undefined)
      a.apply([{ op: 'removeLink', link: { name: 'br0' } }])
      expect(a.link({ name: 'br0.100' })).toBeUndefined()
    },
  )
}

function vlansOn(
  { a, subject, pair, createBridge }: KernelFixture,
  join: (port: Link, bridge: Link) => Change,
) {
  return {
    answer: (errno?: string) => (subject.vlans ? errno : 'EOPNOTSUPP'),
    shown: (...texts: string[]) => (subject.vlans ? texts : []),
    outcome(changes: readonly Change[]): string | undefined {
      try {
        a.apply(changes)
        return undefined
      } catch (error) {
        return error instanceof Fault ? error.errno : String(error)
      }
    },
    portOf(): Link {
      const { near } = pair()
      a.apply([join(near, createBridge())])
      return near
    },
    vlansOf: (index: number): string[] =>
      a
        .portVlans(index)
        .flatMap(({ from, to, pvid, untagged }) =>
          Array.from(
            { length: to - from + 1 },
            (_, i) => `${from + i}${pvid ? ' PVID' : ''}${untagged ? ' untagged' : ''}`,
          ),
        ),
  }
}
