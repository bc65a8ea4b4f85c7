import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { captureRequest } from '../../support/netlink/ip_capture.ts'
import { REQUEST_SETUP, REQUESTS, requestsOf } from '../../support/netlink/requests.ts'
import { treeOf } from '../../support/netlink/tree.ts'
import { enterPrivateNamespaces, run } from '../../support/node/private_namespaces.ts'

/*
 * The same comparison as in test/kernel/netlink_requests.test.ts, but with what iproute2 sends now, on this machine: it
 * shows when the captured bytes have become history.
 */

beforeAll(enterPrivateNamespaces)

beforeEach(() => {
  for (const line of REQUEST_SETUP) run(line)
})

afterEach(() => {
  run('ip netns del pod')
  run('for link in v0 v1 br0 br1 i0 i1; do ip link del $link 2>/dev/null || true; done')
})

describe('a change says the same to the kernel as iproute2 here and now with', () => {
  it.each(REQUESTS)('%s', (ip, change) => {
    expect(requestsOf(change).map(treeOf)).toEqual([treeOf(captureRequest(ip))])
  })
})
