import { execa } from 'execa'
import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Address, type Family, parseAddress, parseCidr } from '../../../src/core/address.ts'
import { LinuxNftables } from '../../../src/kernel/linux/nft.ts'
import { ipAddress } from '../../../src/kernel/nftables/datatypes.ts'
import { describeNftCommand } from '../../../src/kernel/nftables/describe.ts'
import { vmap } from '../../../src/kernel/nftables/expressions/lookup.ts'
import { within } from '../../../src/kernel/nftables/expressions/match.ts'
import { masqueradeTo } from '../../../src/kernel/nftables/expressions/nat.ts'
import { daddr, saddr } from '../../../src/kernel/nftables/expressions/payload.ts'
import { back } from '../../../src/kernel/nftables/expressions/verdicts.ts'
import {
  addElements,
  type NftCommand,
  type NftRule,
  type NftSet,
  type NftTable,
  removeElements,
  replaceChain,
} from '../../../src/kernel/nftables/objects.ts'
import { type NftVerdict, verdict } from '../../../src/kernel/nftables/verdict.ts'
import { faultOf } from '../../support/fault_of.ts'
import { NFT_FRAME, nftCommands } from '../../support/nft_commands.ts'
import { enterPrivateNamespaces, run } from '../../support/node/private_namespaces.ts'

const nftables = new LinuxNftables()
const apply = (commands: readonly NftCommand[]) => nftables.apply(commands)

const table: NftTable = { family: 'inet', name: 'bowline' }
const chain = 'net-0123456789abcdef'
const map = (family: Family): NftSet<Address, NftVerdict> => ({
  table,
  name: `masquerade${family}`,
  key: ipAddress(family),
  data: verdict,
})
const MULTICAST = { 4: '224.0.0.0/4', 6: 'ff00::/8' } as const

const ensureMap = (set: NftSet<unknown, unknown>): NftCommand => ({ op: 'ensureSet', set })
const chainOp = (op: 'flushChain' | 'removeChain' | 'ensureChain', name: string): NftCommand => ({
  op,
  chain: { table, name },
})
const add = (text: string, goto = chain, comment = 'id eth0'): NftCommand => {
  const key = parseAddress(text)
  return addElements(map(key.family), { key, data: { goto }, comment })
}
const remove = (text: string): NftCommand => {
  const key = parseAddress(text)
  return removeElements(map(key.family), { key })
}

const emptyFrame: NftCommand[] = [
  { op: 'ensureTable', table },
  ensureMap(map(4)),
  ensureMap(map(6)),
  chainOp('ensureChain', chain),
]

/** The rules that the pod network uses, for one subnet of each family. */
const frame: NftCommand[] = [
  ...emptyFrame,
  ...replaceChain({
    table,
    name: chain,
    rules: [
      ...(['10.1.0.0/24', 'fd00:1::/61'] as const).map(parseCidr).flatMap((subnet): NftRule[] => {
        const destination = daddr(subnet.address.family)
        return [
          [within(destination, subnet), back],
          [within(destination, parseCidr(MULTICAST[subnet.address.family])), back],
        ]
      }),
      [masqueradeTo({})],
    ],
  }),
  ...replaceChain({
    table,
    name: 'postrouting',
    hook: { type: 'nat', hook: 'postrouting', priority: 100 },
    rules: [[vmap(saddr(4), map(4))], [vmap(saddr(6), map(6))]],
  }),
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
    apply([...frame, add('10.1.0.5'), add('fd00:1::5')])
    expect(run('nft list ruleset')).toBe(listing)
  })

  it('keeps a comment of any length and alphabet listable', () => {
    apply([...emptyFrame, add('10.1.0.5', chain, `"${'é'.repeat(200)}`)])
    const { nftables } = JSON.parse(run('nft -j list map inet bowline masquerade4'))
    expect(nftables[1].map.elem[0][0].elem.comment).toBe(`_${'é'.repeat(63)}`)
  })
})

