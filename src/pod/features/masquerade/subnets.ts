import { type Cidr, contains, FAMILIES, formatCidr, networkOf, sameCidr } from '../../../core/address.ts'
import { ignoreErrnos } from '../../../core/errors.ts'
import { distinct } from '../../../core/text.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { ipPrefix } from '../../../kernel/nftables/datatypes.ts'
import { MAX_COMMENT_BYTES } from '../../../kernel/nftables/elements.ts'
import { inSet } from '../../../kernel/nftables/expressions/lookup.ts'
import { masqueradeTo } from '../../../kernel/nftables/expressions/nat.ts'
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
import type { NftVerdict } from '../../../kernel/nftables/verdict.ts'
import type { Desired } from '../../../state/desired.ts'
import { createNft } from '../../../state/nft.ts'
import { CLUSTER_SETS } from '../../../state/own_table.ts'
import { POD_TABLE } from '../nftables.ts'
import { type MasqueradedSubnet, ownerOf, type SubnetRules } from './settings.ts'
import { baseObject, EXEMPT_SETS, removeBase, SUBNET_MAPS } from './shared.ts'

/*
 * Masquerading is written once a subnet, however many pods are in it:
 *   masquerade-pods: ip saddr vmap @subnets4         one look-up a connection (and the same for family 6)
 *   subnets4:        10.1.0.0/24 : goto subnet-10.1.0.0/24-default
 *   subnet-…:        ip daddr @subnet-… return       what the networks of the subnet reach by the pods' own addresses
 *                    ip daddr @cluster4 return       the same of the cluster; the agent fills it
 *                    ip saddr @exempt4 return        pods that have asked for it
 *                    masquerade fully-random
 * The kernel asks chains of type nat about the first packet of a connection only, so whatever changes here, a connection keeps what it has.
 * The name of the chain says what is in it: an ADD asks for the element of its subnet, and writes only if that leads elsewhere. Of two
 * subnets, one within the other, the map has the wider.
 */
const CHAIN_PREFIX = 'subnet-'
/** Characters of a network's name that the comment of a subnet has room for. */
const MAX_NAME = MAX_COMMENT_BYTES - ownerOf('').length

/** As it is in the kernel. */
export type PresentSubnet = MasqueradedSubnet & { readonly chain: string }

/** As it is to be. */
export type WantedSubnet = PresentSubnet & { readonly rules?: SubnetRules }

/** Returns the subnet of an address, with the name of its network as far as the kernel keeps it. */
export function masqueradedSubnet(cidr: Cidr, network: string): MasqueradedSubnet {
  return { subnet: networkOf(cidr), network: network.slice(0, MAX_NAME) }
}

/** Returns a subnet with these rules. */
export function withRules({ subnet, network }: MasqueradedSubnet, rules: SubnetRules): WantedSubnet {
  return { subnet, network, chain: chainName(subnet, rules.digest), rules }
}

/** Returns what the rules of a subnet in the kernel were made from. */
export function digestOf({ subnet, chain }: PresentSubnet): string {
  return chain.slice(chainName(subnet, '').length)
}

/** Returns whether the map leads from each of these subnets to its very chain. */
export function isMasqueraded({ nftables }: Kernel, subnets: readonly PresentSubnet[]): boolean {
  return subnets.every((one) => nftables.hasElement(mapOf(one), elementOf(one)))
}

/** Returns whether pods of this subnet are masqueraded, in whatever way. */
export function isInMap({ nftables }: Kernel, subnet: Cidr): boolean {
  return nftables.hasElement(SUBNET_MAPS[subnet.address.family], { key: subnet })
}

/** Returns all subnets that are masqueraded on the node. */
export function listMasquerade({ nftables }: Kernel): PresentSubnet[] {
  return FAMILIES.flatMap((family) => nftables.elements(SUBNET_MAPS[family])).flatMap(
    ({ key: subnet, data, comment = '' }) => {
      const chain = typeof data === 'object' && 'goto' in data ? data.goto : ''
      return chain.startsWith(CHAIN_PREFIX)
        ? [{ subnet, network: comment.slice(ownerOf('').length), chain }]
        : []
    },
  )
}

/**
 * Masquerades the wanted subnets in place of the present ones, in one transaction. `more` are commands that go with it.
 * The caller holds the lock of masquerading.
 */
export function replaceMasquerade(
  { nftables }: Kernel,
  present: readonly PresentSubnet[],
  wanted: readonly WantedSubnet[],
  more: readonly NftCommand[] = [],
): void {
  const { outer, gone, missing } = compareSubnets(present, wanted)
  const unused = gone.filter(({ chain }) => !outer.some((other) => other.chain === chain))
  nftables.apply([
    ...gone.map(removeElement),
    ...(missing.length > 0 ? createNft([baseObject()]) : []),
    ...missing.flatMap((one) => [...emptySubnet(one), ...createNft(subnetObjects(one, []))]),
    ...unused.flatMap(removeSubnet),
    ...more,
  ])
}

