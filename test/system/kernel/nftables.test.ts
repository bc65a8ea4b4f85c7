import { execa } from 'execa'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { addressBytes, type Cidr, parseAddress, parseCidr } from '../../../src/core/address.ts'
import { applyNft } from '../../../src/kernel/linux/nft.ts'
import type {
  NftCommand,
  NftElement,
  NftElementRef,
  NftExpression,
} from '../../../src/kernel/nftables/commands.ts'
import { describeNftCommand } from '../../../src/kernel/nftables/describe.ts'
import { faultOf } from '../../support/fault_of.ts'
import { enterPrivateNamespaces, run } from '../../support/node/private_namespaces.ts'

const table = 'bowline'
const chain = 'net-0123456789abcdef'
const MAPS = { 4: 'masquerade4', 6: 'masquerade6' } as const
const MULTICAST = { 4: '224.0.0.0/4', 6: 'ff00::/8' } as const

const ref = (text: string): NftElementRef => {
  const address = parseAddress(text)
  return { table, map: MAPS[address.family], key: addressBytes(address) }
}
const element = (text: string, goto = chain): NftElement => ({ ...ref(text), goto, comment: 'id eth0' })
const add = (text: string, goto?: string): NftCommand => ({ op: 'addElement', ...element(text, goto) })
const remove = (text: string): NftCommand => ({ op: 'removeElement', ...ref(text) })
const rule = (chain: string, ...rule: NftExpression[]): NftCommand => ({ op: 'addRule', table, chain, rule })
const daddr = ({ address, prefix }: Cidr): NftExpression => ({
  match: 'daddr',
  family: address.family,
  address: addressBytes(address),
  prefix,
})

const emptyFrame: NftCommand[] = [
  { op: 'ensureTable', table },
  { op: 'ensureMap', table, map: 'masquerade4', key: 'ipv4_addr' },
  { op: 'ensureMap', table, map: 'masquerade6', key: 'ipv6_addr' },
  { op: 'ensureChain', table, chain },
]

/** The rules that the pod network uses, for one subnet of each family. */
const frame: NftCommand[] = [
  ...emptyFrame,
  { op: 'flushChain', table, chain },
  ...(['10.1.0.0/24', 'fd00:1::/61'] as const).flatMap((text) => {
    const subnet = parseCidr(text)
    return [
      rule(chain, daddr(subnet), { verdict: 'return' }),
      rule(chain, daddr(parseCidr(MULTICAST[subnet.address.family])), { verdict: 'return' }),
    ]
  }),
  rule(chain, { verdict: 'masquerade' }),
  {
    op: 'ensureChain',
    table,
    chain: 'postrouting',
    hook: { type: 'nat', hook: 'postrouting', priority: 100 },
  },
  { op: 'flushChain', table, chain: 'postrouting' },
  rule('postrouting', { match: 'saddrVmap', family: 4, map: 'masquerade4' }),
  rule('postrouting', { match: 'saddrVmap', family: 6, map: 'masquerade6' }),
]

const listing = `table inet bowline {
	map masquerade4 {
		type ipv4_addr : verdict
		elements = { 10.1.0.5 comment "id eth0" : goto net-0123456789abcdef }
	}

	map masquerade6 {
		type ipv6_addr : verdict
		elements = { fd00:1::5 comment "id eth0" : goto net-0123456789abcdef }
	}

	chain net-0123456789abcdef {
		ip daddr 10.1.0.0/24 return
		ip daddr 224.0.0.0/4 return
		ip6 daddr fd00:1::/61 return
		ip6 daddr ff00::/8 return
		masquerade
	}

	chain postrouting {
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr vmap @masquerade4
		ip6 saddr vmap @masquerade6
	}
}`

beforeAll(enterPrivateNamespaces)
afterEach(() => {
  run('nft flush ruleset')
})

