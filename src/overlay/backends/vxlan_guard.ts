import { type Address, FAMILIES } from '../../core/address.ts'
import { hasAny } from '../../kernel/nftables/expressions/bits_and_ranges.ts'
import { ctState } from '../../kernel/nftables/expressions/ct.ts'
import { fibType, hasReversePath } from '../../kernel/nftables/expressions/fib.ts'
import { inSet, notInSet } from '../../kernel/nftables/expressions/lookup.ts'
import { equals } from '../../kernel/nftables/expressions/match.ts'
import { iifname, isFamily } from '../../kernel/nftables/expressions/meta.ts'
import { daddr, saddr } from '../../kernel/nftables/expressions/payload.ts'
import { counter, limit, update } from '../../kernel/nftables/expressions/statements.ts'
import { dport } from '../../kernel/nftables/expressions/transport.ts'
import { back, drop, goto } from '../../kernel/nftables/expressions/verdicts.ts'
import type { NftRule } from '../../kernel/nftables/objects.ts'
import { addressOf, type GuardRules, type LocalNode } from '../backend.ts'
import { NODE_SETS, STRANGER_SETS } from '../guard.ts'
import { linkWith } from '../underlay.ts'

/*
 * What becomes of UDP to the port of VXLAN:
 *   vxlan-input    to this node: only from the address of a node, to the address by which nodes know this one, by a link that leads there
 *   vxlan-output   to another node: only from this node or another one. So what a pod sends never gets there with the address of this
 *                  node, whatever masquerades it. Behind every translation of the destination, and before any of the source.
 * That needs no knowledge of which links are pods': other plugins' pods and containers that are none are no nodes either. Programs in the
 * network of the node itself can send what they want.
 *
 * The chains are of type nat: the kernel asks them about the first packet of a connection only, and one that is dropped begins none. So
 * they cost nothing a packet. The same rules in chains of type filter at input and forward took 5.2 % of the round trips between pods of
 * two nodes (the set alone at input 1.8 %, an empty chain at each 0.6 to 1.4 %), these none (1.000 in the same run). For that, connections
 * of a node that has left must be forgotten, see `forgetStrangers`, and a program that exempts the port from connection tracking (notrack)
 * turns the guard off. Nor can the rules make an exception for the network identifier of another program's VXLAN: a connection that
 * began with one could go on with ours.
 */

/** Names of strangers that are remembered a second: whoever has many cannot fill the memory. */
const REMEMBERED_A_SECOND = 5

/** Returns the rules of a node that has a VXLAN link. */
export function vxlanGuard(node: LocalNode): GuardRules {
  // The kernel tracks connections only where some rule asks about them.
  const begins: NftRule = [equals(dport('udp'), node.config.port), hasAny(ctState, ['new', 'related'])]
  const own = FAMILIES.flatMap((family) => addressOf(node, family) ?? [])
  return {
    'vxlan-sources': [
      ...own.flatMap((address) => acceptedAt(address, node)),
      ...FAMILIES.map(
        (family): NftRule => [
          isFamily(family),
          limit(REMEMBERED_A_SECOND, 'second'),
          update(STRANGER_SETS[family], saddr(family)),
        ],
      ),
      // On its own: behind a set that is full, a rule ends.
      [counter, drop],
    ],
    'vxlan-destinations': [
      ...FAMILIES.map((family): NftRule => [notInSet(daddr(family), NODE_SETS[family]), back]),
      [equals(fibType('saddr'), 'local'), back],
      ...FAMILIES.map((family): NftRule => [inSet(saddr(family), NODE_SETS[family]), back]),
      [counter, drop],
    ],
    'vxlan-input': [[...begins, goto('vxlan-sources')]],
    'vxlan-output': [[...begins, goto('vxlan-destinations')]],
  }
}

/**
 * By the link with the node's address, whatever the routing table says: a node with several links may answer by another one. A node whose
 * address is on none of its links is behind a router that translates: packets to it have another address.
 */
function acceptedAt(own: Address, node: LocalNode): NftRule[] {
  const { family } = own
  const isFromNode = inSet(saddr(family), NODE_SETS[family])
  const link = linkWith(node, own)
  if (!link) return [[isFromNode, hasReversePath(), back]]
  const isToUs = equals(daddr(family), own)
  return [
    [isFromNode, isToUs, equals(iifname, link.name), back],
    [isFromNode, isToUs, hasReversePath(), back],
  ]
}
