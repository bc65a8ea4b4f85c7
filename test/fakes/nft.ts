import { withAction } from '../../src/core/errors.ts'
import { comparableJson } from '../../src/core/json.ts'
import type { Datatype } from '../../src/kernel/nftables/datatypes.ts'
import { describeElements, describeName, describeNftCommand } from '../../src/kernel/nftables/describe.ts'
import { targetOfElement } from '../../src/kernel/nftables/elements.ts'
import type {
  NftChain,
  NftChainRef,
  NftCommand,
  NftElement,
  NftHook,
  NftRule,
  NftSet,
  NftTable,
} from '../../src/kernel/nftables/objects.ts'
import type { Nftables } from '../../src/kernel/nftables.ts'
import type { Recollection } from '../../src/kernel/recollection.ts'
import { refusal, type Steps } from './kernel/steps.ts'

type Table = {
  readonly family: NftTable['family']
  readonly chains: Map<string, Chain>
  readonly sets: Map<string, FilledSet>
}
type Chain = { readonly hook: NftHook | undefined; readonly rules: readonly NftRule[] }
type AnySet = NftSet<unknown, unknown>
type AnyElement = NftElement<unknown, unknown>
type FilledSet = {
  readonly set: AnySet
  /** By their keys in words. */
  readonly elements: Map<string, AnyElement>
  /** Elements removed in the running transaction: until it is over the kernel counts them as there. */
  readonly leaving: number
}

/** Tables (by `family name`), chains with their rules, and maps with their elements in words, by name. */
export type NftDump = Record<string, { chains: Record<string, unknown>; maps: Record<string, unknown> }>

/** nftables of one namespace in memory: one transaction at a time, refusals as the kernel has them. */
export class FakeNft implements Nftables {
  readonly #steps: Steps
  #tables = new Map<string, Table>()

  constructor(steps: Steps) {
    this.#steps = steps
  }

  /** A chain that comes later is no other answer, unless one was asked about that was missing: the agent asks about its own. */
  remember<T>(ask: () => T): Recollection<T> {
    const chains = [...this.#tables].map(([table, found]) => [table, [...found.chains.keys()]] as const)
    const shown = () => [
      [...this.#tables].map(([name, { sets }]) => [
        name,
        [...sets].map(([set, { elements }]) => [set, [...elements]]),
      ]),
      chains.map(([table, names]) =>
        names.map((name) => {
          const { hook, rules } = this.#tables.get(table)?.chains.get(name) ?? {}
          return [showHook(hook), rules?.map(showRule)]
        }),
      ),
    ]
    const before = comparableJson(shown())
    return { value: ask(), isSame: () => comparableJson(shown()) === before }
  }

  probe(): void {
    this.#steps.run('ask for the generation of the ruleset', () => {})
  }

  apply(commands: readonly NftCommand[]): void {
    this.#steps.run(commands.map(describeNftCommand).join('; '), () => this.#commit(commands))
  }

