import {
  type Cidr,
  contains,
  FAMILIES,
  type Family,
  formatCidr,
  networkOf,
  sameCidr,
} from '../../../core/address.ts'
import { ignoreErrnos } from '../../../core/errors.ts'
import { distinct } from '../../../core/text.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { ipPrefix } from '../../../kernel/nftables/datatypes.ts'
import { vmap } from '../../../kernel/nftables/expressions/lookup.ts'
import { masquerade } from '../../../kernel/nftables/expressions/masquerade.ts'
import { within } from '../../../kernel/nftables/expressions/match.ts'
import { daddr, saddr } from '../../../kernel/nftables/expressions/payload.ts'
import { back } from '../../../kernel/nftables/expressions/verdicts.ts'
import {
  type NftChain,
  type NftCommand,
  type NftElement,
  type NftSet,
  removeChain,
  removeElements,
} from '../../../kernel/nftables/objects.ts'
import { type NftVerdict, verdict } from '../../../kernel/nftables/verdict.ts'
import type { Desired } from '../../../state/desired.ts'
import { createNft } from '../../../state/nft.ts'
import { POD_TABLE, removeUnusedTable } from '../nftables.ts'

/*
 * Masquerading is written once a subnet, however many pods are in it:
 *   masquerade-pods:    ip saddr vmap @subnets4      one look-up a packet (and the same for family 6)
 *   subnets4:           10.1.0.0/24 : goto subnet-10.1.0.0/24
 *   subnet-10.1.0.0/24: ip daddr 10.1.0.0/24 return; ip daddr 224.0.0.0/4 return; masquerade
 * An ADD asks for the element of its subnet, and writes only if it is missing. The kernel takes no prefix that overlaps
 * another one: of two subnets, one within the other, the map has the wider.
 */
const SOURCE_NAT = 100
const MAPS: Record<Family, NftSet<Cidr, NftVerdict>> = {
  4: { table: POD_TABLE, name: 'subnets4', key: ipPrefix(4), data: verdict },
  6: { table: POD_TABLE, name: 'subnets6', key: ipPrefix(6), data: verdict },
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
export function isMasqueraded({ nftables }: Kernel, cidrs: readonly Cidr[]): boolean {
  return cidrs.every((cidr) => nftables.hasElement(MAPS[cidr.address.family], elementOf(networkOf(cidr))))
}

/** Returns all subnets that are masqueraded on the node. */
export function listMasquerade({ nftables }: Kernel): MasqueradedSubnet[] {
  return FAMILIES.flatMap((family) => nftables.elements(MAPS[family])).flatMap(
    ({ key: subnet, data, comment = '' }) => {
      const isOurs = typeof data === 'object' && 'goto' in data && data.goto.startsWith(CHAIN_PREFIX)
      return isOurs ? [{ subnet, network: comment.slice(COMMENT_PREFIX.length) }] : []
    },
  )
}

/**
 * Masquerades the wanted subnets in place of the present ones, in one transaction. `more` are commands that go with it.
 * The caller holds the lock of masquerading.
 */
export function replaceMasquerade(
  { nftables }: Kernel,
  present: readonly MasqueradedSubnet[],
  wanted: readonly MasqueradedSubnet[],
  more: readonly NftCommand[] = [],
): void {
  const { outer, gone, missing } = compareSubnets(present, wanted)
  const unused = gone.filter(({ subnet }) => !outer.some((other) => sameCidr(other.subnet, subnet)))
  nftables.apply([
    ...gone.map(removeElement),
    ...(missing.length > 0 ? createNft([baseObject()]) : []),
    ...createNft(missing.flatMap((one) => subnetObjects(one, []))),
    ...unused.flatMap(({ subnet }) => removeChain(subnetChain(subnet))),
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
export function hasMasquerade({ nftables }: Kernel): boolean {
  return nftables.hasChain(baseChain())
}

/**
 * Removes what all subnets have in common, and the table unless another feature is in it; before that the chains of these
 * subnets, in case that somebody has removed their elements. The caller holds the lock of masquerading.
 */
export function removeUnusedMasquerade(kernel: Kernel, subnets: readonly Cidr[]): void {
  const { nftables } = kernel
  for (const subnet of distinct(subnets.map(networkOf), formatCidr)) {
    ignoreErrnos(['ENOENT', 'EBUSY'], () => nftables.apply(removeChain(subnetChain(subnet))))
  }
  ignoreErrnos(['ENOENT', 'EBUSY'], () =>
    nftables.apply([
      ...removeChain(baseChain()),
      ...FAMILIES.map((family): NftCommand => ({ op: 'removeSet', set: MAPS[family], elements: true })),
    ]),
  )
  removeUnusedTable(kernel)
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
    chain: baseChain(),
    base: [
      { op: 'ensureTable', table: POD_TABLE },
      ...FAMILIES.map((family): NftCommand => ({ op: 'ensureSet', set: MAPS[family] })),
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
  return [
    {
      kind: 'nftChain',
      chain,
      otherwise: `the rules that masquerade ${text} are missing in nftables chain ${chain.name}`,
    },
    {
      kind: 'nftElement',
      set: MAPS[subnet.address.family],
      element: { ...elementOf(subnet), comment: `${COMMENT_PREFIX}${network}` },
      obstacles: present.filter((one) => contains(subnet, one.subnet.address)).map(removeElement),
      otherwise: `${text} is not masqueraded: its nftables element`,
    },
  ]
}

function baseChain(): NftChain {
  return {
    table: POD_TABLE,
    name: 'masquerade-pods',
    hook: { type: 'nat', hook: 'postrouting', priority: SOURCE_NAT },
    rules: FAMILIES.map((family) => [vmap(saddr(family), MAPS[family])]),
  }
}

/** What stays in the subnet, and multicast, keeps its source. */
function subnetChain(subnet: Cidr): NftChain {
  const { family } = subnet.address
  const destination = daddr(family)
  return {
    table: POD_TABLE,
    name: chainName(subnet),
    rules: [
      [within(destination, subnet), back],
      [within(destination, MULTICAST[family]), back],
      [masquerade],
    ],
  }
}

/** nft reads no name with colons. */
function chainName(subnet: Cidr): string {
  return `${CHAIN_PREFIX}${formatCidr(subnet).replaceAll(':', '-')}`
}

function removeElement({ subnet }: MasqueradedSubnet): NftCommand {
  return removeElements(MAPS[subnet.address.family], { key: subnet })
}

function elementOf(subnet: Cidr): NftElement<Cidr, NftVerdict> {
  return { key: subnet, data: { goto: chainName(subnet) } }
}
