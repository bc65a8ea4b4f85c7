import { type Address, FAMILIES, type Family, formatAddress, hostCidr, sameAddress } from '../core/address.ts'
import { ipAddress, ipHost } from '../kernel/nftables/datatypes.ts'
import { type NftChain, type NftCommand, type NftSet, replaceChain } from '../kernel/nftables/objects.ts'
import type { Nftables } from '../kernel/nftables.ts'
import type { Traffic } from '../kernel/traffic.ts'
import type { DesiredPrefixSet } from '../state/desired.ts'
import { type Difference, dormancy, nftStep } from '../state/explain.ts'
import { TABLE } from '../state/own_table.ts'
import { holderAmong } from '../state/prefix_set.ts'
import type { GuardRules, LocalNode } from './backend.ts'
import type { ClusterNode } from './cluster.ts'
import { elementOf, emptySets, nextSets, type PrefixSets } from './cluster_sets.ts'

/*
 * A tunnel unpacks whatever comes to it, and what it unpacks counts as sent by a pod of the cluster. So a node with a tunnel has rules that
 * let through only what nodes send: see backends/vxlan_guard.ts. They look into sets of the nodes' addresses, which follow the cluster as
 * the routes do: an address is there before the first packet could come from it.
 */

/** Its number as a transport protocol. */
const UDP = 17

/** The addresses of the other nodes. */
export const NODE_SETS: Record<Family, DesiredPrefixSet['set']> = {
  4: { table: TABLE, name: 'nodes4', key: ipHost(4) },
  6: { table: TABLE, name: 'nodes6', key: ipHost(6) },
}

/** The sources of what was dropped last, so that a person can be told. */
export const STRANGER_SETS: Record<Family, NftSet<Address>> = {
  4: { table: TABLE, name: 'strangers4', key: ipAddress(4), timeoutMs: 600_000, dynamic: true },
  6: { table: TABLE, name: 'strangers6', key: ipAddress(6), timeoutMs: 600_000, dynamic: true },
}

/** Before all chains that may translate, which end the matter: connection tracking itself has -200. */
const FIRST = -190
const ALL_SETS = FAMILIES.flatMap((family) => [NODE_SETS[family], STRANGER_SETS[family]])
/** Those of all backends, so that they go when there is another one. What leads to a chain is behind it. */
const CHAINS: readonly Omit<NftChain, 'rules'>[] = [
  { table: TABLE, name: 'vxlan-sources' },
  { table: TABLE, name: 'vxlan-destinations' },
  { table: TABLE, name: 'vxlan-input', hook: { type: 'nat', hook: 'input', priority: FIRST } },
  { table: TABLE, name: 'vxlan-output', hook: { type: 'nat', hook: 'postrouting', priority: FIRST } },
]
/** The chains and sets of the guard, by their names in events. */
export const GUARD_NAMES: readonly string[] = [...CHAINS, ...ALL_SETS].map(({ name }) => name)

export type Guard = PrefixSets & {
  /** None where no link needs them. */
  readonly rules: GuardRules
}

/** Of a plan. */
type Guarded = { readonly guard: Guard; readonly node: LocalNode }

/** Returns the guard of a cluster without nodes. */
export function noGuard(): Guard {
  return { rules: {}, ...emptySets(NODE_SETS, 'addresses of nodes') }
}

/** Decides whether anything is guarded: otherwise neither chains nor sets are to be there. */
export function isGuarded({ rules }: Guard): boolean {
  return Object.keys(rules).length > 0
}

/** Returns the sets of addresses after some nodes have gone and others come. */
export function nextNodeSets(
  before: PrefixSets,
  node: LocalNode,
  gone: readonly ClusterNode[],
  come: readonly ClusterNode[],
): PrefixSets {
  const addressesIn = (nodes: readonly ClusterNode[]) => nodes.flatMap((one) => elementsOf(one, node))
  return nextSets(before, addressesIn(gone), addressesIn(come))
}

/** A packet with an address of this node comes from no other one. */
function elementsOf({ name, addresses }: ClusterNode, node: LocalNode): NodeElement[] {
  if (name === node.name) return []
  return addresses
    .filter((address) => !node.addresses.some((own) => sameAddress(own, address)))
    .map((address) => elementOf(name, hostCidr(address)))
}

type NodeElement = DesiredPrefixSet['elements'][number]

