import type { FirewallVerdict } from '../firewall/chain.ts'
import { readAttributes, readString, readU32be } from '../netlink/message.ts'
import type { Attributes } from './attributes.ts'
import type { Datatype } from './datatypes.ts'
import { DataAttr, NFT_DATA_VERDICT, VERDICTS, VerdictAttr } from './protocol.ts'

/** What becomes of a packet. Chains are named within their table. */
export type NftVerdict = 'accept' | 'drop' | 'return' | { readonly jump: string } | { readonly goto: string }

/** The data of a verdict map. */
export const verdict: Datatype<NftVerdict> = {
  name: 'verdict',
  number: NFT_DATA_VERDICT,
  length: 0,
  order: 0,
  encode: () => new Uint8Array(),
  decode: () => undefined,
  toData: encodeVerdict,
  fromData(data) {
    const read = readVerdict(data)
    if (read.kind === 'jump') return { jump: read.chain }
    if (read.kind === 'goto') return { goto: read.chain }
    return read.kind === 'continue' || read.kind === 'unknown' ? undefined : read.kind
  },
  show: describeVerdict,
}

export function encodeVerdict(verdict: NftVerdict): Attributes {
  const [kind, chain] = partsOf(verdict)
  return [
    [
      DataAttr.verdict,
      [
        [VerdictAttr.code, VERDICTS[kind]],
        ...(chain === undefined ? [] : [[VerdictAttr.chain, chain] as const]),
      ],
    ],
  ]
}

/** `goto subnet-10.1.0.0/24` */
export function describeVerdict(verdict: NftVerdict): string {
  return partsOf(verdict)
    .filter((part) => part !== undefined)
    .join(' ')
}

/** Returns the chain that packets go to, if any. */
export function targetOf(verdict: NftVerdict): string | undefined {
  return partsOf(verdict)[1]
}

function partsOf(verdict: NftVerdict): [kind: keyof typeof VERDICTS, chain?: string] {
  if (typeof verdict === 'string') return [verdict]
  return 'goto' in verdict ? ['goto', verdict.goto] : ['jump', verdict.jump]
}

/** Reads the verdict in the data of a rule or an element. */
export function readVerdict(data: Uint8Array | undefined): FirewallVerdict {
  const verdict = readAttributes(data ?? new Uint8Array()).nested(DataAttr.verdict)
  const code = readU32be(verdict.get(VerdictAttr.code))
  const kind = KINDS.find((name) => VERDICTS[name] === code)
  if (kind !== 'jump' && kind !== 'goto') return { kind: kind ?? 'unknown' }
  return { kind, chain: readString(verdict.get(VerdictAttr.chain) ?? new Uint8Array()) }
}

const KINDS = Object.keys(VERDICTS) as (keyof typeof VERDICTS)[]
