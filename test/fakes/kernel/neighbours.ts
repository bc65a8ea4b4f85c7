import { sameAddress } from '../../../src/core/address.ts'
import type { Neighbour } from '../../../src/kernel/kernel.ts'
import { type Namespace, requireLink } from './state.ts'
import { assertIpv6 } from './sysctls.ts'

/** Makes or replaces a permanent neighbour; the link may be down. Refusals: ENODEV, EINVAL where IPv6 is disabled. */
export function setNeighbour(namespace: Namespace, { linkIndex, address, mac }: Neighbour): void {
  const link = requireLink(namespace, { index: linkIndex })
  if (address.family === 6) assertIpv6(link, 'EINVAL')
  const others = link.neighbours.filter((one) => !sameAddress(one.address, address))
  link.neighbours = [...others, { address, mac }]
}
