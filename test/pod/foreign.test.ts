import { describe, expect, it } from 'vitest'
import { parseAddress, parseCidr } from '../../src/core/address.ts'
import type { FibEntry, Netns } from '../../src/kernel/kernel.ts'
import { refuseForeignRouted } from '../../src/pod/foreign.ts'
import type { NodeState } from '../../src/pod/node_state.ts'

/* A route to the gateway whose link goes while an ADD looks at it, as that of a pod does which is deleted at the same time. */

const GATEWAY = parseAddress('fd00::1')
const OTHERS = { holderOf: () => undefined, isOwnLink: () => false } as unknown as NodeState
/** As the kernel has it while an address is new: IPv6, by the kernel, for the very address. */
const ROUTE: FibEntry = {
  type: 'unicast',
  dst: parseCidr('fd00::1/128'),
  table: 254,
  protocol: 2,
  priority: 256,
  hops: [{ linkIndex: 7 }],
}

/** Judges the gateway by that route, on a node without any link. `later` is what the kernel answers from then on. */
function judge(later: FibEntry | undefined): void {
  const host = { link: () => undefined, addresses: () => [], lookupRoutes: () => [later] } as unknown as Netns
  const ip = { cidr: parseCidr('fd00::5/64'), gateway: GATEWAY }
  refuseForeignRouted(host, { ips: [ip] }, (address) => (address === GATEWAY ? ROUTE : undefined), OTHERS)
}

describe('a route whose link has gone', () => {
  it('is no hindrance when the kernel has no other', () => {
    expect(() => judge(undefined)).not.toThrow()
  })

  it('is asked for again, a bounded number of times', () => {
    expect(() => judge(ROUTE)).toThrow(/fd00::1: an ADD would make the gateway/)
  })
})
