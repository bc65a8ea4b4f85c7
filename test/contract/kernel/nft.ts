import { beforeEach, describe, expect, it } from 'vitest'
import type {
  NftChain,
  NftCommand,
  NftElementRef,
  NftExpression,
  NftHook,
  NftRule,
} from '../../../src/kernel/nftables/commands.ts'
import { faultOf } from '../../support/fault_of.ts'
import { errnoOf, type KernelFixture } from './fixture.ts'

const table = 'bowline_contract'
const POSTROUTING: NftHook = { type: 'nat', hook: 'postrouting', priority: 100 }
const KEY = Uint8Array.of(10, 1, 0, 5)
const OTHER_KEY = Uint8Array.of(10, 1, 0, 6)

const ensureTable: NftCommand = { op: 'ensureTable', table }
const removeTable: NftCommand = { op: 'removeTable', table }
const ensureMap: NftCommand = { op: 'ensureMap', table, map: 'pods', key: 'ipv4_addr' }
const removeMap: NftCommand = { op: 'removeMap', table, map: 'pods' }
const ensureChain = (chain: string, hook?: NftHook): NftCommand => ({
  op: 'ensureChain',
  table,
  chain,
  ...(hook && { hook }),
})
const removeChain = (chain: string): NftCommand => ({ op: 'removeChain', table, chain })
const flushChain = (chain: string): NftCommand => ({ op: 'flushChain', table, chain })
const addRule = (chain: string, ...rule: NftExpression[]): NftCommand => ({
  op: 'addRule',
  table,
  chain,
  rule,
})
const lookup = { match: 'saddrVmap', family: 4, map: 'pods' } as const
const element = (key = KEY): NftElementRef => ({ table, map: 'pods', key })
const addElement = (goto: string, key = KEY): NftCommand => ({ op: 'addElement', ...element(key), goto })
const removeElement = (key = KEY): NftCommand => ({ op: 'removeElement', ...element(key) })

/** A table with two plain chains and a map, all empty. */
const frame: NftCommand[] = [ensureTable, ensureMap, ensureChain('one'), ensureChain('two')]

