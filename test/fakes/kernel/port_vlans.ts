import type { Change, PortVlan } from '../../../src/kernel/kernel.ts'
import { type FakeLink, type Namespace, requireLink, type VlanTable } from './state.ts'
import { refusal } from './steps.ts'

const MAX_VLAN = 4094

type PortVlanChange = Extract<Change, { op: 'addPortVlan' | 'removePortVlan' }>

/**
 * Adds VLANs to a port, or to the bridge itself (`self`); what is there already is changed. Refusals: ENODEV, EINVAL
 * for VLANs out of 1 to 4094 and for a range as PVID, EOPNOTSUPP for what is no port, or no bridge.
 */
export function addPortVlan(namespace: Namespace, { linkIndex, vlan, self }: PortVlanChange): void {
  const link = requireLink(namespace, { index: linkIndex })
  checkRange(vlan)
  if (vlan.pvid && vlan.from !== vlan.to) throw refusal('EINVAL', 'a range can not be the PVID')
  const table = tableOf(link, self === true)
  if (vlan.pvid) dropPvid(table)
  for (let id = vlan.from; id <= vlan.to; id++) {
    table.set(id, { pvid: vlan.pvid === true, untagged: vlan.untagged === true })
  }
}

/** Takes VLANs off. The kernel says nothing when they were not there. */
export function removePortVlan(namespace: Namespace, { linkIndex, vlan, self }: PortVlanChange): void {
  const link = requireLink(namespace, { index: linkIndex })
  checkRange(vlan)
  const table = tableOf(link, self === true)
  for (let id = vlan.from; id <= vlan.to; id++) table.delete(id)
}

/** One entry a VLAN; the kernel would put neighbours of one kind into a range. */
export function portVlansOf(link: FakeLink | undefined): PortVlan[] {
  const table = link?.port?.vlans ?? link?.bridge?.vlans ?? new Map()
  return [...table].map(([id, { pvid, untagged }]) => ({
    from: id,
    to: id,
    ...(pvid && { pvid }),
    ...(untagged && { untagged }),
  }))
}

function checkRange({ from, to }: PortVlan): void {
  if (from < 1 || to > MAX_VLAN || from > to) throw refusal('EINVAL', 'Vlan id is invalid')
}

function tableOf(link: FakeLink, self: boolean): VlanTable {
  const table = self ? link.bridge?.vlans : link.port?.vlans
  if (!table) throw refusal('EOPNOTSUPP')
  return table
}

function dropPvid(table: VlanTable): void {
  for (const [id, flags] of table) if (flags.pvid) table.set(id, { ...flags, pvid: false })
}
