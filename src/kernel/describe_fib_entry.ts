import { formatAddress, formatCidr } from '../core/address.ts'
import { quote } from '../core/shell.ts'
import { type FibEntry, type Netns, Table } from './kernel.ts'

/** Returns a route as `ip route` writes it. */
export function describeFibEntry(host: Netns, entry: FibEntry): string {
  const { type, dst, table, priority } = entry
  const parts = [
    type !== 'unicast' && type,
    dst && (dst.prefix === 0 ? 'default' : formatCidr(dst)),
    ...(type === 'unicast' ? describeHops(host, entry) : []),
    table !== undefined && table !== Table.main && `table ${table}`,
    priority && `metric ${priority}`,
  ]
  return parts.filter(Boolean).join(' ')
}

function describeHops(host: Netns, { hops, nextHopId }: FibEntry): string[] {
  if (nextHopId !== undefined) return [`nhid ${nextHopId}`]
  const texts = hops.map(({ linkIndex, gateway }) => {
    const name = host.link({ index: linkIndex })?.name ?? String(linkIndex)
    return `${gateway ? `via ${formatAddress(gateway)} ` : ''}dev ${quote(name)}`
  })
  return texts.length > 1 ? texts.map((text) => `nexthop ${text}`) : texts
}

/** Returns the command that removes a route. */
export function removeRouteCommand(host: Netns, entry: FibEntry): string {
  const family = entry.dst?.address.family === 6 ? '-6 ' : ''
  return `ip ${family}route del ${describeFibEntry(host, entry)}`
}
