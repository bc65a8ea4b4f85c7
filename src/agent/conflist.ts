import { type Conflist, conflistIn, isOwn } from '../cni/conflist.ts'
import { Code, Fault } from '../core/errors.ts'
import { isObject } from '../core/json.ts'

type Json = Record<string, unknown>

const DEFAULT_ROUTES = ['0.0.0.0/0', '::/0'] as const

/**
 * Returns the network configuration list of a node: the template with one range set for each podCIDR in place of its own ranges, and a
 * default route for each family of which the template has no route. Throws a Fault for a template that cannot be read.
 */
export function conflistFor(template: string, podCidrs: readonly string[]): string {
  const list = parseTemplate(template)
  if (!list.plugins.some(isOwn)) throw unfit('it has no plugin "bowline"')
  const plugins = list.plugins.map((plugin) => (isOwn(plugin) ? withRanges(plugin, podCidrs) : plugin))
  return JSON.stringify({ ...list, plugins })
}

/** What is wrong with other keys is said by `bowline install`, which names them. */
function withRanges(plugin: Json, podCidrs: readonly string[]): Json {
  const ipam = plugin['ipam'] as (Json & { routes?: unknown }) | undefined
  const routes: { dst?: unknown }[] = Array.isArray(ipam?.routes) ? ipam.routes.filter(isObject) : []
  const missing = DEFAULT_ROUTES.filter(
    (dst) =>
      podCidrs.some((cidr) => isIpv6(cidr) === isIpv6(dst)) &&
      !routes.some((one) => isIpv6(one.dst) === isIpv6(dst)),
  )
  return {
    ...plugin,
    ipam: {
      ...ipam,
      ranges: podCidrs.map((subnet) => [{ subnet }]),
      routes: [...routes, ...missing.map((dst) => ({ dst }))],
    },
  }
}

function parseTemplate(template: string): Conflist {
  let value: unknown
  try {
    value = JSON.parse(template)
  } catch (error) {
    throw unfit((error as Error).message)
  }
  const list = conflistIn(value)
  if (!list) throw unfit('it is no JSON object with a list "plugins"')
  return list
}

function isIpv6(cidr: unknown): boolean {
  return String(cidr).includes(':')
}

function unfit(why: string): Fault {
  return new Fault(`the template of the conflist cannot be used: ${why}`, {
    code: Code.invalidConfig,
    hint: 'Write the ConfigMap like conf/10-bowline.conflist.',
  })
}
