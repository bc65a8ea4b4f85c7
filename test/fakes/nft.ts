import { addressFromBytes, overlaps, sameCidr } from '../../src/core/address.ts'
import { withAction } from '../../src/core/errors.ts'
import type {
  NftChain,
  NftCommand,
  NftElement,
  NftExpression,
  NftFamily,
  NftHook,
  NftKeyType,
  NftMapRef,
  NftOwnElementRef,
  NftRule,
  NftTableRef,
} from '../../src/kernel/nftables/commands.ts'
import { describeNftCommand } from '../../src/kernel/nftables/describe.ts'
import { refusal } from './kernel/steps.ts'

type Table = {
  readonly family: NftFamily
  readonly chains: Map<string, Chain>
  readonly maps: Map<string, VerdictMap>
}
type Chain = { readonly hook: NftHook | undefined; rules: NftRule[] }
type VerdictMap = {
  readonly key: NftKeyType
  readonly interval: boolean
  readonly elements: Map<string, Target>
  /** Elements removed in the running transaction: until it is over the kernel counts them as there. */
  leaving: number
}
type Target = {
  readonly goto: string
  readonly comment: string | undefined
  /** In an interval map: the first address is the key. */
  readonly prefix?: number
}

/** Tables (by `family name`), chains with their rules, and maps with their elements (key in hex), by name. */
export type NftDump = Record<string, { chains: Record<string, unknown>; maps: Record<string, unknown> }>

const MAX_NAME_BYTES = 255
const KEY_BYTES: Record<NftKeyType, number> = { ipv4_addr: 4, ipv6_addr: 16, ifname: 16 }

/** nftables of one namespace in memory: one transaction at a time, refusals as the kernel has them. */
export class FakeNft {
  #tables = new Map<string, Table>()

  /** Applies all commands, or none and throws the first refusal. */
  commit(commands: readonly NftCommand[]): void {
    const draft = structuredClone(this.#tables)
    for (const command of commands) {
      withAction(`nftables: ${describeNftCommand(command)}`, () => applyCommand(draft, command))
    }
    for (const { maps } of draft.values()) for (const map of maps.values()) map.leaving = 0
    this.#tables = draft
  }

  /** False as well when the table or the map is missing. */
  has({ map, key, ofChain, ...table }: NftOwnElementRef): boolean {
    const found = this.#tables.get(nameOf(table))?.maps.get(map)
    return found !== undefined && hasElement(found, key, ofChain)
  }

  /** Whether the chain is there, at its hook and with its rules in this order, others between them or not. */
  hasChain({ chain, hook, rules, ...table }: NftChain): boolean {
    const found = this.#tables.get(nameOf(table))?.chains.get(chain)
    if (!found || showHook(found.hook) !== showHook(hook)) return false
    const missing = rules.map(showRule)
    for (const rule of found.rules) if (showRule(rule) === missing[0]) missing.shift()
    return missing.length === 0
  }

  elements(ref: NftMapRef): NftElement[] {
    const elements = this.#tables.get(nameOf(ref))?.maps.get(ref.map)?.elements ?? new Map<string, Target>()
    return [...elements].map(([key, { goto, comment }]) => ({
      ...ref,
      key: bytesOf(key),
      goto,
      ...(comment !== undefined && { comment }),
    }))
  }

  clear(): void {
    this.#tables.clear()
  }

  dump(): NftDump {
    return sorted(this.#tables, ({ chains, maps }) => ({
      chains: sorted(chains, ({ hook, rules }) => ({ ...(hook && { hook }), rules: rules.map(showRule) })),
      maps: sorted(maps, ({ key, elements }) => ({ key, elements: sorted(elements, showTarget) })),
    }))
  }
}

function applyCommand(tables: Map<string, Table>, command: NftCommand): void {
  const name = nameOf(command)
  switch (command.op) {
    case 'ensureTable':
      checkName(command.table)
      if (!tables.has(name)) {
        tables.set(name, { family: command.family ?? 'inet', chains: new Map(), maps: new Map() })
      }
      break
    case 'removeTable':
      removeTable(tables, name)
      break
    default:
      applyWithin(found(tables, name), command)
  }
}

type TableCommand = Extract<NftCommand, { op: 'ensureTable' | 'removeTable' }>

function applyWithin(table: Table, command: Exclude<NftCommand, TableCommand>): void {
  switch (command.op) {
    case 'ensureChain':
      ensureChain(table, command.chain, command.hook)
      break
    case 'flushChain':
      found(table.chains, command.chain).rules = []
      break
    case 'removeChain':
      removeChain(table, command.chain)
      break
    case 'addRule':
      addRule(table, command.chain, command.rule)
      break
    case 'ensureMap':
      ensureMap(table, command)
      break
    case 'removeMap':
      removeMap(table, command.map, command.elements)
      break
    case 'addElement':
      addElement(table, command)
      break
    case 'removeElement':
      removeElement(found(table.maps, command.map), command.key, command.ofChain)
      break
  }
}

function nameOf({ family = 'inet', table }: NftTableRef): string {
  return `${family} ${table}`
}

function removeTable(tables: Map<string, Table>, name: string): void {
  const { chains, maps } = found(tables, name)
  if (chains.size + maps.size > 0) throw refusal('EBUSY')
  tables.delete(name)
}

