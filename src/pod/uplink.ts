import { parseAddress } from '../core/address.ts'
import type { Netns } from '../kernel/kernel.ts'

// Addresses that no network uses (RFC 5737, RFC 3849): the way to them is the way out.
const ELSEWHERE = [parseAddress('192.0.2.1'), parseAddress('2001:db8::1')]

/** The MTU, in bytes, of the link by which traffic leaves the node, or undefined on a node without a way out. */
export function uplinkMtu(host: Netns): number | undefined {
  for (const address of ELSEWHERE) {
    const index = host.routeTo(address)
    const link = index === undefined ? undefined : host.link({ index })
    if (link && link.name !== 'lo') return link.mtu
  }
  return undefined
}
