import type { FirewallVerdict } from '../firewall/chain.ts'
import { readAttributes, readString, readU32be } from '../netlink/message.ts'
import { DataAttr, Verdict, VerdictAttr } from './protocol.ts'

/** Reads the verdict in the data of a rule or an element. */
export function verdictOf(data: Uint8Array | undefined): FirewallVerdict {
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
