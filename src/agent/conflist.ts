import { Code, Fault } from '../core/errors.ts'

type Json = Record<string, unknown>

const DEFAULT_ROUTES = ['0.0.0.0/0', '::/0'] as const

/**
 * Returns the network configuration list of a node: the template with one range set for each podCIDR in place of its own ranges, and a
 * default route for each family of which the template has no route. Throws a Fault for a template that cannot be read.
 */
export function conflistFor(template: string, podCidrs: readonly string[]): string {
  const list = parseTemplate(template)
  const plugin = list.plugins?.find(({ type }) => type === 'bowline')
  if (!plugin) throw unfit('it has no plugin "bowline"')
  const ipam = plugin['ipam'] as (Json & { routes?: { dst: string }[] }) | undefined
  const routes = ipam?.routes ?? []
  const missing = DEFAULT_ROUTES.filter(
    (dst) =>
      podCidrs.some((cidr) => isIpv6(cidr) === isIpv6(dst)) &&
      !routes.some((one) => isIpv6(one.dst) === isIpv6(dst)),
  )
  plugin['ipam'] = {
    ...ipam,
    ranges: podCidrs.map((subnet) => [{ subnet }]),
    routes: [...routes, ...missing.map((dst) => ({ dst }))],
  }
  return JSON.stringify(list)
}

function parseTemplate(template: string): { plugins?: Json[] } {
  try {
    return JSON.parse(template) as { plugins?: Json[] }
  } catch (error) {
    throw unfit((error as Error).message)
  }
}

function isIpv6(cidr: string): boolean {
  return cidr.includes(':')
}

function unfit(why: string): Fault {
  return new Fault(`the template of the conflist cannot be used: ${why}`, {
    code: Code.invalidConfig,
    hint: 'Write the ConfigMap like conf/10-bowline.conflist.',
  })
}