  hasElement<K, D>(set: NftSet<K, D>, element: NftElement<K, D>): boolean {
    return this.#steps.run(`read element ${describeElements(set, [element])}`, () => {
      const found = this.#find(set)
      return found !== undefined && holds(found, element)
    })
  }

  element<K, D>(set: NftSet<K, D>, key: K): NftElement<K, D> | undefined {
    return this.#steps.run(`read element ${describeElements(set, [{ key }])}`, () => {
      const found = this.#find(set)?.elements.get(set.key.show(key))
      return found && (({ timeoutMs: _, ...one }) => one as NftElement<K, D>)(found)
    })
  }

  hasChain(chain: NftChain): boolean {
    return this.#steps.run(`read chain ${describeName(chain)}`, () => {
      const found = this.#tables.get(nameOf(chain.table))?.chains.get(chain.name)
      if (!found || showHook(found.hook) !== showHook(chain.hook)) return false
      const missing = chain.rules.map(showRule)
      for (const rule of found.rules) if (showRule(rule) === missing[0]) missing.shift()
      return missing.length === 0
    })
  }

  /** Nobody switches off tables of the fake. */
  isDormant(): boolean {
    return false
  }

  askAbout(): void {}

  isHooked(chain: NftChain): boolean {
    return this.#steps.run(`read chain ${describeName(chain)}`, () => {
      const found = this.#tables.get(nameOf(chain.table))?.chains.get(chain.name)
      const isAtHook = found && showHook(found.hook) === showHook(chain.hook)
      return isAtHook === true && found.rules.length >= chain.rules.length
    })
  }

  elements<K, D>(set: NftSet<K, D>): NftElement<K, D>[] {
    return this.#steps.run(`list map ${describeName(set)}`, () => {
      const elements = [...(this.#find(set)?.elements.values() ?? [])]
      return elements.map(({ timeoutMs: _, ...one }) => one as NftElement<K, D>)
    })
  }

  clear(): void {
    this.#tables.clear()
  }

  dump(): NftDump {
    return sorted(this.#tables, ({ chains, sets }) => ({
      chains: sorted(chains, ({ hook, rules }) => ({ ...(hook && { hook }), rules: rules.map(showRule) })),
      maps: sorted(sets, ({ set, elements }) => ({
        key: set.key.name,
        elements: sorted(elements, (one) => describeElements(set, [one])),
      })),
    }))
  }

  #find<K, D>({ table, name }: NftSet<K, D>): FilledSet | undefined {
    return this.#tables.get(nameOf(table))?.sets.get(name)
  }

  /** Applies all commands, or none and throws the first refusal. */
  #commit(commands: readonly NftCommand[]): void {
    const draft = new Map(
      [...this.#tables].map(([name, { family, chains, sets }]) => [
        name,
        { family, chains: new Map(chains), sets: copyOf(sets) },
      ]),
    )
    for (const command of commands) {
      withAction(`nftables: ${describeNftCommand(command)}`, () => applyCommand(draft, command))
    }
    for (const { sets } of draft.values())
      for (const [name, one] of sets) sets.set(name, { ...one, leaving: 0 })
    this.#tables = draft
  }
}

function copyOf(sets: Table['sets']): Table['sets'] {
  return new Map([...sets].map(([name, one]) => [name, { ...one, elements: new Map(one.elements) }]))
}

function applyCommand(tables: Map<string, Table>, command: NftCommand): void {
  const of = (ref: NftChainRef) => found(tables, nameOf(ref.table))
  switch (command.op) {
    case 'ensureTable': {
      const { family } = command.table
      const table = tables.get(nameOf(command.table)) ?? { family, chains: new Map(), sets: new Map() }
      tables.set(nameOf(command.table), table)
      break
    }
    case 'removeTable': {
      const { chains, sets } = found(tables, nameOf(command.table))
      if (chains.size + sets.size > 0) throw refusal('EBUSY')
      tables.delete(nameOf(command.table))
      break
    }
    case 'ensureChain':
      ensureChain(of(command.chain), command.chain.name, command.chain.hook)
      break
    case 'flushChain': {
      const { chains } = of(command.chain)
      chains.set(command.chain.name, { ...found(chains, command.chain.name), rules: [] })
      break
    }
    case 'removeChain':
      removeChain(of(command.chain), command.chain.name)
      break
    case 'addRule':
      addRule(of(command.chain), command.chain.name, command.rule)
      break
    case 'ensureSet':
      ensureSet(of(command.set), command.set)
      break
    case 'removeSet':
      removeSet(of(command.set), command.set.name, command.elements)
      break
    case 'addElements':
      for (const element of command.elements) addElement(of(command.set), command.set, element)
      break
    case 'removeElements':
      for (const element of command.elements) removeElement(of(command.set), command.set.name, element)
  }
}

function nameOf({ family, name }: NftTable): string {
  return `${family} ${name}`
}

/** A chain that is there must be the same: of the same type, at the same hook, with the same priority. */
function ensureChain({ chains, family }: Table, name: string, hook: NftHook | undefined): void {
  const chain = chains.get(name)
  if (family === 'bridge' && hook?.type === 'nat') throw refusal('ENOENT')
  if (!chain) {
    chains.set(name, { hook, rules: [] })
    return
  }
  if (!hook) return
  if (!chain.hook || chain.hook.type !== hook.type) throw refusal('EEXIST')
  if (showHook(chain.hook) !== showHook(hook)) throw refusal('EOPNOTSUPP')
}

