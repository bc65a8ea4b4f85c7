import type { Address } from '../core/address.ts'
import type { Netns } from '../kernel/kernel.ts'

// Addresses that no network uses (RFC 5737, RFC 3849): the way to them is the way out.
// 192.0.2.1 and 2001:db8::1.
const ELSEWHERE: readonly Address[] = [
  { family: 4, value: 0xc0000201n },
  { family: 6, value: (0x20010db8n << 96n) + 1n },
]

/** The MTU, in bytes, of the link by which traffic leaves the node, or undefined on a node without a way out. */
export function uplinkMtu(host: Netns): number | undefined {
  for (const address of ELSEWHERE) {
    const index = host.routeTo(address)
    const link = index === undefined ? undefined : host.link({ index })
    if (link && link.name !== 'lo') return link.mtu
  }
  return undefined
}