/** A chain that is there must be the same: of the same type, at the same hook, with the same priority. */
function ensureChain({ chains, family }: Table, name: string, hook: NftHook | undefined): void {
  const chain = chains.get(checkName(name))
  if (family === 'bridge' && hook?.type === 'nat') throw refusal('ENOENT')
  if (!chain) {
    chains.set(name, { hook, rules: [] })
    return
  }
  if (!hook) return
  if (!chain.hook || chain.hook.type !== hook.type) throw refusal('EEXIST')
  if (chain.hook.hook !== hook.hook || chain.hook.priority !== hook.priority) throw refusal('EOPNOTSUPP')
}

/** Its own rules are in the way as well as what refers to it: a removal takes no more than it names. */
function removeChain({ chains, maps }: Table, name: string): void {
  const chain = found(chains, name)
  const targets = [...maps.values()].flatMap(({ elements }) => [...elements.values()])
  if (chain.rules.length > 0 || targets.some(({ goto }) => goto === name)) throw refusal('EBUSY')
  chains.delete(name)
}

function addRule({ chains, maps, family }: Table, name: string, rule: NftRule): void {
  const chain = found(chains, name)
  for (const expression of rule) {
    if ('map' in expression) found(maps, expression.map)
    if ('verdict' in expression && expression.verdict === 'masquerade') checkMasquerade(chain, family)
  }
  chain.rules.push(rule)
}

/** Of the hooks, only source NAT after routing may masquerade. Chains that no hook names are judged where they are used. */
function checkMasquerade({ hook }: Chain, family: NftFamily): void {
  if (family === 'bridge') throw refusal('ENOENT')
  if (hook && (hook.type !== 'nat' || hook.hook !== 'postrouting')) throw refusal('EOPNOTSUPP')
}

type EnsureMap = Extract<NftCommand, { op: 'ensureMap' }>

function ensureMap({ maps }: Table, { map: name, key, interval = false }: EnsureMap): void {
  const map = maps.get(checkName(name))
  if (map && (map.key !== key || map.interval !== interval)) throw refusal('EEXIST')
  if (!map) maps.set(name, { key, interval, elements: new Map(), leaving: 0 })
}

function removeMap({ chains, maps }: Table, name: string, withElements = false): void {
  const { elements, leaving } = found(maps, name)
  const rules = [...chains.values()].flatMap((chain) => chain.rules).flat()
  const used = rules.some((expression) => 'map' in expression && expression.map === name)
  if (used || (!withElements && elements.size + leaving > 0)) throw refusal('EBUSY')
  maps.delete(name)
}

/** The same element twice is no error and changes nothing; the same key with another target is EEXIST. */
function addElement({ chains, maps }: Table, { map: name, key, prefix, goto, comment }: NftElement): void {
  const map = found(maps, name)
  if (prefix !== undefined && overlapsAny(map, key, prefix)) throw refusal('EEXIST')
  if (key.length !== KEY_BYTES[map.key]) throw refusal('EINVAL')
  if (found(chains, goto).hook) throw refusal('EOPNOTSUPP')
  const there = map.elements.get(hex(key))
  if (there && there.goto !== goto) throw refusal('EEXIST')
  if (!there) map.elements.set(hex(key), { goto, comment, ...(prefix !== undefined && { prefix }) })
}

/** The same prefix twice is no overlap. */
function overlapsAny(map: VerdictMap, key: Uint8Array, prefix: number): boolean {
  const cidr = { address: addressFromBytes(key), prefix }
  return [...map.elements].some(([other, target]) => {
    const there = { address: addressFromBytes(bytesOf(other)), prefix: target.prefix ?? 0 }
    return overlaps(cidr, there) && !sameCidr(cidr, there)
  })
}

function hasElement(map: VerdictMap, key: Uint8Array, ofChain: string | undefined): boolean {
  const element = map.elements.get(hex(key))
  return element !== undefined && (ofChain === undefined || element.goto === ofChain)
}

function removeElement(map: VerdictMap, key: Uint8Array, ofChain: string | undefined): void {
  if (!hasElement(map, key, ofChain)) throw refusal('ENOENT')
  map.elements.delete(hex(key))
  map.leaving++
}

function checkName(name: string): string {
  if (new TextEncoder().encode(name).length > MAX_NAME_BYTES) throw refusal('ERANGE')
  return name
}

function found<T>(things: ReadonlyMap<string, T>, name: string): T {
  const thing = things.get(name)
  if (!thing) throw refusal('ENOENT')
  return thing
}

function showTarget({ goto, comment, prefix }: Target): string {
  return `${prefix === undefined ? '' : `/${prefix} `}goto ${goto}${comment ? ` comment ${comment}` : ''}`
}

function showHook(hook: NftHook | undefined): string {
  return hook ? `${hook.type} ${hook.hook} ${hook.priority}` : ''
}

function showRule(rule: NftRule): string {
  return rule.map(showExpression).join(' ')
}

function showExpression(expression: NftExpression): string {
  if ('verdict' in expression) return expression.verdict
  switch (expression.match) {
    case 'saddrVmap':
      return `saddr${expression.family} vmap @${expression.map}`
    case 'daddr':
      return `daddr${expression.family} ${hex(expression.address)}/${expression.prefix}`
    case 'iifnameVmap':
      return `iifname vmap @${expression.map}`
    case 'etherSaddr':
      return `ether saddr ${hex(expression.mac)}`
  }
}

function sorted<T, R>(map: ReadonlyMap<string, T>, show: (value: T) => R): Record<string, R> {
  const entries = [...map].sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([name, value]) => [name, show(value)]))
}

function bytesOf(hexDigits: string): Uint8Array {
  return Uint8Array.from(hexDigits.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16))
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