describe('what we make', () => {
  it('reads like rules that a person has written', () => {
    applyNft([...frame, add('10.1.0.5'), add('fd00:1::5')])
    expect(run('nft list ruleset')).toBe(listing)
  })

  it('is the same after it was made twice', () => {
    const commands = [...frame, add('10.1.0.5'), add('fd00:1::5')]
    applyNft(commands)
    applyNft(commands)
    expect(run('nft list ruleset')).toBe(listing)
  })

  it('can be listed as JSON, with types, verdicts and comments', () => {
    applyNft([...frame, add('10.1.0.5')])
    const { nftables } = JSON.parse(run('nft -j list map inet bowline masquerade4'))
    expect(nftables[1].map).toMatchObject({
      type: 'ipv4_addr',
      map: 'verdict',
      elem: [[{ elem: { val: '10.1.0.5', comment: 'id eth0' } }, { goto: { target: chain } }]],
    })
  })

  it('shows interface names the right way round', () => {
    const key = Uint8Array.from({ length: 16 }, (_, i) => 'eth0'.charCodeAt(i) || 0)
    applyNft([
      ...emptyFrame,
      { op: 'ensureMap', table, map: 'links', key: 'ifname' },
      { op: 'addElement', table, map: 'links', key, goto: chain },
    ])
    expect(run('nft list map inet bowline links')).toContain(`elements = { "eth0" : goto ${chain} }`)
  })

  it('keeps a comment of any length and alphabet listable', () => {
    applyNft([...emptyFrame, { op: 'addElement', ...element('10.1.0.5'), comment: `"${'é'.repeat(200)}` }])
    const { nftables } = JSON.parse(run('nft -j list map inet bowline masquerade4'))
    expect(nftables[1].map.elem[0][0].elem.comment).toBe(`_${'é'.repeat(63)}`)
  })

  it('can be read by nft and loaded again as it was', () => {
    applyNft([...frame, add('10.1.0.5'), add('fd00:1::5')])
    run('nft list ruleset > /run/netns/saved; nft flush ruleset; nft -f /run/netns/saved')
    expect(run('nft list ruleset')).toBe(listing)
  })
})

describe('a transaction', () => {
  it('may hold thousands of commands', () => {
    const many = Array.from({ length: 3000 }, (_, i) => add(`10.1.${i >> 8}.${i & 255}`))
    applyNft([...emptyFrame, ...many])
    expect(JSON.parse(run('nft -j list map inet bowline masquerade4')).nftables[1].map.elem).toHaveLength(
      3000,
    )
  })

  it('reports the first refusal even when there are more than the socket can hold', () => {
    applyNft(emptyFrame)
    const many = Array.from({ length: 3000 }, (_, i) => remove(`10.1.${i >> 8}.${i & 255}`))
    const fault = faultOf(() => applyNft([{ op: 'ensureTable', table }, ...many]))
    expect(fault.message).toContain('delete element inet bowline masquerade4 { 10.1.0.0 }: ENOENT')
  })

  it('stands beside those of other processes', async () => {
    applyNft(emptyFrame)
    const others = Array.from({ length: 3 }, (_, other) => {
      const lines = Array.from({ length: 100 }, (_, i) => {
        return `nft add element inet bowline masquerade4 '{ 10.${other + 2}.0.${i} : goto ${chain} }'`
      })
      return execa('sh', ['-ec', lines.join('\n')])
    })
    for (let i = 0; i < 100; i++) {
      applyNft([add(`10.1.0.${i}`)])
      await Bun.sleep(1)
    }
    await Promise.all(others)
    expect(JSON.parse(run('nft -j list map inet bowline masquerade4')).nftables[1].map.elem).toHaveLength(400)
  })
})

describe('MAC checks of bridge ports', () => {
  const family = 'bridge'
  const own = 'mac-0123456789abcdef0123456789abcdef'
  const key = Uint8Array.from({ length: 16 }, (_, i) => 'veth0123456789a'.charCodeAt(i) || 0)
  const commands: NftCommand[] = [
    { op: 'ensureTable', family, table },
    { op: 'ensureMap', family, table, map: 'macspoofchk', key: 'ifname' },
    { op: 'ensureChain', family, table, chain: own },
    { op: 'flushChain', family, table, chain: own },
    {
      ...rule(own, { match: 'etherSaddr', mac: Uint8Array.of(2, 0, 0, 0, 0, 5) }, { verdict: 'return' }),
      family,
    },
    { ...rule(own, { verdict: 'drop' }), family },
    {
      op: 'ensureChain',
      family,
      table,
      chain: 'prerouting',
      hook: { type: 'filter', hook: 'prerouting', priority: -300 },
    },
    { op: 'flushChain', family, table, chain: 'prerouting' },
    { ...rule('prerouting', { match: 'iifnameVmap', map: 'macspoofchk' }), family },
    { op: 'addElement', family, table, map: 'macspoofchk', key, goto: own, comment: 'c1 eth0' },
  ] as NftCommand[]
  const shown = `table bridge bowline {
	map macspoofchk {
		type ifname : verdict
		elements = { "veth0123456789a" comment "c1 eth0" : goto mac-0123456789abcdef0123456789abcdef }
	}

	chain mac-0123456789abcdef0123456789abcdef {
		ether saddr 02:00:00:00:00:05 return
		drop
	}

	chain prerouting {
		type filter hook prerouting priority dstnat; policy accept;
		iifname vmap @macspoofchk
	}
}`

  it('read like rules that a person has written', () => {
    applyNft(commands)
    expect(run('nft list table bridge bowline')).toBe(shown)
  })

  it('are the same when nft is told what we say in words', () => {
    applyNft(commands)
    const words = commands.map(describeNftCommand).join('; ')
    run(`nft flush ruleset; nft '${words}'`)
    expect(run('nft list table bridge bowline')).toBe(shown)
  })
})
