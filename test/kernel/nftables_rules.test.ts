import { describe, expect, it } from 'vitest'
import { parseCidr } from '../../src/core/address.ts'
import { parseMac } from '../../src/core/mac.ts'
import { ifname, ipAddress } from '../../src/kernel/nftables/datatypes.ts'
import { vmap } from '../../src/kernel/nftables/expressions/lookup.ts'
import { equals, within } from '../../src/kernel/nftables/expressions/match.ts'
import { iifname } from '../../src/kernel/nftables/expressions/meta.ts'
import { masqueradeTo } from '../../src/kernel/nftables/expressions/nat.ts'
import { daddr, etherSaddr, saddr } from '../../src/kernel/nftables/expressions/payload.ts'
import { accept, back, drop } from '../../src/kernel/nftables/expressions/verdicts.ts'
import type { NftRule } from '../../src/kernel/nftables/objects.ts'
import { readAnswer } from '../../src/kernel/nftables/reply.ts'
import { holdsRules } from '../../src/kernel/nftables/rules.ts'
import { verdict } from '../../src/kernel/nftables/verdict.ts'
import { chains } from './fixtures/nftables_rules.json'

const source = (last: number) => equals(etherSaddr, parseMac(`02:00:00:00:00:0${last}`))
const to = (text: string) => within(daddr(4), parseCidr(text))
const table = { family: 'bridge', name: 'bowline' } as const
const ports = { table, name: 'macspoofchk', key: ifname, data: verdict }
const subnet: NftRule = [to('10.1.4.0/22'), back]
const multicast: NftRule = [to('224.0.0.0/4'), back]
const masquerade: NftRule = [masqueradeTo({})]

function shows(chain: keyof typeof chains, ...rules: NftRule[]): boolean {
  return holdsRules(chains[chain].rules.map(bytesOf), rules)
}

describe('the rules that the kernel shows', () => {
  it('are those that nft was told to make', () => {
    expect(shows('mac-1', [source(5), back], [drop])).toBe(true)
    expect(shows('prerouting', [vmap(iifname, ports)])).toBe(true)
    expect(shows('net-1', subnet, multicast, masquerade)).toBe(true)
  })

  it('may be more than those asked for, and must be in their order', () => {
    expect(shows('net-1', subnet, masquerade)).toBe(true)
    expect(shows('net-1', multicast, subnet)).toBe(false)
    expect(shows('net-1', masquerade, masquerade)).toBe(false)
  })

  it.each<[string, keyof typeof chains, NftRule]>([
    ['another MAC', 'mac-1', [source(6), back]],
    ['another verdict', 'mac-1', [source(5), accept]],
    ['no verdict', 'mac-1', [source(5)]],
    ['another map', 'prerouting', [vmap(iifname, { ...ports, name: 'macspoofchk2' })]],
    ['another match', 'prerouting', [vmap(saddr(4), { ...ports, key: ipAddress(4) })]],
    ['another network', 'net-1', [to('10.1.8.0/22'), back]],
    ['another prefix length', 'net-1', [to('10.1.4.0/23'), back]],
    ['a prefix of whole bytes', 'net-1', [to('10.1.4.0/24'), back]],
  ])('are told from a rule with %s', (_, chain, rule) => {
    expect(shows(chain, rule)).toBe(false)
  })

  it('are none of ours in what is cut short', () => {
    const [body = ''] = chains['mac-1'].rules
    for (let length = 0; length < body.length; length += 2) {
      expect(holdsRules([bytesOf(body.slice(0, length))], [[source(5), back]])).toBe(false)
    }
  })
})

describe('the answer for a chain', () => {
  it('tells where a base chain hangs', () => {
    const hook = { type: 'filter', hook: 'prerouting', priority: -300 }
    expect(readAnswer(bytesOf(chains.prerouting.answer), 7)).toEqual({ chainUse: 1, hook })
  })

  it('tells of no hook for one that is only jumped to', () => {
    expect(readAnswer(bytesOf(chains['net-1'].answer), 7)).toEqual({ chainUse: 3 })
  })
})

function bytesOf(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'))
}
