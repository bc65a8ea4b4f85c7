import {
  type FirewallChain,
  type FirewallRule,
  type FirewallTest,
  type FirewallVerdict,
  type Hook,
  UNKNOWN_TEST,
} from '../firewall/chain.ts'
import { readString } from '../netlink/message.ts'
import { matchTest, targetVerdict } from './extensions.ts'

/*
 * A table of the older iptables as the kernel hands it out: one block of rules after one another. A chain of a hook is found
 * by its offset; one that others call begins behind a rule with the target ERROR, which has its name. The end of each is
 * a rule as well: the policy, or a return. Source: linux/netfilter/x_tables.h, linux/netfilter_ipv4/ip_tables.h,
 * linux/netfilter_ipv6/ip6_tables.h.
 */
const HOOKS: readonly Hook[] = ['prerouting', 'input', 'forward', 'output', 'postrouting']

/** The answer to IPT_SO_GET_INFO. */
export type TableInfo = {
  /** Offsets of the chains of the hooks that the table has. */
  readonly entries: Partial<Record<Hook, number>>
  /** Of all rules, in bytes. */
  readonly size: number
}

const NAME_LENGTH = 32
export const INFO_LENGTH = NAME_LENGTH + 4 + 4 * 5 + 4 * 5 + 4 + 4
/** struct ipt_get_entries: name, size, and what brings the rules to a multiple of eight. */
export const ENTRIES_HEAD = NAME_LENGTH + 4 + 4
/** The offset of its size. */
export const SIZE_AT = NAME_LENGTH

/** Offsets in struct ipt_entry and ip6t_entry. Interface names and their masks follow the addresses. */
const LAYOUT = {
  4: { address: 4, links: 16, protocol: 80, flags: 82, inverted: 83, targetAt: 88, nextAt: 90, matches: 112 },
  6: {
    address: 16,
    links: 64,
    protocol: 128,
    flags: 131,
    inverted: 132,
    targetAt: 140,
    nextAt: 142,
    matches: 168,
  },
} as const
/** Offsets of the addresses in the header of a packet. */
const HEADER = { 4: { source: 12, destination: 16 }, 6: { source: 8, destination: 24 } } as const
const LINK_LENGTH = 16
const Inverted = { input: 1, output: 2, source: 8, destination: 16, protocol: 64 } as const
const FLAG_GOTO = { 4: 2, 6: 4 } as const
/** IPT_F_FRAG, only later fragments, and IP6T_F_TOS: neither is read. */
const FLAG_MORE = { 4: 1, 6: 2 } as const
const EXTENSION_HEAD = 32
const EXTENSION_NAME = 29
const VERDICT_RETURN = -5

export function decodeInfo(bytes: Uint8Array): TableInfo {
  const view = viewOf(bytes)
  const valid = view.getUint32(NAME_LENGTH, true)
  const entries = HOOKS.flatMap((hook, i) =>
    valid & (1 << i) ? [[hook, view.getUint32(NAME_LENGTH + 4 + 4 * i, true)] as const] : [],
  )
  return { entries: Object.fromEntries(entries), size: view.getUint32(INFO_LENGTH - 4, true) }
}

/** Reads the chains of a table from its rules (without `ENTRIES_HEAD`). */
export function decodeTable(
  family: 4 | 6,
  table: string,
  { entries }: TableInfo,
  rules: Uint8Array,
): FirewallChain[] {
  const chainAt = new Map<number, string>()
  for (const hook of HOOKS) if (entries[hook] !== undefined) chainAt.set(entries[hook], hook.toUpperCase())
  const all = listEntries(family, rules)
  for (const entry of all) {
    if (entry.target === 'ERROR')
      chainAt.set(entry.next, readString(entry.data.subarray(0, EXTENSION_NAME + 1)))
  }
  const chains = new Map<string, FirewallRule[]>()
  let name = ''
  for (const entry of all) {
    name = chainAt.get(entry.at) ?? name
    const found = chains.get(name) ?? []
    if (entry.target !== 'ERROR') found.push({ tests: entry.tests, verdict: verdictOf(entry, chainAt) })
    chains.set(name, found)
  }
  return [...chains].map(([chain, found]) => {
    const hook = HOOKS.find((one) => one.toUpperCase() === chain && entries[one] !== undefined)
    const policy = found.at(-1)?.verdict.kind === 'drop' ? 'drop' : 'accept'
    return {
      via: 'iptables-legacy',
      family: family === 4 ? 'ip' : 'ip6',
      table,
      name: chain,
      ...(hook && { base: { hook, policy } as const }),
      rules: found,
    }
  })
}

