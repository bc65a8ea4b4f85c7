import { describe, expect, it } from 'vitest'
import type {
  FirewallChain,
  FirewallPacket,
  FirewallRule,
  KnownBits,
} from '../../src/kernel/firewall/chain.ts'
import { UNKNOWN_TEST } from '../../src/kernel/firewall/chain.ts'
import { isDropped } from '../../src/kernel/firewall/outcome.ts'
import { decodeRuleset } from '../../src/kernel/nftables/ruleset.ts'
import { decodeInfo, decodeTable } from '../../src/kernel/xtables/table.ts'
import fixture from './fixtures/firewall.json' with { type: 'json' }

/* Packet filters of other programs, as the kernel showed them, and what can be proven of them. */
const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))
const all = (texts: readonly string[]) => texts.map(bytes)

/** Rules in a form for people: `field[offset]&mask=value`, `!` for unequal, `?` for what is not read. */
function shown({ tests, verdict }: FirewallRule): string {
  const hex = (part: Uint8Array) => Buffer.from(part).toString('hex')
  const words = tests.map((test) =>
    test.field === 'unknown'
      ? '?'
      : `${test.field}[${test.offset}]${test.mask ? `&${hex(test.mask)}` : ''}${test.isEqual ? '=' : '!'}${hex(test.value)}`,
  )
  return [...words, 'chain' in verdict ? `${verdict.kind} ${verdict.chain}` : verdict.kind].join(' ')
}

function show(chains: readonly FirewallChain[]): Record<string, unknown> {
  return Object.fromEntries(
    chains.map(({ family, table, name, base, rules }) => [
      [family, table, name, ...(base ? [base.hook, base.policy] : [])].join(' '),
      rules.map(shown),
    ]),
  )
}

const name = (text: string, length = 16) => Buffer.from(text.padEnd(length, '\0')).toString('hex')

describe('the chains of nftables', () => {
  const { tables, chains, rules } = fixture.nftables

  it('are read with what their rules test, and without those of tables that sleep', () => {
    expect(show(decodeRuleset(all(tables), all(chains), all(rules)))).toEqual({
      'inet f fw forward drop': [
        'conntrackState[0]&06000000!00000000 accept',
        `inputLink[0]=${name('br0')} accept`,
        'outputIndex[0]=01000000 drop',
        'protocolFamily[0]=02 networkHeader[12]&fffff000=0a010000 return',
        'protocolFamily[0]=0a networkHeader[24]!fd000000000000000000000000000001 drop',
        'transport[0]=06 ? accept',
        '? unknown',
      ],
      'ip filter FORWARD forward accept': [`inputLink[0]=${name('veth', 4)} goto X`],
      'ip filter X': ['conntrackState[0]&08000000!00000000 drop'],
    })
  })
})

describe('a table of the older iptables', () => {
  it.each([
    [4, 'iptables-legacy', '&fffff000=0a010000', '[12]', '[16]&ffffffff!0a020001'],
    [
      6,
      'ip6tables-legacy',
      `&fffff0${'00'.repeat(13)}=fd${'00'.repeat(15)}`,
      '[8]',
      `[24]&${'ff'.repeat(16)}!fd${'00'.repeat(14)}01`,
    ],
  ] as const)('of IPv%i is read with what its rules test', (family, key, source, sourceAt, destination) => {
    const { info, rules } = fixture[key]
    const mask = (length: number) => `${'ff'.repeat(length)}${'00'.repeat(16 - length)}`
    expect(show(decodeTable(family, 'filter', decodeInfo(bytes(info)), bytes(rules)))).toMatchObject({
      [`${family === 4 ? 'ip' : 'ip6'} filter FORWARD forward drop`]: [
        `networkHeader${sourceAt}${source} networkHeader${destination} goto X`,
        `inputLink[0]&${mask(4)}=${name('veth')} outputLink[0]&${mask(5)}!${name('eth0')} jump X`,
        'transport[0]=06 continue',
        'drop',
        'drop',
      ],
      [`${family === 4 ? 'ip' : 'ip6'} filter X`]: [
        'conntrackState[0]&08000000=00000000 accept',
        'return',
        'return',
      ],
    })
  })

  it('that is cut off ends where it is cut', () => {
    const { info, rules } = fixture['iptables-legacy']
    for (let length = 0; length < bytes(rules).length; length += 7) {
      const cut = bytes(rules).subarray(0, length)
      expect(() => decodeTable(4, 'filter', decodeInfo(bytes(info)), cut)).not.toThrow()
    }
  })
})

