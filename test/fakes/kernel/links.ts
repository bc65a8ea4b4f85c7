import { type Mac, parseMac } from '../../../src/core/mac.ts'
import type { Change, PortOptions } from '../../../src/kernel/kernel.ts'
import { addressesOnDown, addressesOnUp, dropAllAddresses, makeLinkLocals } from './addresses.ts'
import { dropRoutesOf } from './routes.ts'
import { type FakeLink, findLink, type Namespace, portsOf, requireLink, vlansOn } from './state.ts'
import { refusal } from './steps.ts'
import { inheritConf } from './sysctls.ts'

const DEFAULT_MTU = 1500
const DEFAULT_TX_QUEUE = 1000
const MAX_ALIAS_BYTES = 254
/** Every port and bridge begins in this VLAN. */
const DEFAULT_VLAN: [number, { pvid: boolean; untagged: boolean }] = [1, { pvid: true, untagged: true }]
export const LOOPBACK_MTU = 65_536

type Of<Op extends Change['op']> = Extract<Change, { op: Op }>

/** Refusals: EEXIST when either name is taken in its namespace. */
export function createVeth(
  namespace: Namespace,
  peerNamespace: Namespace,
  { host, peer, mtu = DEFAULT_MTU }: Of<'createVeth'>,
): void {
  checkName(namespace, host.name)
  checkName(peerNamespace, peer.name)
  // The kernel registers the peer first: within one namespace it has the lower index.
  const far = register(peerNamespace, { ...peer, kind: 'veth', mtu })
  const near = register(namespace, { ...host, kind: 'veth', mtu })
  near.peer = far
  far.peer = near
}

export function createBridge(
  namespace: Namespace,
  { name, mac, mtu = DEFAULT_MTU, vlanFiltering = false }: Of<'createBridge'>,
): void {
  checkName(namespace, name)
  const bridge = register(namespace, { name, mac, mtu, kind: 'bridge' })
  bridge.bridge = { vlanFiltering, mtuGiven: false, vlans: new Map([DEFAULT_VLAN]) }
}

/** Refusals: ENODEV without the parent, EEXIST for a name or a VLAN that is there. */
export function createVlan(namespace: Namespace, { name, parent, vlan }: Of<'createVlan'>): void {
  checkName(namespace, name)
  const below = requireLink(namespace, { index: parent })
  if (vlansOn(below).some((one) => one.vlan?.id === vlan)) throw refusal('EEXIST')
  const link = register(namespace, { name, mac: below.mac, mtu: below.mtu, kind: 'vlan' })
  link.vlan = { parent: below, id: vlan }
}

/** Refusal: EEXIST for a name that is taken. */
export function createVxlan(namespace: Namespace, { name, mac, mtu, vxlan }: Of<'createVxlan'>): void {
  checkName(namespace, name)
  register(namespace, { name, mac, mtu, kind: 'vxlan' }).vxlan = { options: vxlan, fdb: [] }
}

/** Refusal: EEXIST for a name that is taken. */
export function createIfb(namespace: Namespace, { name }: Of<'createIfb'>): void {
  checkName(namespace, name)
  register(namespace, { name, mac: parseMac('02:00:00:00:1f:b0'), mtu: DEFAULT_MTU, kind: 'ifb' })
}

/** Applies one thing after another, as the kernel does: what came before a refusal stays done. */
export function setLink(namespace: Namespace, change: Of<'setLink'>): void {
  const link = requireLink(namespace, change.link)
  if (change.vlanFiltering !== undefined) setFiltering(link, change.vlanFiltering)
  if (change.mac !== undefined) link.mac = change.mac
  if (change.mtu !== undefined) setMtu(link, change.mtu)
  if (change.txQueueLength !== undefined) link.txQueueLength = change.txQueueLength
  if (change.group !== undefined) link.group = change.group
  if (change.name !== undefined) link.name = change.name
  if (change.alias !== undefined) setAlias(link, change.alias)
  if (change.master !== undefined) setMaster(link, change.master)
  if (change.port !== undefined) setPort(link, change.port)
  if (change.promiscuous !== undefined) link.promiscuous = change.promiscuous
  setFamilies(link, change)
  if (change.up !== undefined && change.up !== link.up) (change.up ? bringUp : takeDown)(link)
  makeLinkLocals(namespace)
  if (link.peer) makeLinkLocals(link.peer.namespace)
}

/** Refusals: ENODEV, EOPNOTSUPP for the loopback. */
export function removeLink(namespace: Namespace, change: Of<'removeLink'>): void {
  const link = requireLink(namespace, change.link)
  if (link.kind === '') throw refusal('EOPNOTSUPP')
  destroyLink(link)
}

