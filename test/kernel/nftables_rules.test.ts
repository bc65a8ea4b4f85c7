import { describe, expect, it } from 'vitest'
import type { NftExpression, NftRule } from '../../src/kernel/nftables/commands.ts'
import { readAnswer } from '../../src/kernel/nftables/reply.ts'
import { holdsRules } from '../../src/kernel/nftables/rules.ts'
import { chains } from './fixtures/nftables_rules.json'

const saddr = (last: number): NftExpression => ({
  match: 'etherSaddr',
  mac: Uint8Array.of(2, 0, 0, 0, 0, last),
})
const daddr = (address: readonly number[], prefix: number): NftExpression => ({
  match: 'daddr',
  family: 4,
  address: Uint8Array.from(address),
  prefix,
})
const back: NftExpression = { verdict: 'return' }
const subnet: NftRule = [daddr([10, 1, 4, 0], 22), back]
const multicast: NftRule = [daddr([224, 0, 0, 0], 4), back]
const masquerade: NftRule = [{ verdict: 'masquerade' }]

function shows(chain: keyof typeof chains, ...rules: NftRule[]): boolean {
  return holdsRules(chains[chain].rules.map(bytesOf), rules)
}

describe('the rules that the kernel shows', () => {
  it('are those that nft was told to make', () => {
    expect(shows('mac-1', [saddr(5), back], [{ verdict: 'drop' }])).toBe(true)
    expect(shows('prerouting', [{ match: 'iifnameVmap', map: 'macspoofchk' }])).toBe(true)
    expect(shows('net-1', subnet, multicast, masquerade)).toBe(true)
  })

  it('may be more than those asked for, and must be in their order', () => {
    expect(shows('net-1', subnet, masquerade)).toBe(true)
    expect(shows('net-1', multicast, subnet)).toBe(false)
    expect(shows('net-1', masquerade, masquerade)).toBe(false)
  })

  it.each<[string, keyof typeof chains, NftRule]>([
    ['another MAC', 'mac-1', [saddr(6), back]],
    ['another verdict', 'mac-1', [saddr(5), { verdict: 'accept' }]],
    ['no verdict', 'mac-1', [saddr(5)]],
    ['another map', 'prerouting', [{ match: 'iifnameVmap', map: 'macspoofchk2' }]],
    ['another match', 'prerouting', [{ match: 'saddrVmap', family: 4, map: 'macspoofchk' }]],
    ['another network', 'net-1', [daddr([10, 1, 8, 0], 22), back]],
    ['another prefix length', 'net-1', [daddr([10, 1, 4, 0], 23), back]],
    ['a prefix of whole bytes', 'net-1', [daddr([10, 1, 4, 0], 24), back]],
  ])('are told from a rule with %s', (_, chain, rule) => {
    expect(shows(chain, rule)).toBe(false)
  })

  it('are none of ours in what is cut short', () => {
    const [body = ''] = chains['mac-1'].rules
    for (let length = 0; length < body.length; length += 2) {
      expect(holdsRules([bytesOf(body.slice(0, length))], [[saddr(5), back]])).toBe(false)
    }
  })
})

describe('the answer for a chain', () => {
  it('tells where a base chain hangs', () => {
    const hook = { type: 'filter', hook: 'prerouting', priority: -300 }
    expect(readAnswer(bytesOf(chains.prerouting.answer), 7)).toEqual({ elements: [], chainUse: 1, hook })
  })

  it('tells of no hook for one that is only jumped to', () => {
    expect(readAnswer(bytesOf(chains['net-1'].answer), 7)).toEqual({ elements: [], chainUse: 3 })
  })
})

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'))
}
