import { sameAddress } from '../../../src/core/address.ts'
import type { FdbEntry } from '../../../src/kernel/kernel.ts'
import { type FakeLink, type Namespace, requireLink } from './state.ts'
import { refusal } from './steps.ts'

/** Makes or replaces the entry of a MAC. Refusal: ENODEV. The fake knows entries of VXLAN links only. */
export function setFdbEntry(namespace: Namespace, { linkIndex, mac, destination }: FdbEntry): void {
  const vxlan = requireVxlan(namespace, linkIndex)
  vxlan.fdb = [...vxlan.fdb.filter((one) => one.mac !== mac), { mac, destination }]
}

/** Removes an entry with this MAC and destination. Refusals: ENODEV, ENOENT when there is none. */
export function removeFdbEntry(namespace: Namespace, { linkIndex, mac, destination }: FdbEntry): void {
  const vxlan = requireVxlan(namespace, linkIndex)
  const rest = vxlan.fdb.filter((one) => one.mac !== mac || !sameAddress(one.destination, destination))
  if (rest.length === vxlan.fdb.length) throw refusal('ENOENT')
  vxlan.fdb = rest
}

function requireVxlan(namespace: Namespace, index: number): NonNullable<FakeLink['vxlan']> {
  const { vxlan } = requireLink(namespace, { index })
  if (!vxlan) throw refusal('EOPNOTSUPP')
  return vxlan
}
