import { type Family, formatCidr, networkOf } from '../core/address.ts'
import { distinct } from '../core/text.ts'
import type { Netns, PolicyRule } from '../kernel/kernel.ts'
import type { Place } from '../state/desired.ts'
import type { Difference } from '../state/explain.ts'
import { deliveredAddresses } from './delivery.ts'
import { familiesOf, type PodSpec } from './spec.ts'
import { meets } from './uplink.ts'

/**
 * Returns the policy rules that drop what the pod sends to the world, though a later rule would lead it there. The command lets our pods
 * pass in front of the rule, which stays: it is somebody else's.
 */
export function diagnoseRules({ netns, prefix }: Place, spec: PodSpec): Difference[] {
  if (deliveredAddresses(spec).length === 0) return []
  const { rules } = netns.routing([])
  return familiesOf(spec.ips).flatMap((family) => {
    const ofFamily = spec.ips.filter(({ cidr }) => cidr.address.family === family)
    const own = distinct(
      ofFamily.map(({ cidr }) => networkOf(cidr)),
      formatCidr,
    )
    const found = findDrop(netns, { ...spec, ips: ofFamily }, family, rules)
    if (!found) return []
    const ip = family === 6 ? 'ip -6' : 'ip'
    const { rule, table } = found
    const commands = own.map(
      (cidr) => `${ip} rule add pref ${rule.priority - 1} from ${formatCidr(cidr)} lookup ${table}`,
    )
    const what = `policy rule ${rule.priority} (${ip} rule show) drops what ${own.map(formatCidr).join(', ')} sends`
    const isPassable = rule.priority > 0
    return [
      { what, steps: isPassable ? commands.map((command) => ({ command: `${prefix}${command}` })) : [] },
    ]
  })
}

/** Finds the first rule that drops, and the table of the first one behind it that leads out. */
function findDrop(
  host: Netns,
  spec: PodSpec,
  family: Family,
  rules: readonly PolicyRule[],
): { readonly rule: PolicyRule; readonly table: number } | undefined {
  const met = rules.filter((rule) => rule.family === family && meets(rule, spec))
  const at = met.findIndex(({ drops }) => drops)
  const rule = met[at]
  const leadsOut = ({ table, drops }: PolicyRule): boolean =>
    !drops && host.defaultRoutes(family, table).length > 0
  if (!rule || met.slice(0, at).some(leadsOut)) return undefined
  const way = met.slice(at).find(leadsOut)
  return way && { rule, table: way.table }
}
