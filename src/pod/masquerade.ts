import {
  addressBytes,
  addressFromBytes,
  type Cidr,
  contains,
  type Family,
  formatCidr,
  networkOf,
  sameCidr,
} from '../core/address.ts'
import { ignoreErrnos } from '../core/errors.ts'
import { distinct } from '../core/text.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { NftChain, NftCommand, NftElementRef, NftExpression } from '../kernel/nftables/commands.ts'
import type { Desired } from '../state/desired.ts'
import { createNft } from '../state/nft.ts'

/*
 * Masquerading is said once a subnet, however many pods are in it:
 *   masquerade-pods:    ip saddr vmap @subnets4      one look-up a packet (and the same for family 6)
 *   subnets4:           10.1.0.0/24 : goto subnet-10.1.0.0/24
 *   subnet-10.1.0.0/24: ip daddr 10.1.0.0/24 return; ip daddr 224.0.0.0/4 return; masquerade
 * An ADD asks for the element of its subnet, and writes only if it is missing. The kernel takes no prefix that overlaps
 * another one: of two subnets, one within the other, the map has the wider.
 */
const TABLE = 'bowline'
const SOURCE_NAT = 100
const FAMILIES: readonly Family[] = [4, 6]
const MAPS = { 4: 'subnets4', 6: 'subnets6' }
const BASE: NftChain = {
  table: TABLE,
  chain: 'masquerade-pods',
  hook: { type: 'nat', hook: 'postrouting', priority: SOURCE_NAT },
  rules: FAMILIES.map((family) => [{ match: 'saddrVmap', family, map: MAPS[family] }]),
}
/** 224.0.0.0/4 and ff00::/8. Not parsed: that would cost every call of the plugin, also one without masquerading. */
const MULTICAST: Record<Family, Cidr> = {
  4: { address: { family: 4, value: 0xe0n << 24n }, prefix: 4 },
  6: { address: { family: 6, value: 0xffn << 120n }, prefix: 8 },
}
const CHAIN_PREFIX = 'subnet-'
const COMMENT_PREFIX = 'network '
/** Characters of a network's name in a comment: the kernel keeps no more than 127 bytes. */
const MAX_NAME = 119

/** A subnet that is masqueraded, and the network that it was made for; other networks may share it. */
export type MasqueradedSubnet = { readonly subnet: Cidr; readonly network: string }

/** Returns the subnet of an address, with the name of its network as far as the kernel keeps it. */
export function masqueradedSubnet(cidr: Cidr, network: string): MasqueradedSubnet {
  return { subnet: networkOf(cidr), network: network.slice(0, MAX_NAME) }
}

/** Returns whether each of these addresses (with the prefix of its subnet) has an element for its very subnet. */
export function isMasqueraded(kernel: Kernel, cidrs: readonly Cidr[]): boolean {
  return cidrs.every((cidr) => {
    const subnet = networkOf(cidr)
    return kernel.hasNftElement({ ...elementRef(subnet), ofChain: chainName(subnet) })
  })
}

/** Returns all subnets that are masqueraded on the node. */
export function listMasquerade(kernel: Kernel): MasqueradedSubnet[] {
  const elements = FAMILIES.flatMap((family) => kernel.nftElements({ table: TABLE, map: MAPS[family] }))
  return elements.flatMap(({ key, goto, comment = '' }) => {
    if (!goto.startsWith(CHAIN_PREFIX)) return []
    const prefix = Number(goto.slice(goto.lastIndexOf('/') + 1))
    return [
      { subnet: { address: addressFromBytes(key), prefix }, network: comment.slice(COMMENT_PREFIX.length) },
    ]
  })
}

/**
 * Masquerades the wanted subnets in place of the present ones, in one transaction. `more` are commands that go with it.
 * The caller holds the lock of masquerading.
 */
export function replaceMasquerade(
  kernel: Kernel,
  present: readonly MasqueradedSubnet[],
  wanted: readonly MasqueradedSubnet[],
  more: readonly NftCommand[] = [],
): void {
  const { outer, gone, missing } = compareSubnets(present, wanted)
  const unused = gone.filter(({ subnet }) => !outer.some((other) => sameCidr(other.subnet, subnet)))
  kernel.nft([
    ...gone.map(({ subnet }): NftCommand => ({ op: 'removeElement', ...elementRef(subnet) })),
    ...(missing.length > 0 ? createNft([baseObject()]) : []),
    ...createNft(missing.flatMap((one) => subnetObjects(one, []))),
    ...unused.flatMap(({ subnet }) => removeChain(chainName(subnet))),
    ...more,
  ])
}

/** Returns whether the present subnets are just those that the wanted ones need. */
export function holdsMasquerade(
  present: readonly MasqueradedSubnet[],
  wanted: readonly MasqueradedSubnet[],
): boolean {
  const { gone, missing } = compareSubnets(present, wanted)
  return gone.length + missing.length === 0
}

