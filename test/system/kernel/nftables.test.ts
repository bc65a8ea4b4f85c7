import { execa } from 'execa'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { addressBytes, type Cidr, parseAddress, parseCidr } from '../../../src/core/address.ts'
import { isErrno } from '../../../src/core/errors.ts'
import { applyNft, hasNftElement } from '../../../src/kernel/linux/nft.ts'
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
  it('leaves nothing when one command is refused', () => {
    const bad = rule('missing', { verdict: 'accept' })
    expect(errnoOf(() => applyNft([...frame, bad, add('10.1.0.5')]))).toBe('ENOENT')
    expect(run('nft list ruleset')).toBe('')
  })

  it('names the command that was refused', () => {
    applyNft(emptyFrame)
    const commands = [add('10.1.0.5'), remove('10.1.0.6'), add('10.1.0.7')]
    expect(faultOf(() => applyNft(commands)).message).toBe(
      'nftables: delete element inet bowline masquerade4 { 10.1.0.6 }: ENOENT',
    )
    expect(run('nft list map inet bowline masquerade4')).not.toContain('elements')
  })

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

  it('of no commands does nothing', () => {
    applyNft([])
    expect(run('nft list ruleset')).toBe('')
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

describe('a removal', () => {
  it.each<[string, NftCommand]>([
    ['table', { op: 'removeTable', table: 'missing' }],
    ['chain', { op: 'removeChain', table, chain: 'missing' }],
    ['map', { op: 'removeMap', table, map: 'missing' }],
    ['element', remove('10.1.0.5')],
    ['rule of a chain', { op: 'flushChain', table, chain: 'missing' }],
  ])('of a missing %s is refused with ENOENT, alone and in a transaction', (_, command) => {
    applyNft(frame)
    expect(errnoOf(() => applyNft([command]))).toBe('ENOENT')
    expect(errnoOf(() => applyNft([{ op: 'ensureTable', table }, command]))).toBe('ENOENT')
  })

  it.each<[string, NftCommand]>([
    ['a chain that an element points to', { op: 'removeChain', table, chain }],
    ['a chain with rules', { op: 'removeChain', table, chain: 'postrouting' }],
    ['a map with elements', { op: 'removeMap', table, map: 'masquerade4' }],
    ['a table with chains', { op: 'removeTable', table }],
  ])('of %s is refused with EBUSY, alone and in a transaction', (_, command) => {
    applyNft([...frame, add('10.1.0.5'), add('fd00:1::5')])
    expect(errnoOf(() => applyNft([command]))).toBe('EBUSY')
    expect(errnoOf(() => applyNft([{ op: 'ensureTable', table }, command]))).toBe('EBUSY')
    expect(run('nft list ruleset')).toBe(listing)
  })

  it('of a chain with rules succeeds once they are flushed, in the same transaction', () => {
    applyNft(frame)
    applyNft([
      { op: 'flushChain', table, chain },
      { op: 'removeChain', table, chain },
    ])
    expect(run('nft list ruleset')).not.toContain(chain)
  })

  it('of everything, once the elements are gone, leaves nothing', () => {
    applyNft([...frame, add('10.1.0.5')])
    applyNft([remove('10.1.0.5')])
    applyNft([
      { op: 'flushChain', table, chain: 'postrouting' },
      { op: 'removeChain', table, chain: 'postrouting' },
      { op: 'flushChain', table, chain },
      { op: 'removeChain', table, chain },
      { op: 'removeMap', table, map: 'masquerade4' },
      { op: 'removeMap', table, map: 'masquerade6' },
      { op: 'removeTable', table },
    ])
    expect(run('nft list ruleset')).toBe('')
  })

  it('of a map is refused in the transaction that empties it', () => {
    applyNft([...emptyFrame, add('10.1.0.5')])
    const commands: NftCommand[] = [remove('10.1.0.5'), { op: 'removeMap', table, map: 'masquerade4' }]
    expect(errnoOf(() => applyNft(commands))).toBe('EBUSY')
  })

  it('of the rules of an empty chain succeeds', () => {
    applyNft(emptyFrame)
    applyNft([{ op: 'flushChain', table, chain }])
    expect(run(`nft list chain inet bowline ${chain}`)).toContain(chain)
  })
})

describe('an element', () => {
  it('may be added twice', () => {
    applyNft([...emptyFrame, add('10.1.0.5')])
    applyNft([add('10.1.0.5')])
    expect(JSON.parse(run('nft -j list map inet bowline masquerade4')).nftables[1].map.elem).toHaveLength(1)
  })

  it('is refused when its key is there with another chain', () => {
    applyNft([...emptyFrame, { op: 'ensureChain', table, chain: 'other' }, add('10.1.0.5')])
    const fault = faultOf(() => applyNft([add('10.1.0.5', 'other')]))
    expect(isErrno(fault, 'EEXIST', 'EBUSY')).toBe(true)
  })

  it('may be moved to another chain in one transaction', () => {
    applyNft([...emptyFrame, { op: 'ensureChain', table, chain: 'other' }, add('10.1.0.5')])
    applyNft([remove('10.1.0.5'), add('10.1.0.5', 'other')])
    expect(run('nft list map inet bowline masquerade4')).toContain('goto other')
  })

  it('is refused with ENOENT while its chain is missing', () => {
    applyNft(emptyFrame)
    expect(errnoOf(() => applyNft([add('10.1.0.5', 'missing')]))).toBe('ENOENT')
  })

  it('is found when it is there, and only then', () => {
    expect(hasNftElement(ref('10.1.0.5'))).toBe(false)
    applyNft([...emptyFrame, add('10.1.0.5'), add('fd00:1::5')])
    const found = ['10.1.0.5', '10.1.0.6', 'fd00:1::5', 'fd00:1::6'].map((text) => hasNftElement(ref(text)))
    expect(found).toEqual([true, false, true, false])
    expect(hasNftElement({ ...ref('10.1.0.5'), map: 'missing' })).toBe(false)
  })
})

describe('masquerading', () => {
  it.each([
    { family: 4, outside: '192.0.2.2', sibling: '10.1.0.200', pod: '10.1.0.5', host: '192.0.2.1' },
    { family: 6, outside: '2001:db8::2', sibling: 'fd00:1::200', pod: 'fd00:1::5', host: '2001:db8::1' },
  ])(
    'gives packets of family $family the source address of the host, except within the subnet',
    async (way) => {
      await using _ = await startOutsideServer()
      expect(peerSeenBy(way.outside)).toBe(way.pod)
      applyNft([...frame, add('10.1.0.5'), add('fd00:1::5')])
      expect(peerSeenBy(way.outside)).toBe(way.host)
      expect(peerSeenBy(way.sibling)).toBe(way.pod)
      applyNft([remove(way.pod)])
      expect(peerSeenBy(way.outside)).toBe(way.pod)
    },
  )
})

/** The address that a server outside saw when the pod called it at `address`. */
function peerSeenBy(address: string): string {
  const host = address.includes(':') ? `[${address}]` : address
  return run(`ip netns exec pod curl -sS --max-time 10 http://${host}:7777/`)
}

/**
 * A pod and an outside, each in a namespace, with this one as the router between. The outside also has an address of the
 * pod's subnet, and knows the way back to the pod.
 */
async function startOutsideServer(): Promise<AsyncDisposable> {
  for (const [name, own, host, own6, host6] of [
    ['pod', '10.1.0.5/24', '10.1.0.1/32', 'fd00:1::5/64', 'fd00:1::1/128'],
    ['out', '192.0.2.2/24', '192.0.2.1/24', '2001:db8::2/64', '2001:db8::1/64'],
  ]) {
    run(`ip netns add ${name}; ip link add ${name}0 type veth peer name eth0 netns ${name}; ip link set ${name}0 up
      ip addr add ${host} dev ${name}0; ip addr add ${host6} dev ${name}0 nodad
      ip -n ${name} link set lo up; ip -n ${name} link set eth0 up
      ip -n ${name} addr add ${own} dev eth0; ip -n ${name} addr add ${own6} dev eth0 nodad`)
  }
  run(`sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    ip route add 10.1.0.5 dev pod0; ip -6 route add fd00:1::5 dev pod0
    ip route add 10.1.0.200 via 192.0.2.2; ip -6 route add fd00:1::200 via 2001:db8::2
    ip -n out addr add 10.1.0.200/32 dev lo; ip -n out addr add fd00:1::200/128 dev lo nodad
    ip -n out route add 10.1.0.5 via 192.0.2.1; ip -n out -6 route add fd00:1::5 via 2001:db8::1
    ip -n pod route add 10.1.0.200 via 10.1.0.1; ip -n pod -6 route add fd00:1::200 via fd00:1::1
    ip -n pod route add default via 10.1.0.1; ip -n pod -6 route add default via fd00:1::1`)
  const script = `Bun.serve({ hostname: '::', port: 7777,
    fetch: (request, server) => new Response(server.requestIP(request).address.replace('::ffff:', '')) })
    console.log('ready')`
  const server = execa('ip', ['netns', 'exec', 'out', process.execPath, '-e', script], { reject: false })
  await new Promise((ready) => server.stdout.once('data', ready))
  return {
    async [Symbol.asyncDispose]() {
      server.kill()
      await server
      // The links first: those that go with a namespace go some time after it, and their names are wanted again.
      run('ip link del pod0; ip link del out0; ip netns del pod; ip netns del out')
    },
  }
}

function errnoOf(work: () => void): string | undefined {
  return faultOf(work).errno
}
