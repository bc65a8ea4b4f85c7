import { type Address, type Cidr, contains, FAMILIES, type Family, hostCidr } from '../../../core/address.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import type { Expression } from '../../../kernel/nftables/expression.ts'
import { hasAny } from '../../../kernel/nftables/expressions/bits_and_ranges.ts'
import { ctDirection, ctStatus } from '../../../kernel/nftables/expressions/ct.ts'
import { fibType } from '../../../kernel/nftables/expressions/fib.ts'
import { inSet } from '../../../kernel/nftables/expressions/lookup.ts'
import { mapped } from '../../../kernel/nftables/expressions/maps.ts'

import { differs, equals, outside, within } from '../../../kernel/nftables/expressions/match.ts'
import { iifname, isFamily } from '../../../kernel/nftables/expressions/meta.ts'
import { dnatBy, masqueradeTo } from '../../../kernel/nftables/expressions/nat.ts'
import { daddr, saddr } from '../../../kernel/nftables/expressions/payload.ts'
import { together } from '../../../kernel/nftables/expressions/together.ts'
import { anyDport, l4proto } from '../../../kernel/nftables/expressions/transport.ts'
import { back, drop, goto } from '../../../kernel/nftables/expressions/verdicts.ts'
import type { NftChain, NftCommand, NftHook, NftRule } from '../../../kernel/nftables/objects.ts'
import type { DesiredNftChain } from '../../../state/desired.ts'
import { POD_TABLE, removeFromTable } from '../nftables.ts'
import { ANY, CLIENTS, SETS, SINGLE } from './entries.ts'

/*
 * A connection to a host port is translated when it begins: one look-up in each of two maps, however many ports there are.
 *   host-ports-prerouting, -output:  what is for an address of this node goes to host-ports; nothing else does
 *   host-ports:                      ip daddr . proto . port, then proto . port, each by a map to address . port of the pod
 *   host-ports-postrouting:          source and pod in host-port-clients4: the pod would answer past the node, so the
 *                                    node's address becomes the source; every other client keeps its own
 *   host-ports-input:                127.0.0.0/8 stays shut for all that comes by a link (see `loopback`)
 * The chains are made where they are needed: as values of the program they would be 300 KB of each call's memory.
 */

const DESTINATION_NAT = -100
const SOURCE_NAT = 100
const FILTER = 0
const IPV4_LOOPBACK: Cidr = { address: { family: 4, value: 127n << 24n }, prefix: 8 }
/** The one address of 127.0.0.0/8 that a port of any address has: services such as systemd-resolved have others. */
const LOCALHOST: Cidr = hostCidr({ family: 4, value: (127n << 24n) + 1n })
const IPV6_LOCALHOST: Cidr = hostCidr({ family: 6, value: 1n })

const CHAIN = 'host-ports'
const LOOPBACK_CHAIN = 'host-ports-loopback'

function chain(name: string, rules: readonly NftRule[], hook?: NftHook): NftChain {
  return { table: POD_TABLE, name, ...(hook && { hook }), rules }
}

function translation(): NftChain {
  return chain(CHAIN, [
    ...FAMILIES.map((family) => [
      dnatBy(family, mapped(together(daddr(family), l4proto, anyDport), SINGLE[family])),
    ]),
    [within(daddr(4), IPV4_LOOPBACK), outside(daddr(4), LOCALHOST), back],
    ...FAMILIES.map((family) => [
      isFamily(family),
      dnatBy(family, mapped(together(l4proto, anyDport), ANY[family])),
    ]),
  ])
}

/** A pod could send to 127.0.0.1 by a link with `route_localnet`: `loopback` ends that. */
function prerouting(): NftChain {
  const hook = { type: 'nat', hook: 'prerouting', priority: DESTINATION_NAT } as const
  return chain('host-ports-prerouting', [[within(daddr(4), IPV4_LOOPBACK), back], isForNode()], hook)
}

