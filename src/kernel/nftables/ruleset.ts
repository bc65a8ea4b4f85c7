import type { FirewallChain, FirewallFamily, Hook } from '../firewall/chain.ts'
import {
  type Attributes,
  type MessageWriter,
  readAttributes,
  readString,
  readU32be,
} from '../netlink/message.ts'
import {
  ChainAttr,
  ElementListAttr,
  HOOK_NUMBERS,
  HookAttr,
  Msg,
  NFNL_SUBSYS_NFTABLES,
  NFPROTO,
  RuleAttr,
  TableAttr,
} from './protocol.ts'
import { decodeRule } from './read_rule.ts'
import { isDormant } from './reply.ts'
import type { SetElement } from './set_elements.ts'

type Dump = { request: number; reply: number; body: (writer: MessageWriter) => unknown }

/** The family header of every nfnetlink message, before its attributes: bytes. */
const HEADER_LENGTH = 4
const FAMILIES: Record<number, FirewallFamily> = {
  [NFPROTO.inet]: 'inet',
  [NFPROTO[4]]: 'ip',
  [NFPROTO[6]]: 'ip6',
  [NFPROTO.bridge]: 'bridge',
}
const HOOKS = Object.keys(HOOK_NUMBERS) as Hook[]
const POLICY_DROP = 0

/** Asks for all tables, all chains, or all rules of all families. */
export const RULESET_DUMPS = {
  tables: dumpOf(Msg.getTable, Msg.newTable),
  chains: dumpOf(Msg.getChain, Msg.newChain),
  rules: dumpOf(Msg.getRule, Msg.newRule),
}

/** Returns the elements of a set; undefined if it can't be read. */
export type SetReader = (family: FirewallFamily, table: string, set: string) => SetElement[] | undefined

/** The chains of the tables that are in force, from the bodies of those three dumps. */
export function decodeRuleset(
  tables: readonly Uint8Array[],
  chains: readonly Uint8Array[],
  rules: readonly Uint8Array[],
  elementsOf: SetReader = () => undefined,
): FirewallChain[] {
  const dormant = new Set(tables.flatMap(dormantTable))
  const expressions = new Map<string, Uint8Array[]>()
  for (const body of rules) {
    const attributes = readAttributes(body, HEADER_LENGTH)
    const key = keyOf(body, attributes.get(RuleAttr.table), attributes.get(RuleAttr.chain))
    const found = expressions.get(key) ?? []
    found.push(attributes.get(RuleAttr.expressions) ?? new Uint8Array())
    expressions.set(key, found)
  }
  return chains.flatMap((body) => {
    const family = FAMILIES[body[0] ?? 0]
    const attributes = readAttributes(body, HEADER_LENGTH)
    const [table, name] = [text(attributes.get(ChainAttr.table)), text(attributes.get(ChainAttr.name))]
    if (!family || dormant.has(keyOf(body, attributes.get(ChainAttr.table)))) return []
    const key = keyOf(body, attributes.get(ChainAttr.table), attributes.get(ChainAttr.name))
    const base = baseOf(attributes)
    const own = (expressions.get(key) ?? []).flatMap((rule) =>
      decodeRule(rule, (set) => elementsOf(family, table, set)),
    )
    return [{ via: 'nftables', family, table, name, ...(base && { base }), rules: own }]
  })
}

/** Asks for all elements of a set of anybody's. */
export function setDump(family: FirewallFamily, table: string, set: string): Dump {
  const number = Object.entries(FAMILIES).find(([, one]) => one === family)?.[0]
  return {
    request: (NFNL_SUBSYS_NFTABLES << 8) | Msg.getElement,
    reply: (NFNL_SUBSYS_NFTABLES << 8) | Msg.newElement,
    body: (writer) =>
      writer
        .u8(Number(number))
        .attributeString(ElementListAttr.table, table)
        .attributeString(ElementListAttr.set, set),
  }
}

function dumpOf(request: number, reply: number): Dump {
  return {
    request: (NFNL_SUBSYS_NFTABLES << 8) | request,
    reply: (NFNL_SUBSYS_NFTABLES << 8) | reply,
    // Family 0 is all of them.
    body: (writer) => writer.u32(0),
  }
}

function dormantTable(body: Uint8Array): string[] {
  const attributes = readAttributes(body, HEADER_LENGTH)
  return isDormant(attributes) ? [keyOf(body, attributes.get(TableAttr.name))] : []
}

/** The family is the first byte of the header. */
function keyOf(body: Uint8Array, ...names: (Uint8Array | undefined)[]): string {
  return [body[0], ...names.map(text)].join(' ')
}

function baseOf(chain: Attributes): FirewallChain['base'] {
  const number = readU32be(chain.nested(ChainAttr.hook).get(HookAttr.number))
  const hook = HOOKS.find((name) => HOOK_NUMBERS[name] === number)
  const isDrop = readU32be(chain.get(ChainAttr.policy)) === POLICY_DROP
  return hook && { hook, policy: isDrop ? 'drop' : 'accept' }
}

function text(bytes: Uint8Array | undefined): string {
  return bytes ? readString(bytes) : ''
}