/** Compares the chains of a guard with what there is. Its sets are compared as those of the cluster are. */
export function differenceOfGuard(
  nftables: Nftables,
  { rules }: Guard,
): { readonly additions: readonly Difference[]; readonly removals: readonly Difference[] } {
  const wanted = CHAINS.flatMap((chain) => {
    const own = rules[chain.name]
    return own ? [{ ...chain, rules: own }] : []
  })
  if (wanted.length > 0) {
    const isThere = wanted.every((chain) => nftables.hasChain(chain))
    const asleep = nftables.isDormant(TABLE) ? [dormancy(TABLE)] : []
    return { additions: [...asleep, ...(isThere ? [] : [makingOf(wanted)])], removals: [] }
  }
  const isLeft = CHAINS.some((chain) => nftables.hasChain({ ...chain, rules: [] }))
  return { additions: [], removals: isLeft ? [REMOVAL] : [] }
}

/** In one transaction: at no time is a packet accepted that is to be dropped, nor the other way round. */
function makingOf(chains: readonly NftChain[]): Difference {
  return {
    what: 'the rules that accept tunnelled packets of nodes alone are missing or wrong in table inet bowline',
    steps: [nftStep([...frameOf(chains), ...chains.flatMap(replaceChain)])],
  }
}

/** Whatever of them is there: all are made first. */
const REMOVAL: Difference = {
  what: 'the rules that accept tunnelled packets of nodes alone are stale in table inet bowline',
  steps: [
    nftStep([
      ...frameOf(CHAINS),
      ...CHAINS.map((chain): NftCommand => ({ op: 'flushChain', chain })),
      ...CHAINS.map((chain): NftCommand => ({ op: 'removeChain', chain })),
      ...ALL_SETS.map((set): NftCommand => ({ op: 'removeSet', set, elements: true })),
    ]),
  ],
}

function frameOf(chains: readonly Omit<NftChain, 'rules'>[]): NftCommand[] {
  return [
    { op: 'ensureTable', table: TABLE },
    ...ALL_SETS.map((set): NftCommand => ({ op: 'ensureSet', set })),
    ...chains.map((chain): NftCommand => ({ op: 'ensureChain', chain })),
  ]
}

/** Which connections may be there that the rules would not let begin: of these families, by anybody if the rules are new. */
export type Forgetting = { readonly families: readonly Family[]; readonly isNew: boolean }

/**
 * Forgets connections to the port of the tunnel that others than nodes have begun, or all of them if the rules are new: the kernel asks the
 * rules about the first packet alone. Packets of nodes begin another one, and lose nothing.
 *
 * For each family the kernel walks its whole table, which takes 9 ms of a processor where that has 262,144 buckets. It refuses one question
 * for both that names a port (EOPNOTSUPP, 6.18).
 */
export function forgetStrangers(
  traffic: Traffic,
  { guard, node }: Guarded,
  { families, isNew }: Forgetting,
): void {
  const isKnown = (one: Address) =>
    node.addresses.some((own) => sameAddress(own, one)) || nodeWith(guard, one) !== undefined
  for (const family of families) {
    const all = traffic.connections({ family, protocol: UDP, port: node.config.port })
    traffic.forget(all.filter(({ client }) => isNew || !isKnown(client)))
  }
}

/** Of thousands of nodes the few that have sent something are looked up. */
function nodeWith({ sets }: Guard, address: Address): NodeElement | undefined {
  return sets.flatMap(({ elements }) => holderAmong(elements, hostCidr(address)) ?? [])[0]
}

/** What is said to people. */
export type Stranger = { readonly message: string; readonly hint: string }

/** So many are named. */
const MAX_STRANGERS = 8

/** Returns who has sent packets to the tunnel that were dropped, within the last ten minutes. */
export function strangersOf(nftables: Nftables, { guard, node: { config } }: Guarded): Stranger[] {
  if (!isGuarded(guard)) return []
  const sources = FAMILIES.flatMap((family) => nftables.elements(STRANGER_SETS[family]))
  return sources.slice(0, MAX_STRANGERS).map(({ key }) => {
    const text = formatAddress(key)
    const node = nodeWith(guard, key)
    const look = `tcpdump -ni any src ${text} and udp port ${config.port}`
    if (!node) {
      return {
        message: `${text} sends packets of the overlay to this node and is the address of no node of the cluster: they are dropped`,
        hint: `If it is a node, its Node must have this InternalIP: start its kubelet with --node-ip=${text}. If not, see what it sends: ${look}`,
      }
    }
    return {
      message: `packets of the overlay with the address of ${node.comment} (${text}) came by a link that does not lead there, or to another address than this node's: they are dropped`,
      hint: `If ${node.comment} sends them, correct the routes between both nodes (ip route get ${text}); if not, somebody forges them: ${look}`,
    }
  })
}
