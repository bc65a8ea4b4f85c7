import { listAttributes, MessageWriter, readAttributes } from '../netlink/message.ts'
import { writeAttributes } from './attributes.ts'
import { encodeRule } from './batch.ts'
import type { NftRule } from './objects.ts'
import { RuleAttr } from './protocol.ts'

/** The family header of every nfnetlink message, before its attributes: bytes. */
const NFGEN_LENGTH = 4

/**
 * Returns whether the rules that a dump of a chain shows (bodies of NFT_MSG_NEWRULE) hold these rules, in this order. Others
 * may stand between them. The kernel shows attributes that we leave out, such as flags with their default value: those that
 * we write must be there.
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
  const wanted = listAttributes(writeAttributes(new MessageWriter(), encodeRule(rule)).finish())
  return shown.length === wanted.length && wanted.every(([, value], i) => covers(shown[i]?.[1], value))
}

/** Returns whether the value is the one wanted, or a list of attributes that has all of the wanted ones. */
function covers(shown: Uint8Array | undefined, wanted: Uint8Array): boolean {
  // The kernel leaves some attributes out that have 0 for a value, such as the code of a TCP reset.
  if (!shown) return wanted.every((byte) => byte === 0)
  if (shown.length === wanted.length && shown.every((byte, i) => byte === wanted[i])) return true
  if (!isAttributeList(shown) || !isAttributeList(wanted)) return wanted.length === 0
  const attributes = readAttributes(shown)
  return listAttributes(wanted).every(([type, value]) => covers(attributes.get(type), value))
}

function isAttributeList(bytes: Uint8Array): boolean {
  const lengths = listAttributes(bytes).map(([, value]) => 4 + value.length + (-value.length & 3))
  return lengths.length > 0 && lengths.reduce((sum, length) => sum + length, 0) === bytes.length
}
