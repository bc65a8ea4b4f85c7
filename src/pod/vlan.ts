import { Code, Fault } from '../core/errors.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Change, Link, Netns, PortVlan } from '../kernel/kernel.ts'
import { removeLink } from './detach.ts'
import { ensureAdvertisementsRefused, refuseAdvertisements } from './router_advertisements.ts'
import type { BridgeSpec } from './spec.ts'

export const ALL_VLANS: PortVlan = { from: 1, to: 4094 }

/** The name of the link that carries the gateway of a VLAN: `cni0.100`. */
export function gatewayVlanName(bridge: string, vlan: number): string {
  return `${bridge}.${vlan}`
}

/**
 * The gateway of an access VLAN: a VLAN link on top of the bridge, with the bridge itself a tagged member. It stays when
 * the last pod goes, as the bridge and its addresses do. (The reference plugin uses a second veth pair for it, of the
 * same name, which is as good: a VLAN link does the same with one device less.)
 */
export function ensureGatewayVlan(host: Netns, bridge: Link, vlan: number, undo: UndoStack): Link {
  const name = gatewayVlanName(bridge.name, vlan)
  const found = host.link({ name })
  if (found) return adoptGatewayVlan(host, found, undo)
  ensureMember(host, bridge, vlan, undo)
  // The reverse comes first: the link may exist though its creation could not be confirmed.
  undo.push(() => removeLink(host, { name }))
  host.apply([{ op: 'createVlan', name, parent: bridge.index, vlan }])
  refuseAdvertisements(host, name)
  return host.applyAndRead([{ op: 'setLink', link: { name }, up: true }], { name })
}

/** What a fresh port needs. The bridge has put it into its own default VLAN, whatever that is. */
export function portVlanChanges(linkIndex: number, { vlans, dropDefaultVlan }: BridgeSpec): Change[] {
  const drop: Change = { op: 'removePortVlan', linkIndex, vlan: ALL_VLANS }
  const add = (vlan: PortVlan): Change => ({ op: 'addPortVlan', linkIndex, vlan })
  return [...(dropDefaultVlan ? [drop] : []), ...vlans.map(add)]
}

/** Of the reference plugin it would be one end of a veth pair. */
function adoptGatewayVlan(host: Netns, link: Link, undo: UndoStack): Link {
  if (!['vlan', 'veth'].includes(link.kind)) {
    throw new Fault(
      `${link.name} is to carry the gateway of its VLAN, but is a ${link.kind || 'plain device'}`,
      {
        code: Code.invalidConfig,
        cure: `Choose another name for the key "bridge", or remove that link: ip link del ${link.name}`,
      },
    )
  }
  ensureAdvertisementsRefused(host, link, undo)
  if (link.up) return link
  const ref = { index: link.index }
  undo.push(() => host.apply([{ op: 'setLink', link: ref, up: false }]))
  return host.applyAndRead([{ op: 'setLink', link: ref, up: true }], ref)
}

function ensureMember(host: Netns, bridge: Link, vlan: number, undo: UndoStack): void {
  if (host.portVlans(bridge.index).some(({ from, to }) => from <= vlan && vlan <= to)) return
  const member = { linkIndex: bridge.index, vlan: { from: vlan, to: vlan }, self: true }
  undo.push(() => host.apply([{ op: 'removePortVlan', ...member }]))
  host.apply([{ op: 'addPortVlan', ...member }])
}
