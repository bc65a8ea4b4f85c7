import { expect } from 'vitest'
import { parseCidr } from '../../../src/core/address.ts'
import type { Change, Netns, PacketFilter, Qdisc } from '../../../src/kernel/kernel.ts'
import { errnoOf, type It } from './fixture.ts'

type Tbf = Extract<Qdisc, { kind: 'tbf' }>
const SLOW: Tbf = { kind: 'tbf', rate: 125_000, burst: 16_000, limit: 20_000 }
/** More than 2^32 bytes a second. */
const FAST: Tbf = { kind: 'tbf', rate: 10_000_000_000, burst: 100_000_000, limit: 400_000_000 }
const CLSACT: Qdisc = { kind: 'clsact' }

export function trafficSentences(it: It): void {
  for (const qdisc of [SLOW, FAST]) {
    it(`shows a limit of ${qdisc.rate} bytes a second as it was set, but for the burst, which it keeps as a time`, ({
      a,
    }) => {
      const linkIndex = createIfb(a)
      a.apply([{ op: 'setQdisc', linkIndex, qdisc }])
      const [found] = a.qdiscs(linkIndex)
      expect(found).toMatchObject({ kind: 'tbf', rate: qdisc.rate, limit: qdisc.limit })
      expect(Math.abs((found as Tbf).burst / qdisc.burst - 1)).toBeLessThan(0.01)
    })
  }

  it('has one discipline of a kind on a link, which can be removed', ({ a }) => {
    const linkIndex = createIfb(a)
    for (const qdisc of [SLOW, CLSACT]) {
      const [set, remove] = (['setQdisc', 'removeQdisc'] as const).map(
        (op): Change => ({ op, linkIndex, qdisc }),
      ) as [Change, Change]
      a.apply([set])
      expect(errnoOf(() => a.apply([set]))).toBe('EEXIST')
      expect(a.qdiscs(linkIndex).map(({ kind }) => kind)).toEqual([qdisc.kind])
      a.apply([remove])
      expect(a.qdiscs(linkIndex)).toEqual([])
    }
  })

  it('shows filters of both directions and families as they were added, and removes one by its order', ({
    a,
  }) => {
    const [linkIndex, redirect] = [createIfb(a), createIfb(a, 'other')]
    const filters: PacketFilter[] = [
      filter(1, 'ingress', { end: 'source', cidr: parseCidr('10.128.0.0/9') }),
      { ...filter(2, 'ingress', { end: 'destination', cidr: parseCidr('fd00:1:2::/48') }), redirect },
      { ...filter(3, 'ingress'), redirect },
      filter(4, 'egress', { end: 'source', cidr: parseCidr('fd00:1:2:3:4:5:6:7/128') }),
      { ...filter(5, 'egress', { end: 'destination', cidr: parseCidr('0.0.0.0/0') }), redirect },
    ]
    a.apply([
      { op: 'setQdisc', linkIndex, qdisc: CLSACT },
      ...filters.map((one): Change => ({ op: 'addPacketFilter', linkIndex, filter: one })),
    ])
    expect(a.packetFilters(linkIndex)).toEqual(filters)
    const [first, ...rest] = filters
    if (first) a.apply([{ op: 'removePacketFilter', linkIndex, filter: first }])
    expect(a.packetFilters(linkIndex)).toEqual(rest)
  })

  it('refuses a filter with EINVAL on a link without a place for it', ({ a }) => {
    const linkIndex = createIfb(a)
    const change: Change = { op: 'addPacketFilter', linkIndex, filter: filter(1, 'ingress') }
    expect(errnoOf(() => a.apply([change]))).toBe('EINVAL')
  })
}

function filter(
  order: number,
  direction: PacketFilter['direction'],
  match?: PacketFilter['match'],
): PacketFilter {
  return { direction, order, ...(match && { match }) }
}

function createIfb(netns: Netns, name = 'ifb'): number {
  return netns.applyAndRead([{ op: 'createIfb', name }], { name }).index
}
