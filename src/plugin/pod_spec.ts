import type { NetworkConfig } from '../cni/config.ts'
import type { RuntimeArgs } from '../cni/runtime_args.ts'
import { firstAddressOf, lastAddressOf, networkOf, sameAddress } from '../core/address.ts'
import { highestMac } from '../core/mac.ts'
import { type AttachmentId, deriveBridgeMac, deriveNames } from '../core/names.ts'
import { isAllHosts, isSingle } from '../core/special_address.ts'
import type { Kernel } from '../kernel/kernel.ts'
import { type BridgeSpec, familiesOf, type PodIp, type PodRoute, type PodSpec } from '../pod/spec.ts'

/** Returns what the pod gets, from the config, the runtime's arguments and the pod's addresses. */
export function podSpecOf(
  kernel: Kernel,
  id: AttachmentId,
  config: NetworkConfig,
  requests: RuntimeArgs,
  addresses: { readonly ips: readonly PodIp[]; readonly routes: readonly PodRoute[] },
): PodSpec {
  const names = deriveNames(id)
  const mode = config.mode ?? 'l2'
  const bridge = mode === 'l2' ? bridgeSpecOf(kernel, config) : undefined
  const families = familiesOf(addresses.ips)
  return {
    id,
    config,
    mode,
    hostIfName: names.hostIfName,
    hostMac: bridge ? highestMac(names.hostMac) : names.hostMac,
    podMac: requests.mac ?? names.podMac,
    ...(config.mtu && { mtu: config.mtu }),
    ...(requests.podName && { podName: requests.podName }),
    // A pod has no way to a family that it has no address of, and the kernel would invent one.
    routes: addresses.routes.filter(({ dst }) => families.includes(dst.address.family)),
    ips: bridge?.isGateway ? addresses.ips.map(withGateway) : addresses.ips,
    ...(bridge && { bridge }),
    podUp: config.disableContainerInterface !== true,
  }
}

/**
 * An IPAM plugin need not name a gateway: then it is the first address of the subnet, as with the reference plugin; of a
 * subnet of two the one that is not the pod's. A single address has no room for one.
 */
function withGateway(ip: PodIp): PodIp {
  if (ip.gateway || isSingle(ip.cidr)) return ip
  if (!isAllHosts(ip.cidr)) return { ...ip, gateway: firstAddressOf(ip.cidr) }
  const highest = lastAddressOf(ip.cidr)
  return {
    ...ip,
    gateway: sameAddress(ip.cidr.address, highest) ? networkOf(ip.cidr).address : highest,
  }
}

/** Returns the name of the bridge of a network in mode l2. */
export function bridgeNameOf({ bridge = 'cni0' }: NetworkConfig): string {
  return bridge
}

/** Returns what the config says of the bridge and of its ports. */
export function bridgeSpecOf(kernel: Kernel, config: NetworkConfig): BridgeSpec {
  const name = bridgeNameOf(config)
  return {
    name,
    mac: deriveBridgeMac(name, kernel.bootId()),
    isGateway: config.isGateway === true || config.isDefaultGateway === true,
    isDefaultGateway: config.isDefaultGateway === true,
    forceAddress: config.forceAddress === true,
    promiscuous: config.promiscMode === true,
    port: { ...(config.hairpinMode && { hairpin: true }), ...(config.portIsolation && { isolated: true }) },
    // An empty trunk changes no port, but turns filtering on.
    vlanFiltering: Boolean(config.vlan) || config.vlanTrunk !== undefined,
    ...(config.vlan && { gatewayVlan: config.vlan }),
  }
}
