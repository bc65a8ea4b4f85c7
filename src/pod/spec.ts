import type { CniRoute } from '../cni/result.ts'
import type { Address, Cidr, Family } from '../core/address.ts'
import type { Mac } from '../core/mac.ts'
import type { AttachmentId } from '../core/names.ts'
import type { PortOptions, PortVlan } from '../kernel/kernel.ts'

/** What one pod is to get: config, requests and addresses put together, before anything is known of the kernel. */
export type PodSpec = {
  readonly id: AttachmentId
  readonly mode: 'l2' | 'l3'
  readonly hostIfName: string
  readonly hostMac: Mac
  readonly podMac: Mac
  /** What the config says, in bytes; absent: that of the bridge, but no more than the way out carries. */
  readonly mtu?: number
  readonly ips: readonly PodIp[]
  readonly routes: readonly PodRoute[]
  /** Masquerade what leaves the pod's own subnet. */
  readonly masquerade: boolean
  /** Only in mode l2. */
  readonly bridge?: BridgeSpec
  /** False leaves the pod's end down. */
  readonly podUp: boolean
  /** Family 6: look whether another machine has the addresses, and wait for the answer. */
  readonly duplicateDetection: boolean
}

/** An address with the prefix length of its subnet. */
export type PodIp = { readonly cidr: Cidr; readonly gateway?: Address }

/** What the result of IPAM says of a route is what the pod gets. */
export type PodRoute = CniRoute

export type BridgeSpec = {
  readonly name: string
  readonly mac: Mac
  /** The bridge carries the gateway addresses. */
  readonly isGateway: boolean
  /** Each family gets a default route through its gateway, unless the routes name one. */
  readonly isDefaultGateway: boolean
  /** Replace an address of the bridge that is in the gateway's way. */
  readonly forceAddress: boolean
  readonly promiscuous: boolean
  /** Drop what the pod sends with another hardware address than its own. */
  readonly checkMac: boolean
  readonly port: PortOptions
  /** Let the bridge filter VLANs. */
  readonly vlanFiltering: boolean
  /** VLANs of the port; a later entry for the same VLAN counts. */
  readonly vlans: readonly PortVlan[]
  /** Take the bridge's default VLAN off the port before it gets its own. */
  readonly dropDefaultVlan: boolean
  /** The access VLAN that the gateway lives in. */
  readonly gatewayVlan?: number
}

/** The families that the pod has addresses of, in the order of its addresses. */
export function familiesOf(ips: readonly PodIp[]): Family[] {
  return [...new Set(ips.map(({ cidr }) => cidr.address.family))]
}