/** Its own rules are in the way as well as what refers to it: a removal takes no more than it names. */
function removeChain({ chains, sets }: Table, name: string): void {
  const targets = [...sets.values()].flatMap(({ set, elements }) =>
    [...elements.values()].map((one) => targetOfElement(set, one)),
  )
  if (found(chains, name).rules.length > 0 || targets.includes(name)) throw refusal('EBUSY')
  chains.delete(name)
}

function addRule({ chains, sets }: Table, name: string, rule: NftRule): void {
  const chain = found(chains, name)
  for (const { set, chain: target } of rule) {
    if (set !== undefined) found(sets, set)
    if (target !== undefined) found(chains, target)
  }
  chains.set(name, { ...chain, rules: [...chain.rules, rule] })
}

function ensureSet({ sets }: Table, set: AnySet): void {
  const there = sets.get(set.name)
  if (there && showTypes(there.set) !== showTypes(set)) throw refusal('EEXIST')
  if (!there) sets.set(set.name, { set, elements: new Map(), leaving: 0 })
}

function showTypes({ key, data }: AnySet): string {
  return `${key.name} ${key.last !== undefined} ${data?.name}`
}

function removeSet({ chains, sets }: Table, name: string, withElements = false): void {
  const { elements, leaving } = found(sets, name)
  const isUsed = [...chains.values()].some(({ rules }) => rules.flat().some(({ set }) => set === name))
  if (isUsed || (!withElements && elements.size + leaving > 0)) throw refusal('EBUSY')
  sets.delete(name)
}

/** The same element twice is no error and changes nothing; the same key with other data is EEXIST. */
function addElement({ chains, sets }: Table, { name, key: { length } }: AnySet, element: AnyElement): void {
  const filled = found(sets, name)
  const { set, elements } = filled
  if (length !== set.key.length) throw refusal('EINVAL')
  const target = targetOfElement(set, element)
  if (target !== undefined && found(chains, target).hook) throw refusal('EOPNOTSUPP')
  const key = set.key.show(element.key)
  if (elements.has(key) ? !holds(filled, element) : overlapsAny(filled, element.key)) throw refusal('EEXIST')
  if (!elements.has(key)) elements.set(key, element)
}

/** Ranges of several fields overlap where those of each field do. */
function overlapsAny({ set: { key: type }, elements }: FilledSet, key: unknown): boolean {
  if (!type.last) return false
  const ends = (part: Datatype<unknown>, one: unknown) =>
    [hex(part.encode(one)), hex(part.last?.(one) ?? part.encode(one))] as const
  const overlap = (part: Datatype<unknown>, a: unknown, b: unknown): boolean => {
    const [[first, last], [otherFirst, otherLast]] = [ends(part, a), ends(part, b)]
    return first <= otherLast && otherFirst <= last
  }
  return [...elements.values()].some((one) =>
    type.parts
      ? type.parts.every((part, i) => overlap(part, (key as unknown[])[i], (one.key as unknown[])[i]))
      : overlap(type, key, one.key),
  )
}

function holds(
  { set: { key, data: type }, elements }: FilledSet,
  { key: wanted, data }: AnyElement,
): boolean {
  const there = elements.get(key.show(wanted))
  return there !== undefined && (data === undefined || type?.show(there.data) === type?.show(data))
}

function removeElement({ sets }: Table, name: string, element: AnyElement): void {
  const filled = found(sets, name)
  if (!holds(filled, element)) throw refusal('ENOENT')
  filled.elements.delete(filled.set.key.show(element.key))
  sets.set(name, { ...filled, leaving: filled.leaving + 1 })
}

function found<T>(things: ReadonlyMap<string, T>, name: string): T {
  const thing = things.get(name)
  if (!thing) throw refusal('ENOENT')
  return thing
}

function showHook(hook: NftHook | undefined): string {
  return hook ? `${hook.type} ${hook.hook} ${hook.priority}` : ''
}

function showRule(rule: NftRule): string {
  return rule.map(({ text }) => text).join(' ')
}

function sorted<T, R>(map: ReadonlyMap<string, T>, show: (value: T) => R): Record<string, R> {
  const entries = [...map].sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries.map(([name, value]) => [name, show(value)]))
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}
