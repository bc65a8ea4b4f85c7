import { beforeEach, describe, expect, it } from 'vitest'
import { type Address, type Cidr, parseAddress, parseCidr } from '../../../src/core/address.ts'
import { parseMac } from '../../../src/core/mac.ts'
import { concat } from '../../../src/kernel/nftables/concat.ts'
import { type Datatype, ifname, ipAddress, ipPrefix } from '../../../src/kernel/nftables/datatypes.ts'
import type { Expression } from '../../../src/kernel/nftables/expression.ts'
import { vmap } from '../../../src/kernel/nftables/expressions/lookup.ts'
import { equals, within } from '../../../src/kernel/nftables/expressions/match.ts'
import { iifname } from '../../../src/kernel/nftables/expressions/meta.ts'
import { daddr, etherSaddr, saddr } from '../../../src/kernel/nftables/expressions/payload.ts'
import { accept, back, drop } from '../../../src/kernel/nftables/expressions/verdicts.ts'
import { inetProto, inetService, mark, portRange } from '../../../src/kernel/nftables/numbers.ts'
import {
  addElements,
  type NftChain,
  type NftCommand,
  type NftElement,
  type NftHook,
  type NftRule,
  type NftSet,
  type NftTable,
  removeElements,
} from '../../../src/kernel/nftables/objects.ts'
import { type NftVerdict, verdict } from '../../../src/kernel/nftables/verdict.ts'
import { faultOf } from '../../support/fault_of.ts'
import { errnoOf, type KernelFixture } from './fixture.ts'

const table: NftTable = { family: 'inet', name: 'bowline_contract' }
const noTable: NftTable = { ...table, name: 'none' }
const POSTROUTING: NftHook = { type: 'nat', hook: 'postrouting', priority: 100 }
const KEY = parseAddress('10.1.0.5')
const OTHER_KEY = parseAddress('10.1.0.6')
const PODS = { table, name: 'pods', key: ipAddress(4), data: verdict }
const NO_PODS = { ...PODS, name: 'none' }

const ensureTable: NftCommand = { op: 'ensureTable', table }
const removeTable: NftCommand = { op: 'removeTable', table }
const ensureSet = (set: NftSet<unknown, unknown>): NftCommand => ({ op: 'ensureSet', set })
const ensureMap = ensureSet(PODS)
const removeMap: NftCommand = { op: 'removeSet', set: PODS }
const ensureChain = (name: string, hook?: NftHook, of = table): NftCommand => ({
  op: 'ensureChain',
  chain: { table: of, name, ...(hook && { hook }) },
})
const removeChain = (name: string, of = table): NftCommand => ({
  op: 'removeChain',
  chain: { table: of, name },
})
const flushChain = (name: string, of = table): NftCommand => ({
  op: 'flushChain',
  chain: { table: of, name },
})
const addRule = (name: string, ...rule: Expression[]): NftCommand => ({
  op: 'addRule',
  chain: { table, name },
  rule,
})
const lookup = vmap(saddr(4), PODS)
const addElement = (goto: string, key = KEY): NftCommand => addElements(PODS, { key, data: { goto } })
const removeElement = (key = KEY): NftCommand => removeElements(PODS, { key })

/** A table with two plain chains and a map, all empty. */
const frame: NftCommand[] = [ensureTable, ensureMap, ensureChain('one'), ensureChain('two')]