/** The kernel drops an answer to ::1 that comes by a link, whatever it is translated to: IPv6 has no `route_localnet`. */
function output(): NftChain {
  const hook = { type: 'nat', hook: 'output', priority: DESTINATION_NAT } as const
  return chain('host-ports-output', [[within(saddr(6), IPV6_LOCALHOST), back], isForNode()], hook)
}

function isForNode(): Expression[] {
  return [equals(fibType('daddr'), 'local'), goto(CHAIN)]
}

function postrouting(): NftChain {
  const rules = FAMILIES.map((family) => [
    hasAny(ctStatus, ['dnat']),
    inSet(together(saddr(family), daddr(family)), CLIENTS[family]),
    masqueradeTo({}),
  ])
  return chain('host-ports-postrouting', rules, { type: 'nat', hook: 'postrouting', priority: SOURCE_NAT })
}

/**
 * A link with `route_localnet` delivers what comes for 127.0.0.0/8 (CVE-2020-8558). This lets in the answers to what the node itself has
 * sent, and what somebody has translated on purpose. At hook input, as packets that are only forwarded should not pay for it.
 */
function loopback(): NftChain {
  return chain(LOOPBACK_CHAIN, [
    [equals(ctDirection, 'reply'), back],
    [hasAny(ctStatus, ['dnat']), back],
    [drop],
  ])
}

function input(): NftChain {
  const isFromLink = differs(iifname, 'lo')
  return chain(
    'host-ports-input',
    [
      [isFromLink, within(daddr(4), IPV4_LOOPBACK), goto(LOOPBACK_CHAIN)],
      [isFromLink, within(saddr(4), IPV4_LOOPBACK), drop],
    ],
    { type: 'filter', hook: 'input', priority: FILTER },
  )
}

/** Those that others go to come first. */
function allChains(): NftChain[] {
  return [translation(), loopback(), input(), prerouting(), output(), postrouting()]
}

function base(): NftCommand[] {
  return [
    { op: 'ensureTable', table: POD_TABLE },
    ...SETS.map((set): NftCommand => ({ op: 'ensureSet', set })),
  ]
}

/** Returns what all host ports of the node have in common. */
export function frameObjects(): DesiredNftChain[] {
  return allChains().map((one, i) => ({
    kind: 'nftChain',
    chain: one,
    ...(i === 0 && { base: base() }),
    otherwise: `the rules of host ports are missing in nftables chain ${one.name}`,
  }))
}

/** Returns whether the node has it with its rules, as far as one look can tell. */
export function hasFrame({ nftables }: Kernel): boolean {
  return nftables.hasChain(prerouting())
}

/** Returns whether the node has all of it, with its rules. Asks for each chain: for a process that stays. */
export function isFrameWhole({ nftables }: Kernel): boolean {
  return allChains().every((one) => nftables.hasChain(one))
}

/** Returns whether the node has something of it, though perhaps not the rules. */
export function hasSomeOfFrame({ nftables }: Kernel): boolean {
  return nftables.hasChain({ ...prerouting(), rules: [] })
}

/** Removes it, and the table unless another feature is in it. What somebody has removed of it is made first: then all of it is there. */
export function removeFrame(kernel: Kernel): void {
  const chains = allChains().map(({ table, name }) => ({ table, name }))
  const each = (op: 'ensureChain' | 'flushChain' | 'removeChain') =>
    chains.map((one): NftCommand => ({ op, chain: one }))
  removeFromTable(kernel, [
    ...base(),
    ...each('ensureChain'),
    ...each('flushChain'),
    ...each('removeChain'),
    ...SETS.map((set): NftCommand => ({ op: 'removeSet', set, elements: true })),
  ])
}

/** Returns the addresses that every namespace has for itself: a pod could not answer to them. */
export function loopbackOf(family: Family): Cidr[] {
  return family === 4 ? [IPV4_LOOPBACK] : []
}

/** Returns whether programs of the node that send to this address could be led to a port of any address. */
export function isTranslated({ family, value }: Address): boolean {
  if (family === 6) return value !== IPV6_LOCALHOST.address.value
  return !contains(IPV4_LOOPBACK, { family, value }) || value === LOCALHOST.address.value
}
