import { formatAddress, formatCidr } from '../core/address.ts'
import { quote } from '../core/shell.ts'
import type { Netns, Way } from '../kernel/kernel.ts'

const MAIN_TABLE = 254

/** A route as `ip route` writes it. */
export function describeWay(host: Netns, way: Way): string {
  const { type, dst, table, priority } = way
  const parts = [
    type !== 'unicast' && type,
    dst && (dst.prefix === 0 ? 'default' : formatCidr(dst)),
    ...(type === 'unicast' ? describeHops(host, way) : []),
    table !== undefined && table !== MAIN_TABLE && `table ${table}`,
    priority && `metric ${priority}`,
  ]
  return parts.filter(Boolean).join(' ')
}

function describeHops(host: Netns, { hops, nextHopId }: Way): string[] {
  if (nextHopId !== undefined) return [`nhid ${nextHopId}`]
  const texts = hops.map(({ linkIndex, gateway }) => {
    const name = host.link({ index: linkIndex })?.name ?? String(linkIndex)
    return `${gateway ? `via ${formatAddress(gateway)} ` : ''}dev ${quote(name)}`
  })
  return texts.length > 1 ? texts.map((text) => `nexthop ${text}`) : texts
}

/** The command that takes a route away. */
export function removeWay(host: Netns, way: Way): string {
  const family = way.dst?.address.family === 6 ? '-6 ' : ''
  return `ip ${family}route del ${describeWay(host, way)}`
}
