import {
  type FirewallRule,
  type FirewallTest,
  type FirewallVerdict,
  type PacketField,
  UNKNOWN_TEST,
} from '../firewall/chain.ts'
import { listAttributes, readAttributes, readString, readU32be } from '../netlink/message.ts'
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
  Verdict,
  VerdictAttr,
} from './protocol.ts'

type Attributes = Map<number, Uint8Array>

/** What a register holds: bytes of a packet, after a mask. */
type Loaded = { readonly field: PacketField; readonly offset: number; readonly mask?: Uint8Array }

const REGISTER_VERDICT = 0
const NETWORK_HEADER = 1
const CMP_EQ = 0
const CMP_NEQ = 1
const CT_STATE = 0
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

/** Reads the expressions of a rule: the tests that we know how to read, and its verdict. */
export function decodeRule(expressions: Uint8Array): FirewallRule {
  const rule = new RuleReader()
  for (const [type, element] of listAttributes(expressions)) {
    if (type !== ListAttr.element) continue
    const attributes = readAttributes(element)
    const name = readString(attributes.get(ExpressionAttr.name) ?? new Uint8Array())
    rule.read(name, readAttributes(attributes.get(ExpressionAttr.data) ?? new Uint8Array()))
  }
  return rule
}

class RuleReader implements FirewallRule {
  readonly tests: FirewallTest[] = []
  verdict: FirewallVerdict = { kind: 'continue' }
  readonly #registers = new Map<number, Loaded>()

  read(name: string, data: Attributes): void {
    const number = (type: number): number | undefined => readU32be(data.get(type))
    const verdict = VERDICTS[name]
    if (verdict) this.verdict = verdict
    else if (name === 'meta') {
      if (!data.has(META_SOURCE)) this.#load(number(MetaAttr.target), META[number(MetaAttr.key) ?? -1])
    } else if (name === 'ct') {
      this.#load(number(CT.target), number(CT.key) === CT_STATE ? 'conntrackState' : undefined)
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
      this.verdict = targetVerdict(readString(data.get(COMPAT.name) ?? new Uint8Array()))
    else if (name === 'lookup' && number(LookupAttr.target) === REGISTER_VERDICT) {
      this.verdict = { kind: 'unknown' }
    } else if (!NEUTRAL.includes(name)) this.tests.push(UNKNOWN_TEST)
  }

  #load(register: number | undefined, field: PacketField = 'unknown', offset = 0): void {
    if (register !== undefined) this.#registers.set(register, { field, offset })
  }

  #mask(data: Attributes): void {
    const loaded = this.#registers.get(readU32be(data.get(BitwiseAttr.source)) ?? -1)
    const mask = bytesOf(data.get(BitwiseAttr.mask))
    const xor = bytesOf(data.get(BitwiseAttr.xor))
    const isPlain = loaded && !loaded.mask && mask && !xor?.some((byte) => byte !== 0)
    const masked: Loaded = isPlain ? { ...loaded, mask } : { field: 'unknown', offset: 0 }
    this.#registers.set(readU32be(data.get(BitwiseAttr.target)) ?? -1, masked)
  }

  #compare(data: Attributes): void {
    const loaded = this.#registers.get(readU32be(data.get(CmpAttr.source)) ?? -1)
    const operator = readU32be(data.get(CmpAttr.operator))
    const value = bytesOf(data.get(CmpAttr.data))
    if (!loaded || !value || (operator !== CMP_EQ && operator !== CMP_NEQ)) this.tests.push(UNKNOWN_TEST)
    else this.tests.push({ ...loaded, value, isEqual: operator === CMP_EQ })
  }

  #set(data: Attributes): void {
    const register = readU32be(data.get(ImmediateAttr.register))
    if (register === REGISTER_VERDICT) this.verdict = verdictOf(data.get(ImmediateAttr.data))
    else this.#load(register)
  }

  /** An extension of iptables. */
  #match(data: Attributes): void {
    const name = readString(data.get(COMPAT.name) ?? new Uint8Array())
    const info = data.get(COMPAT.info) ?? new Uint8Array()
    const test = matchTest(name, readU32be(data.get(COMPAT.revision)) ?? 0, info)
    if (test) this.tests.push(test)
  }
}

function bytesOf(data: Uint8Array | undefined): Uint8Array | undefined {
  return data && readAttributes(data).get(DataAttr.value)
}

function verdictOf(data: Uint8Array | undefined): FirewallVerdict {
  const verdict = readAttributes(
    readAttributes(data ?? new Uint8Array()).get(DataAttr.verdict) ?? new Uint8Array(),
  )
  const chain = readString(verdict.get(VerdictAttr.chain) ?? new Uint8Array())
  switch (readU32be(verdict.get(VerdictAttr.code))) {
    case Verdict.drop:
      return { kind: 'drop' }
    case Verdict.accept:
      return { kind: 'accept' }
    case Verdict.return:
      return { kind: 'return' }
    case Verdict.continue:
      return { kind: 'continue' }
    case Verdict.jump:
      return { kind: 'jump', chain }
    case Verdict.goto:
      return { kind: 'goto', chain }
    default:
      return { kind: 'unknown' }
  }
}