/** Returns whether the present subnets are just those that the wanted ones need. */
export function holdsMasquerade(present: readonly PresentSubnet[], wanted: readonly WantedSubnet[]): boolean {
  const { gone, missing } = compareSubnets(present, wanted)
  return gone.length + missing.length === 0
}

/**
 * Removes what all subnets have in common; before that the chains of these subnets, in case that somebody has removed their elements.
 * The caller holds the lock of masquerading.
 */
export function removeUnusedMasquerade(kernel: Kernel, subnets: readonly PresentSubnet[]): void {
  for (const one of distinct(subnets, ({ chain }) => chain)) {
    ignoreErrnos(['ENOENT', 'EBUSY'], () => kernel.nftables.apply(removeSubnet(one)))
  }
  removeBase(kernel)
}

/** Returns the nftables objects of a subnet. `present`: all that are masqueraded, as they may be in its way. */
export function subnetObjects(one: WantedSubnet, present: readonly PresentSubnet[]): Desired[] {
  const { subnet, network, rules } = one
  if (!rules) return []
  const text = formatCidr(subnet)
  const overlapping = present.filter((other) => contains(subnet, other.subnet.address))
  return [
    {
      kind: 'prefixSet',
      set: setOf(one),
      elements: rules.direct,
      words: `what pods of ${text} reach by their own addresses`,
    },
    {
      kind: 'nftChain',
      chain: subnetChain(one, rules),
      otherwise: `the rules that masquerade ${text} are missing in nftables chain ${one.chain}`,
    },
    {
      kind: 'nftElement',
      set: mapOf(one),
      element: { ...elementOf(one), comment: ownerOf(network) },
      obstacles: [
        ...overlapping.map(removeElement),
        ...overlapping.filter(({ chain }) => chain !== one.chain).flatMap(removeSubnet),
      ],
      otherwise: `${text} is not masqueraded: its nftables element`,
    },
  ]
}

/** Prefixes are disjoint, or one holds the other: the widest of each hold all of them. The first of two equal ones counts. */
export function outermost<T extends MasqueradedSubnet>(all: readonly T[]): T[] {
  const unique = distinct(all, ({ subnet }) => formatCidr(subnet))
  return unique.filter(
    ({ subnet }) =>
      !unique.some((one) => one.subnet.prefix < subnet.prefix && contains(one.subnet, subnet.address)),
  )
}

export function isSameSubnet(a: MasqueradedSubnet, b: MasqueradedSubnet): boolean {
  return a.network === b.network && sameCidr(a.subnet, b.subnet)
}

function compareSubnets(present: readonly PresentSubnet[], wanted: readonly WantedSubnet[]) {
  const outer = outermost(wanted)
  const isSame = (a: PresentSubnet, b: PresentSubnet) => isSameSubnet(a, b) && a.chain === b.chain
  return {
    outer,
    gone: present.filter((one) => !outer.some((other) => isSame(one, other))),
    missing: outer.filter((one) => !present.some((other) => isSame(one, other))),
  }
}

/** Whatever is there of the set and the chain, it begins anew. */
function emptySubnet(one: PresentSubnet): NftCommand[] {
  const set = setOf(one)
  return [
    { op: 'ensureSet', set },
    { op: 'ensureChain', chain: { table: POD_TABLE, name: one.chain } },
    { op: 'flushChain', chain: { table: POD_TABLE, name: one.chain } },
    { op: 'removeSet', set, elements: true },
  ]
}

/** Before a chain's name said its rules, it had no set. */
function removeSubnet(one: PresentSubnet): NftCommand[] {
  const chain = removeChain({ table: POD_TABLE, name: one.chain })
  return digestOf(one) === '' ? chain : [...chain, { op: 'removeSet', set: setOf(one), elements: true }]
}

function subnetChain(one: PresentSubnet, { keepsPorts }: SubnetRules): NftChain {
  const { family } = one.subnet.address
  return {
    table: POD_TABLE,
    name: one.chain,
    rules: [
      [inSet(daddr(family), setOf(one)), back],
      [inSet(daddr(family), CLUSTER_SETS[family]), back],
      [inSet(saddr(family), EXEMPT_SETS[family]), back],
      [masqueradeTo({ flags: keepsPorts ? [] : ['fully-random'] })],
    ],
  }
}

/** It has the name of the chain that looks into it. */
function setOf({ subnet, chain }: PresentSubnet): NftSet<Cidr> {
  return { table: POD_TABLE, name: chain, key: ipPrefix(subnet.address.family) }
}

/** nft reads no name with colons. */
function chainName(subnet: Cidr, digest: string): string {
  return `${CHAIN_PREFIX}${formatCidr(subnet).replaceAll(':', '-')}-${digest}`
}

function mapOf({ subnet }: MasqueradedSubnet): NftSet<Cidr, NftVerdict> {
  return SUBNET_MAPS[subnet.address.family]
}

function removeElement(one: MasqueradedSubnet): NftCommand {
  return removeElements(mapOf(one), { key: one.subnet })
}

function elementOf({ subnet, chain }: PresentSubnet): NftElement<Cidr, NftVerdict> {
  return { key: subnet, data: { goto: chain } }
}
