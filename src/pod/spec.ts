import type { NetworkConfig } from '../cni/config.ts'
import type { CniRoute } from '../cni/result.ts'
import type { Address, Cidr, Family } from '../core/address.ts'
import type { Mac } from '../core/mac.ts'
import type { AttachmentId } from '../core/names.ts'
import type { PortOptions } from '../kernel/kernel.ts'

/** What one pod gets, from the config, the runtime's arguments and its addresses. The kernel has not been asked yet. */
export type PodSpec = {
  readonly id: AttachmentId
  /** Features read their own keys here. */
  readonly config: NetworkConfig
  readonly mode: 'l2' | 'l3' | 'chained'
  /** `NAMESPACE/NAME`, where the runtime says it. */
  readonly podName?: string
  readonly hostIfName: string
  readonly hostMac: Mac
  readonly podMac: Mac
  /** Bytes. Absent if the config does not say it: then it is the bridge's, limited to the uplink's. */
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

/** A route of the pod, as IPAM has given it. */
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

/** Returns the families of the pod's addresses, in their order. */
export function familiesOf(ips: readonly PodIp[]): Family[] {
  return [...new Set(ips.map(({ cidr }) => cidr.address.family))]
}

/** Returns whether the node must forward what the pods of a network send. */
export function needsForwarding({
  mode,
  isGateway,
  isDefaultGateway,
  ipMasq,
  runtimeConfig,
}: NetworkConfig): boolean {
  const hasHostPorts = (runtimeConfig?.portMappings ?? []).length > 0
  return mode === 'l3' || hasHostPorts || [isGateway, isDefaultGateway, ipMasq].includes(true)
}

/** Returns the families that the node must forward for this pod. */
export function forwardedFamilies({ config, ips }: PodSpec): Family[] {
  return needsForwarding(config) ? familiesOf(ips) : []
}
