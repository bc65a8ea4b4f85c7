import { sameAddress } from '../../../src/core/address.ts'
import type { Neighbour } from '../../../src/kernel/kernel.ts'
import { type Namespace, requireLink } from './state.ts'
import { refusal } from './steps.ts'

/** Makes or replaces a permanent neighbour; the link may be down. Refusal: ENODEV. */
export function setNeighbour(namespace: Namespace, { linkIndex, address, mac }: Neighbour): void {
  const link = requireLink(namespace, { index: linkIndex })
  const others = link.neighbours.filter((one) => !sameAddress(one.address, address))
  link.neighbours = [...others, { address, mac }]
}

/** Refusals: ENODEV, ENOENT when there is none. */
export function removeNeighbour(namespace: Namespace, { linkIndex, address }: Omit<Neighbour, 'mac'>): void {
  const link = requireLink(namespace, { index: linkIndex })
  const others = link.neighbours.filter((one) => !sameAddress(one.address, address))
  if (others.length === link.neighbours.length) throw refusal('ENOENT')
  link.neighbours = others
}