export function nftSentences(fixture: () => KernelFixture): void {
  const nft = (...commands: NftCommand[]) => fixture().kernel.nft(commands)
  const refused = (...commands: NftCommand[]) => errnoOf(() => nft(...commands))
  const has = (key = KEY) => fixture().kernel.hasNftElement(element(key))

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
    expect(fault.message).toContain(`delete chain inet ${table} none`)
  })

  describe('refuses with ENOENT', () => {
    it.each<[string, NftCommand]>([
      ['a chain', ensureChain('one')],
      ['a map', ensureMap],
      ['a rule', addRule('one', { verdict: 'accept' })],
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
      ['a rule of a missing chain', addRule('none', { verdict: 'accept' })],
      ['a rule with a missing map', addRule('one', { ...lookup, map: 'none' })],
      ['an element that goes to a missing chain', addElement('none')],
      ['an element of a missing map', { op: 'addElement', table, map: 'none', key: KEY, goto: 'one' }],
      ['the removal of a missing chain', removeChain('none')],
      ['the flushing of a missing chain', flushChain('none')],
      ['the removal of a missing map', { op: 'removeMap', table, map: 'none' }],
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
      nft(...frame, addRule('one', { verdict: 'accept' }))
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
    expect(refused({ ...ensureMap, key: 'ipv6_addr' } as NftCommand)).toBe('EEXIST')
    expect(refused(ensureChain('one', POSTROUTING))).toBe('EEXIST')
    expect(refused(ensureChain('base', { ...POSTROUTING, type: 'filter' }))).toBe('EEXIST')
    // Linux 6.1 says EEXIST, 6.18 EOPNOTSUPP.
    expect(refused(ensureChain('base', { ...POSTROUTING, priority: 101 }))).toMatch(/^(EEXIST|EOPNOTSUPP)$/)
  })

  it('refuses a name of more than 255 bytes with ERANGE', () => {
    nft(ensureTable)
    expect(refused(ensureChain('c'.repeat(256)))).toBe('ERANGE')
  })

  it('answers a question that changes nothing', () => {
    fixture().kernel.probeNft()
    expect(refused(removeTable)).toBe('ENOENT')
  })

  describe('elements', () => {
    it('are found by their key in their map and table', () => {
      nft(...frame, addElement('one'))
      expect([has(KEY), has(OTHER_KEY)]).toEqual([true, false])
      const { kernel } = fixture()
      expect(kernel.hasNftElement({ table, map: 'none', key: KEY })).toBe(false)
      expect(kernel.hasNftElement({ table: 'none', map: 'pods', key: KEY })).toBe(false)
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
      expect(refused(addElement('one', new Uint8Array(16)))).toBe('EINVAL')
    })

    it('of interface names and of IPv6 addresses have keys of 16 bytes', () => {
      const [names, six] = [
        { table, map: 'names' },
        { table, map: 'six' },
      ]
      const key = new Uint8Array(16).fill(0x61, 0, 4)
      nft(
        ...frame,
        { op: 'ensureMap', ...names, key: 'ifname' },
        { op: 'ensureMap', ...six, key: 'ipv6_addr' },
      )
      nft({ op: 'addElement', ...names, key, goto: 'one' }, { op: 'addElement', ...six, key, goto: 'one' })
      expect(fixture().kernel.hasNftElement({ ...names, key })).toBe(true)
      expect(fixture().kernel.hasNftElement({ ...six, key })).toBe(true)
    })
  })

  describe('elements whose owner is asked for', () => {
    const own = { ...element(), ofChain: 'net-a-1' }
    const foreign = { ...element(), ofChain: 'net-b-1' }
    const remove = (which: typeof own): NftCommand => ({ op: 'removeElement', ...which })
    beforeEach(() => nft(...frame, ensureChain('net-a-1'), addElement('net-a-1')))

    it('count only if they go to that chain', () => {
      expect(fixture().kernel.hasNftElement(own)).toBe(true)
      expect(fixture().kernel.hasNftElement(foreign)).toBe(false)
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
    const list = (map = 'pods', of = table) => fixture().kernel.nftElements({ table: of, map })

    it('is empty when the map or the table is missing, or the map has no element', () => {
      expect(list('pods', 'none')).toEqual([])
      nft(...frame)
      expect([list(), list('none')]).toEqual([[], []])
    })

    it('has every element with its key, chain and comment', () => {
      nft(...frame, { ...addElement('one'), comment: 'pod eth0' } as NftCommand, addElement('two', OTHER_KEY))
      expect(list()).toHaveLength(2)
      expect(list()).toEqual(
        expect.arrayContaining([
          { ...element(KEY), goto: 'one', comment: 'pod eth0' },
          { ...element(OTHER_KEY), goto: 'two' },
        ]),
      )
    })

    it('has thousands of elements, each once', () => {
      const keys = Array.from({ length: 3000 }, (_, i) => Uint8Array.of(10, 2, i >> 8, i & 255))
      nft(...frame)
      for (let at = 0; at < keys.length; at += 500) {
        nft(...keys.slice(at, at + 500).map((key) => addElement('one', key)))
      }
      expect(new Set(list().map(({ key }) => key.join('.'))).size).toBe(3000)
      expect(list()).toHaveLength(3000)
    })
  })

  it('masquerades only after routing', () => {
    nft(...frame, ensureChain('base', POSTROUTING), addRule('base', { verdict: 'masquerade' }))
    nft(ensureChain('forward', { type: 'filter', hook: 'forward', priority: 0 }))
    expect(refused(addRule('forward', { verdict: 'masquerade' }))).toBe('EOPNOTSUPP')
  })

  describe('chains', () => {
    const accept: NftRule = [{ verdict: 'accept' }]
    const local: NftRule = [{ match: 'daddr', family: 4, address: KEY, prefix: 22 }, { verdict: 'return' }]
    const six: NftRule = [
      { match: 'daddr', family: 6, address: new Uint8Array(16).fill(0xfd), prefix: 64 },
      { verdict: 'return' },
    ]
    const holds = (chain: string, more: Partial<NftChain> = {}) =>
      fixture().kernel.hasNftChain({ table, chain, rules: [], ...more })

    it('are there with the rules that they were given, in their order', () => {
      nft(...frame, addRule('one', ...local), addRule('one', ...six), addRule('one', ...accept))
      expect(holds('one', { rules: [local, six, accept] })).toBe(true)
      expect(holds('one', { rules: [six, local, accept] })).toBe(false)
      expect(holds('one', { rules: [local, six, accept, accept] })).toBe(false)
    })

    it('may have rules of others between ours', () => {
      nft(...frame, addRule('one', ...six), addRule('one', ...local), addRule('one', ...accept))
      expect(holds('one', { rules: [local, accept] })).toBe(true)
    })

    it('have lost their rules once they are flushed, and are still there', () => {
      nft(...frame, addRule('one', ...local))
      nft(flushChain('one'))
      expect(holds('one', { rules: [local] })).toBe(false)
      expect(holds('one')).toBe(true)
    })

    it('are told apart by every part of a rule', () => {
      nft(...frame, addRule('one', ...local), addRule('one', { ...lookup }))
      const others: NftRule[] = [
        [{ match: 'daddr', family: 4, address: KEY, prefix: 23 }, { verdict: 'return' }],
        [
          { match: 'daddr', family: 4, address: Uint8Array.of(10, 9, 0, 0), prefix: 22 },
          { verdict: 'return' },
        ],
        [local[0] as NftExpression, { verdict: 'accept' }],
        [local[0] as NftExpression],
        [{ ...lookup, map: 'other' }],
        [{ match: 'iifnameVmap', map: 'pods' }],
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
      expect(holds('one', { table: 'none' })).toBe(false)
      expect(holds('one', { family: 'bridge' })).toBe(false)
    })
  })

  describe('of family bridge', () => {
    const inBridge = (command: NftCommand): NftCommand => ({ ...command, family: 'bridge' })
    const name = new Uint8Array(16).fill(0x61, 0, 4)
    const guard = { table, map: 'ports', key: name } as const
    const PREROUTING: NftHook = { type: 'filter', hook: 'prerouting', priority: -300 }
    const source: NftRule = [
      { match: 'etherSaddr', mac: Uint8Array.of(2, 0, 0, 0, 0, 5) },
      { verdict: 'return' },
    ]
    const look: NftRule = [{ match: 'iifnameVmap', map: 'ports' }]
    const drop: NftRule = [{ verdict: 'drop' }]
    const guardFrame = [
      ensureTable,
      { op: 'ensureMap', table, map: 'ports', key: 'ifname' } as const,
      ensureChain('mac'),
      addRule('mac', ...source),
      addRule('mac', ...drop),
      ensureChain('base', PREROUTING),
      addRule('base', ...look),
      { op: 'addElement', ...guard, goto: 'mac' } as const,
    ].map(inBridge)

    it('a table is another one than its namesake of family inet', () => {
      nft(...frame, ...guardFrame)
      expect(fixture().kernel.hasNftElement({ ...guard, family: 'bridge' })).toBe(true)
      expect(fixture().kernel.hasNftElement(guard)).toBe(false)
      nft(removeChain('one'), removeChain('two'), removeMap, removeTable)
      expect(fixture().kernel.hasNftElement({ ...guard, family: 'bridge' })).toBe(true)
    })

    it('chains show their rules and their hook', () => {
      nft(...guardFrame)
      const holds = (chain: NftChain) => fixture().kernel.hasNftChain(chain)
      const mac: NftChain = { family: 'bridge', table, chain: 'mac', rules: [source, drop] }
      const other: NftRule = [
        { match: 'etherSaddr', mac: Uint8Array.of(2, 0, 0, 0, 0, 6) },
        { verdict: 'return' },
      ]
      expect(holds(mac)).toBe(true)
      expect(holds({ ...mac, rules: [other, drop] })).toBe(false)
      expect(holds({ family: 'bridge', table, chain: 'base', hook: PREROUTING, rules: [look] })).toBe(true)
    })

    it('a chain goes with its element and its rules in one transaction', () => {
      nft(...guardFrame)
      nft(
        ...[{ op: 'removeElement', ...guard } as const, flushChain('mac'), removeChain('mac')].map(inBridge),
      )
      expect(fixture().kernel.hasNftChain({ family: 'bridge', table, chain: 'mac', rules: [] })).toBe(false)
    })

    it('refuses with ENOENT what speaks of packets that are routed', () => {
      nft(...guardFrame)
      expect(refused(inBridge(addRule('mac', { verdict: 'masquerade' })))).toBe('ENOENT')
      expect(refused(inBridge(ensureChain('nat', POSTROUTING)))).toBe('ENOENT')
    })
  })
}
