import {
  type FirewallRule,
  type FirewallTest,
  type FirewallVerdict,
  type PacketField,
  UNKNOWN_TEST,
} from '../firewall/chain.ts'
import { type Attributes, listAttributes, readAttributes, readString, readU32be } from '../netlink/message.ts'
import { matchTest, targetVerdict } from '../xtables/extensions.ts'
import {
  BitwiseAttr,
  CmpAttr,
  DataAttr,
  ExpressionAttr,
  ImmediateAttr,
  ListAttr,
  LookupAttr,
  MetaAttr,
  PayloadAttr,
} from './protocol.ts'
import type { SetElement } from './set_elements.ts'
import { readVerdict } from './verdict.ts'

/** Returns the elements of a set of the rule's table; undefined if it can't be read. */
export type ElementsOf = (set: string) => readonly SetElement[] | undefined

/** What a register holds: bytes of a packet, after a mask. */
type Loaded = { readonly field: PacketField; readonly offset: number; readonly mask?: Uint8Array }

const NOT_READ: Loaded = { field: 'unknown', offset: 0 }
/** A rule with sets becomes several; the bound of their number. */
const MAX_RULES = 256
/** In words, of which the first register of 16 bytes has four: NFT_REG_1 and NFT_REG32_00. */
const FIRST_WORD = 8
const WORDS = 4

const REGISTER_VERDICT = 0
const NETWORK_HEADER = 1
const CMP_EQ = 0
const CMP_NEQ = 1
/** NFT_CT_*. */
const CT_KEYS: Record<number, PacketField> = { 0: 'conntrackState', 2: 'conntrackStatus' }
const LOOKUP_FLAGS = 5
/** NFT_LOOKUP_F_INV. */
const INVERTED = 1
/** NFT_META_*. Source: linux/netfilter/nf_tables.h. */
const META: Record<number, PacketField> = {
  4: 'inputIndex',
  5: 'outputIndex',
  6: 'inputLink',
  7: 'outputLink',
  15: 'protocolFamily',
  16: 'transport',
  17: 'inputBridge',
  18: 'outputBridge',
}
const COMPAT = { name: 1, revision: 2, info: 3 } as const
const META_SOURCE = 3
const CT = { target: 1, key: 2 } as const
/** Change neither the packet's fate nor what a test of ours reads. */
const NEUTRAL = ['counter', 'log', 'notrack', 'last', 'flow_offload']
const VERDICTS: Record<string, FirewallVerdict> = {
  reject: { kind: 'drop' },
  masq: { kind: 'accept' },
  nat: { kind: 'accept' },
  redir: { kind: 'accept' },
  queue: { kind: 'unknown' },
  tproxy: { kind: 'unknown' },
  synproxy: { kind: 'unknown' },
}

/**
 * Reads the expressions of a rule: the tests that we know how to read, and its verdict. One that asks a set becomes a rule for
 * each of its elements.
 */
export function decodeRule(expressions: Uint8Array, elementsOf: ElementsOf): FirewallRule[] {
  const reader = new RuleReader(elementsOf)
  for (const [type, element] of listAttributes(expressions)) {
    if (type !== ListAttr.element) continue
    const attributes = readAttributes(element)
    const name = readString(attributes.get(ExpressionAttr.name) ?? new Uint8Array())
    reader.read(name, attributes.nested(ExpressionAttr.data))
  }
  return reader.rules
}

class RuleReader {
  rules: FirewallRule[] = [{ tests: [], verdict: { kind: 'continue' } }]
  readonly #registers = new Map<number, Loaded>()
  readonly #elementsOf: ElementsOf

  constructor(elementsOf: ElementsOf) {
    this.#elementsOf = elementsOf
  }

