import type { AttachmentRecord } from '../../../attachment/record.ts'
import { allFiles, isNewer, soundRecords } from '../../../attachment/store.ts'
import { isErrno, withAction } from '../../../core/errors.ts'
import { type AttachmentId, isSameAttachment } from '../../../core/names.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { isSpoofed } from '../../../kernel/nftables/expressions/fib.ts'
import { iifgroup } from '../../../kernel/nftables/expressions/links.ts'
import { equals } from '../../../kernel/nftables/expressions/match.ts'
import { isFamily } from '../../../kernel/nftables/expressions/meta.ts'
import { drop } from '../../../kernel/nftables/expressions/verdicts.ts'
import { type NftChain, type NftCommand, removeChain } from '../../../kernel/nftables/objects.ts'
import type { DesiredNftChain } from '../../../state/desired.ts'
import { createNft } from '../../../state/nft.ts'
import type { NodePorts } from '../feature.ts'
import { POD_TABLE, removeFrame } from '../nftables.ts'

/*
 * One rule for all routed pods of the node: what comes in by a link of their group must have a source that the node would
 * answer by the same link, which is true of a pod's own addresses alone. The pod costs nothing but its link's group.
 * IPv4 has net.ipv4.conf.LINK.rp_filter for that, which needs no rule. But the larger of it and that of `all` counts, and 2 is
 * loose: any source with a route passes. Where `all` is 2 (Ubuntu), the rule is for both families. Measured with TCP of one byte
 * between two pods of a node, in round trips to those without a check: rp_filter and the rule for IPv6 0.988, both for IPv4 0.971.
 * It holds for what goes to the node itself as well, and for ARP: the kernel looks at the route of its sender. What a host sends
 * before it has an address passes (DHCP; duplicate detection, router solicitation, multicast groups of IPv6), and so does any
 * link-local source, which the node never forwards.
 * A packet within a packet is the payload of the outer one, whose source is checked. What a node unpacks for the overlay comes from nodes
 * alone (src/overlay/guard.ts).
 */
export const POD_GROUP = 98

/** Before connection tracking: a forged packet leaves no entry. */
const CHAIN = {
  table: POD_TABLE,
  name: 'pod-sources',
  hook: { type: 'filter', hook: 'prerouting', priority: -300 },
} as const
/** An ADD asks only for this much: CHECK and a process that stays see what the rule says. */
const ANY_RULE: NftChain = { ...CHAIN, rules: [[drop]] }
const LOOSE = '2'

function chainOf(kernel: Kernel): NftChain {
  const isLoose = kernel.host().readSysctl('ipv4/conf/all/rp_filter') === LOOSE
  const check = [equals(iifgroup, POD_GROUP), isSpoofed(), drop]
  return { ...CHAIN, rules: [isLoose ? check : [isFamily(6), ...check]] }
}

/** Returns the rule as an object of the engine. */
export function sourceRule(kernel: Kernel): DesiredNftChain {
  const otherwise = 'the rule that checks the sources of pods is missing in table inet bowline'
  const base: NftCommand[] = [{ op: 'ensureTable', table: POD_TABLE }]
  return { kind: 'nftChain', chain: chainOf(kernel), base, otherwise }
}

/** Asks whether the rule is there, together with the next question to nftables. */
export function askForSourceRule({ nftables }: Kernel): void {
  nftables.askAbout(ANY_RULE)
}

/** Makes the rule if it is not there. Returns whether it was made. `mayFail`: a kernel without nftables is no error. */
export function ensureSourceRule(kernel: Kernel, mayFail: boolean): boolean {
  return !hasSourceRule(kernel) && createSourceRule(kernel, mayFail)
}

function createSourceRule(kernel: Kernel, mayFail: boolean): boolean {
  try {
    withAction(
      'check the source addresses of what pods send',
      () => kernel.nftables.apply(createNft([sourceRule(kernel)])),
      {
        hint: 'Load the kernel modules nf_tables and nft_fib_inet (modprobe), or set "ipspoofchk" to false.',
      },
    )
    return true
  } catch (error) {
    if (mayFail && isErrno(error, 'EOPNOTSUPP')) return false
    throw error
  }
}

/**
 * Removes the rule if no record needs it. An ADD writes its record before it asks for the rule, so records are read once more after
 * the removal: an ADD that has found the rule meanwhile gets it back.
 */
export function removeUnneededSourceRule(node: NodePorts, except?: AttachmentId): void {
  const isNeeded = () => {
    const files = allFiles(node.store)
    return files.some(isNewer) || isAmong(soundRecords(files), node, except)
  }
  if (isNeeded()) return
  removeFrame(node.kernel, POD_TABLE, removeChain(CHAIN))
  if (isNeeded()) node.kernel.nftables.apply(createNft([sourceRule(node.kernel)]))
}

/** Makes the rule again where a record needs it and somebody has removed it. Returns what was missing, in words. */
export function restoreSourceRule(node: NodePorts): readonly string[] {
  const { kernel } = node
  if (!isAmong(node.store.list(), node)) return []
  const rule = sourceRule(kernel)
  if (kernel.nftables.hasChain(rule.chain) || !createSourceRule(kernel, true)) return []
  // The last pod may have gone meanwhile.
  removeUnneededSourceRule(node)
  return [rule.otherwise]
}

function isAmong(
  records: readonly AttachmentRecord[],
  { kernel }: NodePorts,
  except?: AttachmentId,
): boolean {
  const isMeant = (record: AttachmentRecord) =>
    record.bootId === kernel.bootId() &&
    needsSourceRule(record) &&
    !(except && isSameAttachment(record, except))
  return records.some(isMeant)
}

export function needsSourceRule({ mode, ipspoofchk }: AttachmentRecord): boolean {
  return mode === 'l3' && ipspoofchk !== false
}

/** Returns whether the node has the rule, whatever it says. */
export function hasSourceRule({ nftables }: Kernel): boolean {
  return nftables.isHooked(ANY_RULE)
}