type Entry = {
  readonly at: number
  readonly next: number
  readonly tests: readonly FirewallTest[]
  readonly target: string
  readonly isGoto: boolean
  /** Of the target. */
  readonly data: Uint8Array
}

/** A malformed rule ends the list. */
function listEntries(family: 4 | 6, rules: Uint8Array): Entry[] {
  const { targetAt, nextAt, flags, matches } = LAYOUT[family]
  const view = viewOf(rules)
  const entries: Entry[] = []
  for (let at = 0; at + matches <= rules.length; ) {
    const [target, next] = [at + view.getUint16(at + targetAt, true), at + view.getUint16(at + nextAt, true)]
    if (target < at + matches || target + EXTENSION_HEAD > next || next > rules.length) break
    const extension = rules.subarray(target, next)
    entries.push({
      at,
      next,
      tests: [...headTests(family, rules.subarray(at)), ...matchTests(rules.subarray(at + matches, target))],
      target: readString(extension.subarray(2, 2 + EXTENSION_NAME)),
      isGoto: ((rules[at + flags] ?? 0) & FLAG_GOTO[family]) !== 0,
      data: extension.subarray(EXTENSION_HEAD),
    })
    at = next
  }
  return entries
}

/** Addresses, interfaces and the protocol. */
function headTests(family: 4 | 6, entry: Uint8Array): FirewallTest[] {
  const { address, links, protocol, flags, inverted } = LAYOUT[family]
  const { source, destination } = HEADER[family]
  const isEqual = (bit: number): boolean => ((entry[inverted] ?? 0) & bit) === 0
  // The field of the packet, the position and length of the value, and the flag that inverts the test.
  const parts = [
    ['networkHeader', source, 0, address, Inverted.source],
    ['networkHeader', destination, address, address, Inverted.destination],
    ['inputLink', 0, links, LINK_LENGTH, Inverted.input],
    ['outputLink', 0, links + LINK_LENGTH, LINK_LENGTH, Inverted.output],
  ] as const
  const tests = parts.flatMap(([field, offset, at, length, bit]): FirewallTest[] => {
    // Two values, then their two masks. The kernel masks both sides: the name of "veth+" has the plus sign beyond its mask.
    const mask = entry.subarray(at + 2 * length, at + 3 * length)
    const value = entry.subarray(at, at + length).map((byte, i) => byte & (mask[i] ?? 0))
    return mask.some((byte) => byte !== 0) ? [{ field, offset, value, mask, isEqual: isEqual(bit) }] : []
  })
  const transport = Uint8Array.of(entry[protocol] ?? 0)
  if (transport[0] !== 0)
    tests.push({ field: 'transport', offset: 0, value: transport, isEqual: isEqual(Inverted.protocol) })
  if ((entry[flags] ?? 0) & FLAG_MORE[family]) tests.push(UNKNOWN_TEST)
  return tests
}

/** Each match is its size, its name, its revision, and its data. */
function matchTests(matches: Uint8Array): FirewallTest[] {
  const tests: FirewallTest[] = []
  for (let at = 0; at + EXTENSION_HEAD <= matches.length; ) {
    const size = viewOf(matches).getUint16(at, true)
    if (size < EXTENSION_HEAD) break
    const name = readString(matches.subarray(at + 2, at + 2 + EXTENSION_NAME))
    const revision = matches[at + EXTENSION_HEAD - 1] ?? 0
    const test = matchTest(name, revision, matches.subarray(at + EXTENSION_HEAD, at + size))
    if (test) tests.push(test)
    at += size
  }
  return tests
}

/** A target without a name has a number: the offset of a chain or of the next rule, or what becomes of the packet. */
function verdictOf({ target, data, next, isGoto }: Entry, chainAt: Map<number, string>): FirewallVerdict {
  if (target !== '') return targetVerdict(target)
  if (data.length < 4) return { kind: 'unknown' }
  const number = viewOf(data).getInt32(0, true)
  const chain = chainAt.get(number)
  if (number === next) return { kind: 'continue' }
  if (chain !== undefined) return { kind: isGoto ? 'goto' : 'jump', chain }
  if (number === VERDICT_RETURN) return { kind: 'return' }
  return { kind: number === -1 ? 'drop' : number === -2 ? 'accept' : 'unknown' }
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}