describe('a chain', () => {
  const accept: FirewallRule = { tests: [], verdict: { kind: 'accept' } }
  const drop: FirewallRule = { tests: [], verdict: { kind: 'drop' } }
  const known = (...value: number[]): KnownBits => ({
    value: Uint8Array.from(value),
    known: new Uint8Array(value.length).fill(0xff),
  })
  /** From 10.1.0.0/16, by one family or the other. */
  const packet: FirewallPacket = {
    networkHeader: { value: Uint8Array.of(10, 1, 0, 0), known: Uint8Array.of(255, 255, 0, 0) },
    protocolFamily: known(2),
  }
  const from = (value: number[], rule: FirewallRule, isEqual = true): FirewallRule => ({
    ...rule,
    tests: [{ field: 'networkHeader', offset: 0, value: Uint8Array.from(value), isEqual }],
  })
  const perhaps = (rule: FirewallRule): FirewallRule => ({ ...rule, tests: [UNKNOWN_TEST] })
  const call = (kind: 'jump' | 'goto', chain = 'x'): FirewallRule => ({ tests: [], verdict: { kind, chain } })
  const back: FirewallRule = { tests: [], verdict: { kind: 'return' } }

  it.each<[boolean, string, FirewallRule[], 'accept' | 'drop', FirewallRule[]?]>([
    [true, 'by its policy', [], 'drop'],
    [false, 'by its policy', [], 'accept'],
    [true, 'by a rule for all', [drop], 'accept'],
    [false, 'behind a rule that accepts all', [accept, drop], 'drop'],
    [false, 'behind a rule that may accept', [perhaps(accept), drop], 'drop'],
    [true, 'behind a rule that may drop', [perhaps(drop), drop], 'accept'],
    [false, 'by a rule that may drop', [perhaps(drop)], 'accept'],
    [true, 'behind a rule that accepts others', [from([10, 2], accept)], 'drop'],
    [false, 'behind a rule that accepts the subnet', [from([10, 1], accept)], 'drop'],
    [false, 'behind a rule that accepts some of the subnet', [from([10, 1, 0, 5], accept)], 'drop'],
    [false, 'by a rule for some of the subnet', [from([10, 1, 0, 5], drop)], 'accept'],
    [true, 'by a rule for all but others', [from([10, 2], drop, false)], 'accept'],
    [false, 'by a rule for all but some of the subnet', [from([10, 1, 0, 5], drop, false)], 'accept'],
    [true, 'by a chain that it calls', [call('jump')], 'accept', [drop]],
    [true, 'after a chain that returns', [call('jump'), drop], 'accept', [back, accept]],
    [false, 'after a chain that may accept', [call('jump'), drop], 'accept', [perhaps(accept)]],
    [false, 'after a chain that it goes to', [call('goto'), drop], 'accept', [back]],
    [true, 'by its policy after a chain that it goes to', [call('goto'), accept], 'drop', [back]],
    [false, 'after a chain that calls itself', [call('jump'), drop], 'drop', [call('jump')]],
    [false, 'after a chain that is missing', [call('jump', 'y'), drop], 'drop', []],
    [false, 'behind a verdict that is not read', [{ tests: [], verdict: { kind: 'unknown' } }], 'drop'],
  ])('drops (%s) %s', (expected, _, rules, policy, called = []) => {
    const chain: FirewallChain = {
      via: 'nftables',
      family: 'ip',
      table: 't',
      name: 'base',
      base: { hook: 'forward', policy },
      rules,
    }
    const x: FirewallChain = { via: 'nftables', family: 'ip', table: 't', name: 'x', rules: called }
    expect(isDropped(chain, packet, (wanted) => (wanted === 'x' ? x : undefined))).toBe(expected)
  })
})
