import { listAttributes, MessageWriter, readAttributes } from '../netlink/message.ts'
import type { NftRule } from './commands.ts'
import { writeExpression } from './expressions.ts'
import { RuleAttr } from './protocol.ts'

/** The family header of every nfnetlink message, before its attributes: bytes. */
const NFGEN_LENGTH = 4

/**
 * Whether the rules that a dump of a chain shows (bodies of NFT_MSG_NEWRULE) hold these rules, in this order. Others may
 * stand between them. The kernel tells more of an expression than we say, such as flags that have their default: what
 * we say must be there.
 */
export function holdsRules(bodies: readonly Uint8Array[], rules: readonly NftRule[]): boolean {
  let count = 0
  for (const body of bodies) {
    const rule = rules[count]
    if (rule && showsRule(body, rule)) count++
  }
  return count === rules.length
}

function showsRule(body: Uint8Array, rule: NftRule): boolean {
  const expressions = readAttributes(body, NFGEN_LENGTH).get(RuleAttr.expressions) ?? new Uint8Array()
  const shown = listAttributes(expressions)
  const wanted = listAttributes(encodeRule(rule))
  return shown.length === wanted.length && wanted.every(([, value], i) => covers(shown[i]?.[1], value))
}

function encodeRule(rule: NftRule): Uint8Array {
  const writer = new MessageWriter(512)
  for (const expression of rule) writeExpression(writer, expression)
  return writer.finish()
}

/** Whether the value is the one wanted, or a list of attributes that has all that are wanted. */
function covers(shown: Uint8Array | undefined, wanted: Uint8Array): boolean {
  if (!shown) return false
  if (shown.length === wanted.length && shown.every((byte, i) => byte === wanted[i])) return true
  if (!isAttributeList(shown) || !isAttributeList(wanted)) return wanted.length === 0
  const attributes = readAttributes(shown)
  return listAttributes(wanted).every(([type, value]) => covers(attributes.get(type), value))
}

function isAttributeList(bytes: Uint8Array): boolean {
  const lengths = listAttributes(bytes).map(([, value]) => 4 + value.length + (-value.length & 3))
  return lengths.length > 0 && lengths.reduce((sum, length) => sum + length, 0) === bytes.length
}