export function nftSentences(fixture: () => KernelFixture): void {
  const nft = (...commands: NftCommand[]) => fixture().kernel.nftables.apply(commands)
  const refused = (...commands: NftCommand[]) => errnoOf(() => nft(...commands))
  const has = (key = KEY) => fixture().kernel.nftables.hasElement(PODS, { key })

  it('remembers a set until it has other elements, and a chain until it is gone, whatever becomes of others', () => {
    nft(...frame, addElement('one'))
    const { value, isSame } = fixture().kernel.nftables.remember(
      () => fixture().kernel.nftables.elements(PODS).length,
    )
    expect([value, isSame()]).toEqual([1, true])
    nft(ensureChain('three'))
    expect([isSame(), isSame()]).toEqual([true, true])
    nft(addElement('two', OTHER_KEY))
    expect(isSame()).toBe(false)
    nft(removeElement(OTHER_KEY))
    expect(isSame()).toBe(true)
    const chain = { table, name: 'one', rules: [] }
    const { isSame: isSameChain } = fixture().kernel.nftables.remember(() =>
      fixture().kernel.nftables.hasChain(chain),
    )
    expect(isSameChain()).toBe(true)
    nft(removeElement(), removeChain('one'))
    expect(isSameChain()).toBe(false)
  })

  it('takes an empty transaction', () => {
    nft()
    expect(has()).toBe(false)
  })

  it('makes tables, chains and maps once, however often they are asked for', () => {
    nft(...frame, ensureChain('base', POSTROUTING))
    nft(...frame, ensureChain('base', POSTROUTING))
    nft(addElement('one'))
    expect(has()).toBe(true)
  })

  it('applies nothing of a transaction that is refused in part', () => {
    nft(...frame)
    expect(refused(addElement('one'), removeChain('none'))).toBe('ENOENT')
    expect(has()).toBe(false)
  })

  it('throws the first refusal, in the words of nft', () => {
    nft(...frame)
    const fault = faultOf(() => nft(addElement('one'), removeChain('none'), removeTable))
    expect(fault.errno).toBe('ENOENT')
    expect(fault.message).toContain(`delete chain inet ${table.name} none`)
  })

  describe('refuses with ENOENT', () => {
    it.each<[string, NftCommand]>([
      ['a chain', ensureChain('one')],
      ['a map', ensureMap],
      ['a rule', addRule('one', accept)],
      ['an element', addElement('one')],
      ['the removal of the table', removeTable],
      ['the removal of a chain', removeChain('one')],
      ['the flushing of a chain', flushChain('one')],
      ['the removal of a map', removeMap],
      ['the removal of an element', removeElement()],
    ])('%s when the table is missing', (_, command) => {
      expect(refused(command)).toBe('ENOENT')
    })

    it.each<[string, NftCommand]>([
      ['a rule of a missing chain', addRule('none', accept)],
      ['a rule with a missing map', addRule('one', vmap(saddr(4), NO_PODS))],
      ['an element that goes to a missing chain', addElement('none')],
      ['an element of a missing map', addElements(NO_PODS, { key: KEY, data: { goto: 'one' } })],
      ['the removal of a missing chain', removeChain('none')],
      ['the flushing of a missing chain', flushChain('none')],
      ['the removal of a missing map', { op: 'removeSet', set: NO_PODS }],
      ['the removal of a missing element', removeElement()],
    ])('%s', (_, command) => {
      nft(...frame)
      expect(refused(command)).toBe('ENOENT')
    })
  })

  describe('refuses with EBUSY', () => {
    it('the removal of a chain that an element goes to', () => {
      nft(...frame, addElement('one'))
      expect(refused(removeChain('one'))).toBe('EBUSY')
      nft(removeElement(), removeChain('one'))
    })

    it('the removal of a chain that has rules', () => {
      nft(...frame, addRule('one', accept))
      expect(refused(removeChain('one'))).toBe('EBUSY')
      nft(flushChain('one'), removeChain('one'))
    })

    it('the removal of a map that has elements', () => {
      nft(...frame, addElement('one'))
      expect(refused(removeMap)).toBe('EBUSY')
      // Within the transaction that removes an element, its map still counts it.
      expect(refused(removeElement(), removeMap)).toBe('EBUSY')
      nft(removeElement())
      nft(removeMap)
    })

    it('the removal of a map that a rule looks into', () => {
      nft(...frame, ensureChain('base', POSTROUTING), addRule('base', lookup))
      expect(refused(removeMap)).toBe('EBUSY')
      nft(flushChain('base'), removeMap)
    })

    it('the removal of a table that holds a chain or a map', () => {
      nft(...frame)
      expect(refused(removeTable)).toBe('EBUSY')
      nft(removeChain('one'), removeChain('two'))
      expect(refused(removeTable)).toBe('EBUSY')
      nft(removeMap, removeTable)
      expect(refused(removeTable)).toBe('ENOENT')
    })
  })

  it('refuses what is there in another shape', () => {
    nft(...frame, ensureChain('base', POSTROUTING))
    expect(refused(ensureSet({ ...PODS, key: ipAddress(6) }))).toBe('EEXIST')
    expect(refused(ensureChain('one', POSTROUTING))).toBe('EEXIST')
    expect(refused(ensureChain('base', { ...POSTROUTING, type: 'filter' }))).toBe('EEXIST')
    // Linux 6.1 says EEXIST, 6.18 EOPNOTSUPP.
    expect(refused(ensureChain('base', { ...POSTROUTING, priority: 101 }))).toMatch(/^(EEXIST|EOPNOTSUPP)$/)
  })

  it('answers a question that changes nothing', () => {
    fixture().kernel.nftables.probe()
    expect(refused(removeTable)).toBe('ENOENT')
  })

  describe('elements', () => {
    it('are found by their key in their map and table', () => {
      nft(...frame, addElement('one'))
      expect([has(KEY), has(OTHER_KEY)]).toEqual([true, false])
      const { nftables } = fixture().kernel
      expect(nftables.hasElement(NO_PODS, { key: KEY })).toBe(false)
      expect(nftables.hasElement({ ...PODS, table: noTable }, { key: KEY })).toBe(false)
    })

    it('may be added twice', () => {
      nft(...frame, addElement('one'))
      nft(addElement('one'), addElement('one'))
      expect(has()).toBe(true)
    })

    it('are refused with EEXIST when they go elsewhere than the one that is there', () => {
      nft(...frame, addElement('one'))
      expect(refused(addElement('two'))).toBe('EEXIST')
    })

    it('are exchanged within one transaction', () => {
      nft(...frame, addElement('one'))
      nft(removeElement(), addElement('two'))
      expect(refused(removeChain('two'))).toBe('EBUSY')
      nft(removeChain('one'))
    })

    it('are refused with EOPNOTSUPP when they go to a base chain', () => {
      nft(...frame, ensureChain('base', POSTROUTING))
      expect(refused(addElement('base'))).toBe('EOPNOTSUPP')
    })

    it('are refused with EINVAL when the key has another length than the map’s', () => {
      nft(...frame)
      expect(
        refused(
          addElements(
            { ...PODS, key: ipAddress(6) },
            { key: parseAddress('fd00::5'), data: { goto: 'one' } },
          ),
        ),
      ).toBe('EINVAL')
    })

    it('come back as they were added, whatever their types', () => {
      const service = concat(ipAddress(4), inetProto, inetService)
      const samples: readonly [Datatype<unknown>, unknown][] = (
        [
          [ifname, 'eth0'],
          [ipAddress(6), parseAddress('fd00::5')],
          [ipPrefix(4), parseCidr('10.1.0.0/24')],
          [ipPrefix(6), parseCidr('ff00::/8')],
          [mark, 0x4000],
          [portRange, { from: 80, to: 90 }],
          [service, [KEY, 6, 80]],
          [concat(ipPrefix(4), inetProto, portRange), [parseCidr('10.1.0.0/24'), 17, { from: 53, to: 54 }]],
        ] as const
      ).map(([type, key]) => [type as unknown as Datatype<unknown>, key])
      const { nftables } = fixture().kernel
      nft(ensureTable)
      for (const [i, [key, value]] of samples.entries()) {
        const set = { table, name: `set${i}`, key }
        nft(ensureSet(set), addElements(set, { key: value, comment: 'c' }))
        expect(nftables.hasElement(set, { key: value })).toBe(true)
        expect(nftables.elements(set)).toEqual([{ key: value, comment: 'c' }])
      }
    })

    it('of maps have data of any type', () => {
      const endpoint = concat(ipAddress(4), inetService)
      const set = { table, name: 'endpoints', key: ipAddress(4), data: endpoint }
      const element: NftElement<Address, readonly [Address, number]> = { key: KEY, data: [OTHER_KEY, 80] }
      const { nftables } = fixture().kernel
      nft(ensureTable, ensureSet(set), addElements(set, element))
      expect(nftables.elements(set)).toEqual([element])
      expect(nftables.hasElement(set, { ...element, data: [OTHER_KEY, 81] })).toBe(false)
    })

    it('of neighbouring prefixes stay apart', () => {
      const set: NftSet<Cidr> = { table, name: 'cidrs', key: ipPrefix(4) }
      const keys = ['0.0.0.0/8', '10.1.0.0/24', '10.1.1.0/24', '255.0.0.0/8'].map(parseCidr)
      nft(ensureTable, ensureSet(set), addElements(set, ...keys.map((key) => ({ key }))))
      const found = fixture().kernel.nftables.elements(set)
      expect(found).toHaveLength(4)
      expect(found).toEqual(expect.arrayContaining(keys.map((key) => ({ key }))))
      nft(removeElements(set, { key: keys[1] as Cidr }))
      expect(fixture().kernel.nftables.elements(set)).toHaveLength(3)
    })

    it('may be thousands in one transaction', () => {
      const keys = Array.from({ length: 5000 }, (_, i) => ({ ...KEY, value: KEY.value + BigInt(i) }))
      const set = { table, name: 'many', key: ipAddress(4) }
      nft(ensureTable, ensureSet(set), addElements(set, ...keys.map((key) => ({ key }))))
      expect(fixture().kernel.nftables.elements(set)).toHaveLength(5000)
      nft(removeElements(set, ...keys.map((key) => ({ key }))))
      expect(fixture().kernel.nftables.elements(set)).toEqual([])
    })
  })

  describe('elements that are given with data', () => {
    const own = { key: KEY, data: { goto: 'net-a-1' } }
    const foreign = { key: KEY, data: { goto: 'net-b-1' } }
    const remove = (which: typeof own): NftCommand => removeElements(PODS, which)
    beforeEach(() => nft(...frame, ensureChain('net-a-1'), addElement('net-a-1')))

    it('count only if they go to that chain', () => {
      expect(fixture().kernel.nftables.hasElement(PODS, own)).toBe(true)
      expect(fixture().kernel.nftables.hasElement(PODS, foreign)).toBe(false)
    })

    it('are removed only if they go to that chain', () => {
      expect(refused(remove(foreign))).toBe('ENOENT')
      expect(has()).toBe(true)
      nft(remove(own))
      expect(has()).toBe(false)
    })

    it('are judged wherever they stand in a transaction, which then changes nothing', () => {
      expect(refused(ensureChain('three'), remove(foreign))).toBe('ENOENT')
      expect(refused(flushChain('three'))).toBe('ENOENT')
      expect(has()).toBe(true)
    })
  })

  describe('the list of a map', () => {
    const list = (map: NftSet<Address, NftVerdict> = PODS) => fixture().kernel.nftables.elements(map)

    it('is empty when the map or the table is missing, or the map has no element', () => {
      expect(list({ ...PODS, table: noTable })).toEqual([])
      nft(...frame)
      expect([list(), list(NO_PODS)]).toEqual([[], []])
    })

    it('has every element with its key, chain and comment', () => {
      nft(
        ...frame,
        addElements(PODS, { key: KEY, data: { goto: 'one' }, comment: 'pod eth0' }),
        addElement('two', OTHER_KEY),
      )
      expect(list()).toHaveLength(2)
      expect(list()).toEqual(
        expect.arrayContaining([
          { key: KEY, data: { goto: 'one' }, comment: 'pod eth0' },
          { key: OTHER_KEY, data: { goto: 'two' } },
        ]),
      )
    })
  })

  describe('chains', () => {
    const take: NftRule = [accept]
    const local: NftRule = [within(daddr(4), parseCidr('10.1.0.5/22')), back]
    const six: NftRule = [within(daddr(6), parseCidr('fdfd:fdfd:fdfd:fdfd::/64')), back]
    const holds = (name: string, more: Partial<NftChain> = {}) =>
      fixture().kernel.nftables.hasChain({ table, name, rules: [], ...more })

    it('are there with the rules that they were given, in their order', () => {
      nft(...frame, addRule('one', ...local), addRule('one', ...six), addRule('one', ...take))
      expect(holds('one', { rules: [local, six, take] })).toBe(true)
      expect(holds('one', { rules: [six, local, take] })).toBe(false)
      expect(holds('one', { rules: [local, six, take, take] })).toBe(false)
    })

    it('may have rules of others between ours', () => {
      nft(...frame, addRule('one', ...six), addRule('one', ...local), addRule('one', ...take))
      expect(holds('one', { rules: [local, take] })).toBe(true)
    })

    it('have lost their rules once they are flushed, and are still there', () => {
      nft(...frame, addRule('one', ...local))
      nft(flushChain('one'))
      expect(holds('one', { rules: [local] })).toBe(false)
      expect(holds('one')).toBe(true)
    })

    it('are told apart by every part of a rule', () => {
      nft(...frame, addRule('one', ...local), addRule('one', lookup))
      const others: NftRule[] = [
        [within(daddr(4), parseCidr('10.1.0.5/23')), back],
        [within(daddr(4), parseCidr('10.9.0.0/22')), back],
        [local[0] as Expression, accept],
        [local[0] as Expression],
        [vmap(saddr(4), NO_PODS)],
        [vmap(iifname, { ...PODS, key: ifname })],
      ]
      expect(others.filter((rule) => holds('one', { rules: [rule] }))).toEqual([])
      expect(holds('one', { rules: [local, [lookup]] })).toBe(true)
    })

    it('hang at the hook that they were made for, and at no other', () => {
      nft(...frame, ensureChain('base', POSTROUTING), addRule('base', lookup))
      const rules = [[lookup]]
      expect(holds('base', { rules, hook: POSTROUTING })).toBe(true)
      expect(holds('base', { rules, hook: { ...POSTROUTING, priority: -100 } })).toBe(false)
      expect(holds('base', { rules, hook: { ...POSTROUTING, type: 'filter' } })).toBe(false)
      expect(holds('base', { rules })).toBe(false)
      expect(holds('one', { hook: POSTROUTING })).toBe(false)
    })

    it('are missing with their table, in the other family, or by another name', () => {
      nft(...frame)
      expect(holds('none')).toBe(false)
      expect(holds('one', { table: noTable })).toBe(false)
      expect(holds('one', { table: { ...table, family: 'bridge' } })).toBe(false)
    })
  })

  describe('of family bridge', () => {
    const inBridge: NftTable = { ...table, family: 'bridge' }
    const ports = { table: inBridge, name: 'ports', key: ifname, data: verdict }
    const guard = { key: 'aaaa', data: { goto: 'mac' } }
    const PREROUTING: NftHook = { type: 'filter', hook: 'prerouting', priority: -300 }
    const source: NftRule = [equals(etherSaddr, parseMac('02:00:00:00:00:05')), back]
    const look: NftRule = [vmap(iifname, ports)]
    const bridgeRule = (name: string, ...rule: Expression[]): NftCommand => ({
      op: 'addRule',
      chain: { table: inBridge, name },
      rule,
    })
    const guardFrame: NftCommand[] = [
      { op: 'ensureTable', table: inBridge },
      ensureSet(ports),
      ensureChain('mac', undefined, inBridge),
      bridgeRule('mac', ...source),
      bridgeRule('mac', drop),
      ensureChain('base', PREROUTING, inBridge),
      bridgeRule('base', ...look),
      addElements(ports, guard),
    ]

    it('a table is another one than its namesake of family inet', () => {
      nft(...frame, ...guardFrame)
      expect(fixture().kernel.nftables.hasElement(ports, guard)).toBe(true)
      expect(fixture().kernel.nftables.hasElement({ ...ports, table }, guard)).toBe(false)
      nft(removeChain('one'), removeChain('two'), removeMap, removeTable)
      expect(fixture().kernel.nftables.hasElement(ports, guard)).toBe(true)
    })

    it('chains show their rules and their hook', () => {
      nft(...guardFrame)
      const holds = (chain: NftChain) => fixture().kernel.nftables.hasChain(chain)
      const mac: NftChain = { table: inBridge, name: 'mac', rules: [source, [drop]] }
      const other: NftRule = [equals(etherSaddr, parseMac('02:00:00:00:00:06')), back]
      expect(holds(mac)).toBe(true)
      expect(holds({ ...mac, rules: [other, [drop]] })).toBe(false)
      expect(holds({ table: inBridge, name: 'base', hook: PREROUTING, rules: [look] })).toBe(true)
    })

    it('a chain goes with its element and its rules in one transaction', () => {
      nft(...guardFrame)
      nft(removeElements(ports, guard), flushChain('mac', inBridge), removeChain('mac', inBridge))
      expect(fixture().kernel.nftables.hasChain({ table: inBridge, name: 'mac', rules: [] })).toBe(false)
    })
  })
}
