import { sameAddress } from '../../../src/core/address.ts'
import type { Neighbour } from '../../../src/kernel/kernel.ts'
import { type Namespace, requireLink } from './state.ts'

/** Makes or replaces a permanent neighbour; the link may be down. Refusal: ENODEV. */
export function setNeighbour(namespace: Namespace, { linkIndex, address, mac }: Neighbour): void {
  const link = requireLink(namespace, { index: linkIndex })
  const others = link.neighbours.filter((one) => !sameAddress(one.address, address))
  link.neighbours = [...others, { address, mac }]
}