  read(name: string, data: Attributes): void {
    const number = (type: number): number | undefined => readU32be(data.get(type))
    const verdict = VERDICTS[name]
    if (verdict) this.#decide(verdict)
    else if (name === 'meta') {
      if (!data.get(META_SOURCE)) this.#load(number(MetaAttr.target), META[number(MetaAttr.key) ?? -1])
    } else if (name === 'ct') {
      this.#load(number(CT.target), CT_KEYS[number(CT.key) ?? -1])
    } else if (name === 'payload') {
      const isNetwork = number(PayloadAttr.base) === NETWORK_HEADER
      this.#load(
        number(PayloadAttr.target),
        isNetwork ? 'networkHeader' : undefined,
        number(PayloadAttr.offset),
      )
    } else if (name === 'bitwise') this.#mask(data)
    else if (name === 'cmp') this.#compare(data)
    else if (name === 'immediate') this.#set(data)
    else if (name === 'match') this.#match(data)
    else if (name === 'target')
      this.#decide(targetVerdict(readString(data.get(COMPAT.name) ?? new Uint8Array())))
    else if (name === 'lookup') this.#look(data)
    else if (!NEUTRAL.includes(name)) this.#test(UNKNOWN_TEST)
  }

  #decide(verdict: FirewallVerdict): void {
    this.rules = this.rules.map(({ tests }) => ({ tests, verdict }))
  }

  #test(test: FirewallTest): void {
    this.rules = this.rules.map(({ tests, verdict }) => ({ tests: [...tests, test], verdict }))
  }

  /** A set that can't be read may hold anything. */
  #look(data: Attributes): void {
    const isMap = readU32be(data.get(LookupAttr.target)) === REGISTER_VERDICT
    const elements = this.#elementsFor(data)
    const loaded = this.#registers.get(readU32be(data.get(LookupAttr.source)) ?? -1)
    if (!elements || !loaded) {
      this.#test(UNKNOWN_TEST)
      if (isMap) this.#decide({ kind: 'unknown' })
    } else if ((readU32be(data.get(LOOKUP_FLAGS)) ?? 0) & INVERTED) {
      for (const { value, mask } of elements)
        this.#test({ ...loaded, value, ...(mask && { mask }), isEqual: false })
    } else {
      this.rules = this.rules.flatMap(({ tests, verdict: before }) =>
        elements.map(({ value, mask, verdict = before }) => ({
          tests: [...tests, { ...loaded, value, ...(mask && { mask }), isEqual: true }],
          verdict,
        })),
      )
    }
  }

  /** Not of a set whose keys are of several fields: these are in the registers behind. */
  #elementsFor(data: Attributes): readonly SetElement[] | undefined {
    const source = readU32be(data.get(LookupAttr.source)) ?? -1
    const loaded = this.#registers.get(source)
    const word = wordOf(source)
    const isOfSeveral = [...this.#registers.keys()].some(
      (one) => wordOf(one) > word && wordOf(one) < word + WORDS,
    )
    if (!loaded || loaded.field === 'unknown' || loaded.mask || isOfSeveral) return undefined
    const elements = this.#elementsOf(readString(data.get(LookupAttr.set) ?? new Uint8Array()))
    return elements && elements.length * this.rules.length <= MAX_RULES ? elements : undefined
  }

  #load(register: number | undefined, field: PacketField = 'unknown', offset = 0): void {
    if (register !== undefined) this.#registers.set(register, { field, offset })
  }

  #mask(data: Attributes): void {
    const loaded = this.#registers.get(readU32be(data.get(BitwiseAttr.source)) ?? -1)
    const mask = bytesOf(data.get(BitwiseAttr.mask))
    const xor = bytesOf(data.get(BitwiseAttr.xor))
    const isPlain = loaded && !loaded.mask && mask && !xor?.some((byte) => byte !== 0)
    const masked: Loaded = isPlain ? { ...loaded, mask } : NOT_READ
    this.#registers.set(readU32be(data.get(BitwiseAttr.target)) ?? -1, masked)
  }

  #compare(data: Attributes): void {
    const loaded = this.#registers.get(readU32be(data.get(CmpAttr.source)) ?? -1)
    const operator = readU32be(data.get(CmpAttr.operator))
    const value = bytesOf(data.get(CmpAttr.data))
    if (!loaded || !value || (operator !== CMP_EQ && operator !== CMP_NEQ)) this.#test(UNKNOWN_TEST)
    else this.#test({ ...loaded, value, isEqual: operator === CMP_EQ })
  }

  #set(data: Attributes): void {
    const register = readU32be(data.get(ImmediateAttr.register))
    if (register === REGISTER_VERDICT) this.#decide(readVerdict(data.get(ImmediateAttr.data)))
    else this.#load(register)
  }

  /** An extension of iptables. */
  #match(data: Attributes): void {
    const name = readString(data.get(COMPAT.name) ?? new Uint8Array())
    const info = data.get(COMPAT.info) ?? new Uint8Array()
    const test = matchTest(name, readU32be(data.get(COMPAT.revision)) ?? 0, info)
    if (test) this.#test(test)
  }
}

function bytesOf(data: Uint8Array | undefined): Uint8Array | undefined {
  return data && readAttributes(data).get(DataAttr.value)
}

/** The number of a register's first word. */
function wordOf(register: number): number {
  return register < FIRST_WORD ? FIRST_WORD + (register - 1) * WORDS : register
}