/** Takes a link away with all that depends on it: its other end, VLANs on top of it, its place in a bridge. */
export function destroyLink(link: FakeLink): void {
  const { namespace, peer } = link
  for (const vlan of vlansOn(link)) destroyLink(vlan)
  for (const port of portsOf(link)) leaveBridge(port)
  leaveBridge(link)
  dropRoutesOf(link)
  namespace.links.delete(link.index)
  dropAllAddresses(link)
  link.peer = undefined
  if (!peer) return
  peer.peer = undefined
  destroyLink(peer)
}

/** Makes a link with the next index. */
export function register(
  namespace: Namespace,
  { name, mac, mtu, kind }: { name: string; mac: Mac; mtu: number; kind: FakeLink['kind'] },
): FakeLink {
  const link: FakeLink = {
    namespace,
    index: namespace.nextIndex++,
    name,
    kind,
    mac,
    mtu,
    txQueueLength: DEFAULT_TX_QUEUE,
    group: 0,
    up: false,
    promiscuous: false,
    hasChecksumOffload: true,
    alias: '',
    master: undefined,
    peer: undefined,
    vlan: undefined,
    vxlan: undefined,
    bridge: undefined,
    port: undefined,
    addresses: [],
    neighbours: [],
    conf: inheritConf(namespace),
  }
  namespace.links.set(link.index, link)
  return link
}

function checkName(namespace: Namespace, name: string): void {
  if (findLink(namespace, { name })) throw refusal('EEXIST')
}

function setMtu(link: FakeLink, mtu: number): void {
  if (link.mtu === mtu) return
  link.mtu = mtu
  if (link.bridge) link.bridge.mtuGiven = true
  if (link.master) adjustMtu(link.master)
  for (const vlan of vlansOn(link)) vlan.mtu = Math.min(vlan.mtu, mtu)
}

/** A bridge whose MTU was not set to another after it was made takes the least of its ports'. */
function adjustMtu(bridge: FakeLink): void {
  if (bridge.bridge?.mtuGiven) return
  const ports = portsOf(bridge).map(({ mtu }) => mtu)
  bridge.mtu = ports.length > 0 ? Math.min(...ports) : DEFAULT_MTU
  for (const vlan of vlansOn(bridge)) vlan.mtu = Math.min(vlan.mtu, bridge.mtu)
}

function setAlias(link: FakeLink, alias: string): void {
  if (new TextEncoder().encode(alias).length > MAX_ALIAS_BYTES) throw refusal('ERANGE')
  link.alias = alias
}

/** Leaves the old bridge first, also when the new master is then refused. */
function setMaster(link: FakeLink, master: number): void {
  if ((link.master?.index ?? 0) === master) return
  leaveBridge(link)
  if (master === 0) return
  const bridge = link.namespace.links.get(master)
  if (!bridge) throw refusal('EINVAL')
  if (!bridge.bridge) throw refusal('EOPNOTSUPP')
  link.master = bridge
  link.port = { hairpin: false, isolated: false, vlans: new Map([DEFAULT_VLAN]) }
  adjustMtu(bridge)
}

function leaveBridge(link: FakeLink): void {
  const bridge = link.master
  link.master = undefined
  link.port = undefined
  if (bridge) adjustMtu(bridge)
}

function setPort(link: FakeLink, { hairpin, isolated }: PortOptions): void {
  if (!link.port) throw refusal('EOPNOTSUPP', 'not a port of a bridge')
  if (hairpin !== undefined) link.port.hairpin = hairpin
  if (isolated !== undefined) link.port.isolated = isolated
}

function setFiltering(link: FakeLink, filtering: boolean): void {
  if (!link.bridge) throw refusal('EOPNOTSUPP')
  link.bridge.vlanFiltering = filtering
}

function setFamilies(link: FakeLink, { ipv4, ipv6LinkLocal }: Of<'setLink'>): void {
  const set = (leaf: string, value: boolean | undefined) => {
    if (value !== undefined) link.conf.set(leaf, value ? '1' : '0')
  }
  set('ipv4/send_redirects', ipv4?.sendRedirects)
  set('ipv4/arp_notify', ipv4?.arpNotify)
  set('ipv4/forwarding', ipv4?.forwarding)
  set('ipv4/route_localnet', ipv4?.routeLocalnet)
  set('ipv4/rp_filter', ipv4?.rpFilter)
  // The mode counts the other way round: 0 makes an address from the MAC, 1 makes none.
  set('ipv6/addr_gen_mode', ipv6LinkLocal === undefined ? undefined : !ipv6LinkLocal)
}

/** VLANs follow their parent: they can't be up before it, and come up and go down with it. */
function bringUp(link: FakeLink): void {
  if (link.vlan && !link.vlan.parent.up) throw refusal('ENETDOWN')
  link.up = true
  addressesOnUp(link)
  for (const vlan of vlansOn(link)) if (!vlan.up) bringUp(vlan)
}

function takeDown(link: FakeLink): void {
  for (const vlan of vlansOn(link)) if (vlan.up) takeDown(vlan)
  link.up = false
  addressesOnDown(link)
}
