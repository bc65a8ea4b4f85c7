import { isErrno } from '../core/errors.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'

/** The name of the link that carries the gateway of a VLAN: `cni0.100`. */
export function gatewayVlanName(bridge: string, vlan: number): string {
  return `${bridge}.${vlan}`
}

/**
 * The gateway of an access VLAN: a VLAN link on top of the bridge, with the bridge itself a tagged member.
 * (The reference plugin uses a second veth pair for it: a VLAN link does the same with one device less.)
 */
export function ensureGatewayVlan(host: Netns, bridge: Link, vlan: number, undo: UndoStack): Link {
  const name = gatewayVlanName(bridge.name, vlan)
  const found = host.link({ name })
  if (found) return found
  host.apply([{ op: 'addPortVlan', linkIndex: bridge.index, vlan: { from: vlan, to: vlan }, self: true }])
  try {
    const link = host.applyAndRead(
      [
        { op: 'createVlan', name, parent: bridge.index, vlan },
        { op: 'setLink', link: { name }, up: true },
      ],
      { name },
    )
    undo.push(() => host.apply([{ op: 'removeLink', link: { index: link.index } }]))
    return link
  } catch (error) {
    const theirs = isErrno(error, 'EEXIST') ? host.link({ name }) : undefined
    if (!theirs) throw error
    return theirs
  }
}
