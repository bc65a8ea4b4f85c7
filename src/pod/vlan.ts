import { removeLink } from '../attachment/detach.ts'
import { Code, Fault } from '../core/errors.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { ensureAdvertisementsRefused, refuseAdvertisements } from './router_advertisements.ts'

/** Returns the name of the link that carries the gateway of a VLAN: `cni0.100`. */
export function gatewayVlanName(bridge: string, vlan: number): string {
  return `${bridge}.${vlan}`
}

/**
 * Ensures the link for the gateway of an access VLAN, on top of the bridge, with the bridge itself a tagged member. It stays
 * when the last pod goes, as the bridge and its addresses do. The reference plugin uses a second veth pair of the same name;
 * a VLAN link does the same with one device less.
 */
export function ensureGatewayVlan(host: Netns, bridge: Link, vlan: number, undo: UndoStack): Link {
  const name = gatewayVlanName(bridge.name, vlan)
  const found = host.link({ name })
  if (found) return adoptGatewayVlan(host, bridge, vlan, found, undo)
  ensureMember(host, bridge, vlan, undo)
  // The reverse comes first: the link may exist though its creation could not be confirmed.
  undo.push(() => removeLink(host, { name }))
  host.apply([{ op: 'createVlan', name, parent: bridge.index, vlan }])
  refuseAdvertisements(host, name)
  return host.applyAndRead([{ op: 'setLink', link: { name }, up: true, ipv4: { forwarding: true } }], {
    name,
  })
}

/** Uses a link that is there. The reference plugin has one end of a veth pair, whose other end is a port in the VLAN. */
function adoptGatewayVlan(host: Netns, bridge: Link, vlan: number, link: Link, undo: UndoStack): Link {
  if (link.kind !== 'vlan' && link.kind !== 'veth') {
    throw noGateway(link, `a ${link.kind || 'plain device'}`)
  }
  if (link.kind === 'vlan') {
    const isOfBridge = link.vlan?.parent === bridge.index && link.vlan.id === vlan
    if (!isOfBridge) throw noGateway(link, `not VLAN ${vlan} of bridge ${bridge.name}`)
    ensureMember(host, bridge, vlan, undo)
  }
  ensureAdvertisementsRefused(host, link, undo)
  if (link.up) return link
  const ref = { index: link.index }
  undo.push(() => host.apply([{ op: 'setLink', link: ref, up: false }]))
  return host.applyAndRead([{ op: 'setLink', link: ref, up: true }], ref)
}

function noGateway({ name }: Link, what: string): Fault {
  return new Fault(`${name} is to carry the gateway of its VLAN, but is ${what}`, {
    code: Code.invalidConfig,
    hint: `Choose another name for the key "bridge", or give that link another: ip link set dev ${name} name NAME`,
  })
}

/** Ensures that the bridge itself is a member of the VLAN: otherwise a link on top of it receives nothing. */
function ensureMember(host: Netns, bridge: Link, vlan: number, undo: UndoStack): void {
  if (host.portVlans(bridge.index).some(({ from, to }) => from <= vlan && vlan <= to)) return
  const member = { linkIndex: bridge.index, vlan: { from: vlan, to: vlan }, self: true }
  undo.push(() => host.apply([{ op: 'removePortVlan', ...member }]))
  host.apply([{ op: 'addPortVlan', ...member }])
}
