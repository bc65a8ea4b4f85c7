import { bitsOf, type Cidr, formatCidr, overlaps, sameAddress } from '../core/address.ts'
import { Code, Fault, isErrno } from '../core/errors.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Change, Link, LinkAddress, Netns } from '../kernel/kernel.ts'
import type { BridgeSpec } from './spec.ts'

const NO_MAC = '00:00:00:00:00:00'
const SCOPE_LINK = 253

/**
 * Makes the bridge, or adopts the one that is there. A bridge that this call made goes with the undo stack, but only
 * while it has no port. Throws a Fault when a link of that name is no bridge.
 */
export function ensureBridge(host: Netns, spec: BridgeSpec, mtu: number | undefined, undo: UndoStack): Link {
  const found = host.link({ name: spec.name })
  const bridge = found ?? createBridge(host, spec, mtu, undo)
  if (bridge.kind !== 'bridge') {
    throw new Fault(
      `bridge ${JSON.stringify(spec.name)} already exists but is a ${bridge.kind || 'plain device'}`,
      {
        code: Code.invalidConfig,
        cure: `Choose another name for the key "bridge", or remove that link: ip link del ${spec.name}`,
      },
    )
  }
  const changes = bridgeChanges(bridge, spec)
  return changes.length > 0 ? host.applyAndRead(changes, { index: bridge.index }) : bridge
}

/** Puts the gateway's addresses on the bridge (or on the VLAN link that stands for it). Idempotent. */
export function ensureGatewayAddresses(
  host: Netns,
  link: Link,
  wanted: readonly Cidr[],
  force: boolean,
  undo: UndoStack,
): void {
  if (wanted.length === 0) return
  const present = host.addresses(link.index)
  for (const cidr of wanted) {
    if (present.some((one) => sameCidr(one.cidr, cidr))) continue
    const conflicts = present.filter((one) => inTheWay(one, cidr))
    if (conflicts[0] && !force) throw addressConflict(link, conflicts[0].cidr, cidr)
    for (const { cidr: old } of conflicts) displace(host, link.index, old, undo)
    addGateway(host, link, cidr, undo)
  }
}

/** The gateway addresses that the link lacks. */
export function missingGateways(host: Netns, link: Link, wanted: readonly Cidr[]): Cidr[] {
  if (wanted.length === 0) return []
  const present = host.addresses(link.index)
  return wanted.filter((cidr) => !present.some((one) => sameCidr(one.cidr, cidr)))
}

function createBridge(host: Netns, spec: BridgeSpec, mtu: number | undefined, undo: UndoStack): Link {
  const { name, mac } = spec
  let isOurs = true
  // The reverse comes first: the link may exist though its creation could not be confirmed.
  undo.push(() => isOurs && removeUnusedBridge(host, name))
  // The MAC is set at creation: a bridge without one takes its ports' and changes with them (plugins#620).
  const create: Change = {
    op: 'createBridge',
    name,
    mac,
    ...(mtu !== undefined && { mtu }),
    vlanFiltering: spec.vlans !== undefined,
  }
  try {
    return host.applyAndRead([create, { op: 'setLink', link: { name }, up: true }], { name })
  } catch (error) {
    // Another ADD was first: theirs is as good as ours.
    const theirs = isErrno(error, 'EEXIST') ? host.link({ name }) : undefined
    if (!theirs) throw error
    isOurs = false
    return theirs
  }
}

function removeUnusedBridge(host: Netns, name: string): void {
  const bridge = host.link({ name })
  if (!bridge || host.links().some(({ master }) => master === bridge.index)) return
  host.apply([{ op: 'removeLink', link: { index: bridge.index } }])
}

/** What an adopted bridge needs; nothing that is as it should be is touched. */
function bridgeChanges(bridge: Link, spec: BridgeSpec): Change[] {
  const link = { index: bridge.index }
  const up = bridge.up ? {} : { up: true }
  const mac = bridge.mac === NO_MAC ? { mac: spec.mac } : {}
  const promiscuous = spec.promiscuous && bridge.promiscuity === 0 ? { promiscuous: true } : {}
  const filtering = spec.vlans !== undefined && !bridge.vlanFiltering ? { vlanFiltering: true } : {}
  const wanted = { ...up, ...mac, ...promiscuous, ...filtering }
  return Object.keys(wanted).length > 0 ? [{ op: 'setLink', link, ...wanted }] : []
}

/** With the first IPv4 address of a subnet the kernel takes away those that came after it. */
function displace(host: Netns, linkIndex: number, cidr: Cidr, undo: UndoStack): void {
  try {
    host.apply([{ op: 'removeAddress', linkIndex, cidr }])
  } catch (error) {
    if (!isErrno(error, 'EADDRNOTAVAIL')) throw error
  }
  undo.push(() => host.apply([{ op: 'addAddress', linkIndex, cidr, noDad: true }]))
}

function addGateway(host: Netns, link: Link, cidr: Cidr, undo: UndoStack): void {
  try {
    host.apply([{ op: 'addAddress', linkIndex: link.index, cidr, noDad: true }])
    undo.push(() => removeUnusedGateway(host, link.index, cidr))
  } catch (error) {
    if (!isErrno(error, 'EEXIST')) throw error
  }
}

/** Another pod may have come to depend on the address since. */
function removeUnusedGateway(host: Netns, index: number, cidr: Cidr): void {
  if (host.links().some(({ master }) => master === index)) return
  host.apply([{ op: 'removeAddress', linkIndex: index, cidr }])
}

/** Family 4: any other address. Family 6: one whose network overlaps; link-local ones never. */
function inTheWay({ cidr, scope }: LinkAddress, wanted: Cidr): boolean {
  if (cidr.address.family !== wanted.address.family || scope === SCOPE_LINK) return false
  if (bitsOf(cidr.address.family) === 32) return true
  return overlaps(cidr, wanted)
}

function sameCidr(a: Cidr, b: Cidr): boolean {
  return a.prefix === b.prefix && sameAddress(a.address, b.address)
}

function addressConflict(link: Link, present: Cidr, wanted: Cidr): Fault {
  return new Fault(
    `bridge ${link.name} already has ${formatCidr(present)}, which is in the way of the gateway ${formatCidr(wanted)}`,
    {
      code: Code.invalidConfig,
      cure: `Set "forceAddress": true to replace it, choose another bridge, or run: ip addr del ${formatCidr(present)} dev ${link.name}`,
    },
  )
}