describe('a transaction', () => {
  it('reports the first refusal even when there are more than the socket can hold', () => {
    apply(emptyFrame)
    const many = Array.from({ length: 3000 }, (_, i) => remove(`10.1.${i >> 8}.${i & 255}`))
    const fault = faultOf(() => apply([{ op: 'ensureTable', table }, ...many]))
    expect(fault.message).toContain('delete element inet bowline masquerade4 { 10.1.0.0 }: ENOENT')
  })

  it('stands beside those of other processes', async () => {
    apply(emptyFrame)
    const others = Array.from({ length: 3 }, (_, other) => {
      const lines = Array.from({ length: 100 }, (_, i) => {
        return `nft add element inet bowline masquerade4 '{ 10.${other + 2}.0.${i} : goto ${chain} }'`
      })
      return execa('sh', ['-ec', lines.join('\n')])
    })
    for (let i = 0; i < 100; i++) {
      apply([add(`10.1.0.${i}`)])
      await Bun.sleep(1)
    }
    await Promise.all(others)
    expect(JSON.parse(run('nft -j list map inet bowline masquerade4')).nftables[1].map.elem).toHaveLength(400)
  })
})

/** Returns whether the frame has such a chain or set. The rules of masquerading have a test of their own. */
function isOfFrame(name: string): boolean {
  return NFT_FRAME.some(
    (command) =>
      (command.op === 'ensureSet' && command.set.name === name) ||
      (command.op === 'ensureChain' && command.chain.name === name),
  )
}

describe('each expression and each kind of set', () => {
  const ours = nftCommands.filter((command) => {
    if (command.op === 'addRule')
      return isOfFrame(command.chain.name) && !command.rule.some(({ set }) => set && !isOfFrame(set))
    return command.op === 'addElements' && isOfFrame(command.set.name)
  })

  it.each(ours.map((command) => [describeNftCommand(command), command] as const))(
    'is listed by nft as if nft had made it: %s',
    (words, command) => {
      apply([...NFT_FRAME, command])
      const [text, json] = [listRuleset(), run('nft -j list ruleset')]
      run('nft flush ruleset')
      apply(NFT_FRAME)
      run(`nft '${words}'`)
      expect(text).toBe(listRuleset())
      expect(withoutHandles(json)).toEqual(withoutHandles(run('nft -j list ruleset')))
    },
  )

  it('is made as nft makes the tables, chains and sets around it', () => {
    apply(NFT_FRAME)
    const text = run('nft list ruleset')
    run(`nft flush ruleset; nft '${NFT_FRAME.map(describeNftCommand).join('\n')}'`)
    expect(text).toBe(run('nft list ruleset'))
  })

  it('is found again in the chain that it was put into', () => {
    for (const command of ours) {
      // The kernel puts a number into the name of a rule's own map, and a flag of its own beside those of a translation.
      const isChanged = / vmap \{| [ds]nat .*(:\d|random)/.test(describeNftCommand(command))
      if (command.op !== 'addRule' || isChanged) continue
      apply([...NFT_FRAME, command])
      expect([
        describeNftCommand(command),
        nftables.hasChain({ ...chainOf(command.chain.name), rules: [command.rule] }),
      ]).toEqual([describeNftCommand(command), true])
      run('nft flush ruleset')
    }
  })
})

function chainOf(name: string) {
  const found = NFT_FRAME.find((command) => command.op === 'ensureChain' && command.chain.name === name)
  return (found as Extract<NftCommand, { op: 'ensureChain' }>).chain
}

/** Lists the ruleset without how long its elements have to live. */
function listRuleset(): string {
  return run('nft list ruleset').replace(/ expires \w+/g, '')
}

function withoutHandles(json: string): unknown {
  return JSON.parse(json, (key, value) =>
    ['handle', 'metainfo', 'expires'].includes(key) ? undefined : value,
  )
}
