import type { NetworkConfig } from '../cni/config.ts'
import type { CniRoute } from '../cni/result.ts'
import type { Address, Cidr, Family } from '../core/address.ts'
import type { Mac } from '../core/mac.ts'
import type { AttachmentId } from '../core/names.ts'
import type { PortOptions } from '../kernel/kernel.ts'

/** What one pod is to get: config, requests and addresses put together, before anything is known of the kernel. */
export type PodSpec = {
  readonly id: AttachmentId
  /** Features read their own keys here. */
  readonly config: NetworkConfig
  readonly mode: 'l2' | 'l3'
  readonly hostIfName: string
  readonly hostMac: Mac
  readonly podMac: Mac
  /** What the config says, in bytes; absent: that of the bridge, but no more than the way out carries. */
  readonly mtu?: number
  readonly ips: readonly PodIp[]
  readonly routes: readonly PodRoute[]
  /** Only in mode l2. */
  readonly bridge?: BridgeSpec
  /** False leaves the pod's end down. */
  readonly podUp: boolean
}

export type BridgedSpec = PodSpec & { readonly bridge: BridgeSpec }

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
  readonly port: PortOptions
  /** Let the bridge filter VLANs. */
  readonly vlanFiltering: boolean
  /** The access VLAN that the gateway lives in. */
  readonly gatewayVlan?: number
}

/** The families that the pod has addresses of, in the order of its addresses. */
export function familiesOf(ips: readonly PodIp[]): Family[] {
  return [...new Set(ips.map(({ cidr }) => cidr.address.family))]
}

/** Returns whether the node must forward what the pods of a network send. */
export function needsForwarding({ mode, isGateway, isDefaultGateway, ipMasq }: NetworkConfig): boolean {
  return mode === 'l3' || [isGateway, isDefaultGateway, ipMasq].includes(true)
}

/** Returns the families that the node must forward for this pod. */
export function forwardedFamilies({ config, ips }: PodSpec): Family[] {
  return needsForwarding(config) ? familiesOf(ips) : []
}