/** Returns whether the node has what all subnets have in common. */
export function hasMasquerade(kernel: Kernel): boolean {
  return kernel.hasNftChain(BASE)
}

/**
 * Removes what all subnets have in common, and the table when nothing else is in it; before that the chains of these
 * subnets, in case that somebody has removed their elements. The caller holds the lock of masquerading.
 */
export function removeUnusedMasquerade(kernel: Kernel, subnets: readonly Cidr[]): void {
  for (const name of new Set(subnets.map((cidr) => chainName(networkOf(cidr))))) {
    ignoreErrnos(['ENOENT', 'EBUSY'], () => kernel.nft(removeChain(name)))
  }
  ignoreErrnos(['ENOENT', 'EBUSY'], () =>
    kernel.nft([
      ...removeChain(BASE.chain),
      ...FAMILIES.map(
        (family): NftCommand => ({ op: 'removeMap', table: TABLE, map: MAPS[family], elements: true }),
      ),
      { op: 'removeTable', table: TABLE },
    ]),
  )
}

/** Returns the nftables objects of the masquerading of these addresses. */
export function masqueradeObjects(kernel: Kernel, network: string, cidrs: readonly Cidr[]): Desired[] {
  const present = listMasquerade(kernel)
  const subnets = outermost([...present, ...cidrs.map((cidr) => masqueradedSubnet(cidr, network))])
  const used = subnets.filter(({ subnet }) => cidrs.some(({ address }) => contains(subnet, address)))
  return [baseObject(), ...used.flatMap((one) => subnetObjects(one, present))]
}

/** Prefixes are disjoint, or one holds the other: the widest of each hold all of them. The first of two equal ones counts. */
function outermost(all: readonly MasqueradedSubnet[]): MasqueradedSubnet[] {
  const unique = distinct(all, ({ subnet }) => formatCidr(subnet))
  return unique.filter(
    ({ subnet }) =>
      !unique.some((one) => one.subnet.prefix < subnet.prefix && contains(one.subnet, subnet.address)),
  )
}

function compareSubnets(present: readonly MasqueradedSubnet[], wanted: readonly MasqueradedSubnet[]) {
  const outer = outermost(wanted)
  return {
    outer,
    gone: present.filter((one) => !outer.some((other) => isSame(one, other))),
    missing: outer.filter((one) => !present.some((other) => isSame(one, other))),
  }
}

function isSame(a: MasqueradedSubnet, b: MasqueradedSubnet): boolean {
  return a.network === b.network && sameCidr(a.subnet, b.subnet)
}

function baseObject(): Desired {
  return {
    kind: 'nftChain',
    chain: BASE,
    base: [
      { op: 'ensureTable', table: TABLE },
      ...FAMILIES.map(
        (family): NftCommand => ({
          op: 'ensureMap',
          table: TABLE,
          map: MAPS[family],
          key: family === 4 ? 'ipv4_addr' : 'ipv6_addr',
          interval: true,
        }),
      ),
    ],
    otherwise: 'the rules that masquerade pods are missing in table inet bowline',
  }
}

function subnetObjects(
  { subnet, network }: MasqueradedSubnet,
  present: readonly MasqueradedSubnet[],
): Desired[] {
  const chain = subnetChain(subnet)
  const text = formatCidr(subnet)
  const within = present.filter((one) => contains(subnet, one.subnet.address))
  return [
    {
      kind: 'nftChain',
      chain,
      otherwise: `the rules that masquerade ${text} are missing in nftables chain ${chain.chain}`,
    },
    {
      kind: 'nftElement',
      element: { ...elementRef(subnet), goto: chain.chain, comment: `${COMMENT_PREFIX}${network}` },
      obstacles: within.map((one): NftCommand => ({ op: 'removeElement', ...elementRef(one.subnet) })),
      otherwise: `${text} is not masqueraded: its nftables element`,
    },
  ]
}

/** What leaves a subnet. What stays in it, and multicast, keeps its source. */
function subnetChain(subnet: Cidr): NftChain {
  return {
    table: TABLE,
    chain: chainName(subnet),
    rules: [
      [daddr(subnet), { verdict: 'return' }],
      [daddr(MULTICAST[subnet.address.family]), { verdict: 'return' }],
      [{ verdict: 'masquerade' }],
    ],
  }
}

/** Colons are for nft: a person could not type the name of the chain. */
function chainName(subnet: Cidr): string {
  return `${CHAIN_PREFIX}${formatCidr(subnet).replaceAll(':', '-')}`
}

function removeChain(chain: string): NftCommand[] {
  return [
    { op: 'flushChain', table: TABLE, chain },
    { op: 'removeChain', table: TABLE, chain },
  ]
}

function elementRef({ address, prefix }: Cidr): NftElementRef {
  return { table: TABLE, map: MAPS[address.family], key: addressBytes(address), prefix }
}

function daddr({ address, prefix }: Cidr): NftExpression {
  return { match: 'daddr', family: address.family, address: addressBytes(address), prefix }
}
