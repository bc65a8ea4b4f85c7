import { addressFromBytes } from '../../core/address.ts'
import type { PolicyRule } from '../kernel.ts'
import { listAttributes, readAttributes, readString, readU32 } from './message.ts'
import { Family, Fra } from './rtnetlink.ts'

/** FR_ACT_TO_TBL: look into a table. Source: linux/fib_rules.h. */
const RULE_TO_TABLE = 1
/** FR_ACT_BLACKHOLE, FR_ACT_UNREACHABLE, FR_ACT_PROHIBIT. */
const DROPS: Readonly<Record<number, NonNullable<PolicyRule['drops']>>> = {
  6: 'blackhole',
  7: 'unreachable',
  8: 'prohibit',
}
const RULE_INVERT = 2
const NO_SUPPRESSION = 0xffffffff
/** Attributes with which a rule still depends only on the source and the interface. */
const PLAIN_RULE: readonly number[] = [
  Fra.source,
  Fra.inputLink,
  Fra.priority,
  Fra.suppressGroup,
  Fra.suppressPrefix,
  Fra.table,
  Fra.protocol,
  Fra.padding,
]

/**
 * Reads the body of an RTM_NEWRULE message. Undefined for a rule that neither leads to a table nor drops, that finds no default
 * route in its table, or that asks for more than the source and the incoming interface of a packet (a mark, a port, a user): nobody can say
 * whether a pod's packets will have that.
 */
export function decodePolicyRule(body: Uint8Array): PolicyRule | undefined {
  const family = body[0] === Family.inet ? 4 : body[0] === Family.inet6 ? 6 : undefined
  if (body.length < 12 || !family) return undefined
  const [, destinationBits, sourceBits = 0, tos, headTable = 0, , , action] = body
  const flags = readU32(body, 8) ?? 0
  const drops = DROPS[action ?? 0]
  if ((action !== RULE_TO_TABLE && !drops) || destinationBits || tos || flags & RULE_INVERT) return undefined
  if (listAttributes(body.subarray(12)).some(([type]) => !PLAIN_RULE.includes(type))) return undefined
  const attributes = readAttributes(body, 12)
  for (const type of [Fra.suppressGroup, Fra.suppressPrefix]) {
    if ((attributes.u32(type) ?? NO_SUPPRESSION) !== NO_SUPPRESSION) return undefined
  }
  const source = attributes.get(Fra.source)
  const inputLink = attributes.get(Fra.inputLink)
  return {
    family,
    priority: attributes.u32(Fra.priority) ?? 0,
    table: attributes.u32(Fra.table) ?? headTable,
    ...(drops && { drops }),
    ...(source && { source: { address: addressFromBytes(source), prefix: sourceBits } }),
    ...(inputLink && { inputLink: readString(inputLink) }),
  }
}
