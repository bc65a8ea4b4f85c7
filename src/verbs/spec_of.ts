import type { NetworkConfig } from '../cni/config.ts'
import type { Requests } from '../cni/requests.ts'
import { type AttachmentId, deriveBridgeMac, deriveNames } from '../core/names.ts'
import type { Kernel, PortVlan } from '../kernel/kernel.ts'
import type { BridgeSpec, PodIp, PodRoute, PodSpec } from '../pod/spec.ts'
import { uplinkMtu } from '../pod/uplink.ts'

const DEFAULT_BRIDGE = 'cni0'

/** What the pod is to get, from what the config says, what was asked for, and the addresses that it has. */
export function specOf(
  kernel: Kernel,
  id: AttachmentId,
  config: NetworkConfig,
  requests: Requests,
  addresses: { readonly ips: readonly PodIp[]; readonly routes: readonly PodRoute[] },
  mtu = config.mtu,
): PodSpec {
  const names = deriveNames(id)
  const mode = config.mode ?? 'l2'
  const bridge = mode === 'l2' ? bridgeOf(kernel, config) : undefined
  return {
    id,
    mode,
    hostIfName: names.hostIfName,
    hostMac: names.hostMac,
    podMac: requests.mac ?? names.podMac,
    ...(mtu && { mtu }),
    ...addresses,
    masquerade: config.ipMasq === true,
    ...(bridge && { bridge }),
    podUp: config.disableContainerInterface !== true,
    duplicateDetection: config.enabledad === true,
  }
}

/**
 * The MTU for a new pod, in bytes: what the config says; else that of the bridge, if it is there; else what fits the
 * uplink. Undefined on a node without a way out: the kernel's own choice.
 */
export function chooseMtu(kernel: Kernel, config: NetworkConfig): number | undefined {
  if (config.mtu) return config.mtu
  const name = config.mode === 'l3' ? undefined : config.bridge || DEFAULT_BRIDGE
  const bridge = name === undefined ? undefined : kernel.host().link({ name })
  return bridge?.mtu ?? uplinkMtu(kernel.host())
}

function bridgeOf(kernel: Kernel, config: NetworkConfig): BridgeSpec {
  const name = config.bridge || DEFAULT_BRIDGE
  const vlans = vlansOf(config)
  return {
    name,
    mac: deriveBridgeMac(name, kernel.bootId()),
    isGateway: config.isGateway === true || config.isDefaultGateway === true,
    isDefaultGateway: config.isDefaultGateway === true,
    forceAddress: config.forceAddress === true,
    promiscuous: config.promiscMode === true,
    checkMac: config.macspoofchk === true,
    port: { ...(config.hairpinMode && { hairpin: true }), ...(config.portIsolation && { isolated: true }) },
    ...(vlans && { vlans }),
    dropDefaultVlan: vlans !== undefined && config.preserveDefaultVlan !== true && (config.vlan ?? 1) !== 1,
    ...(config.vlan && { gatewayVlan: config.vlan }),
  }
}

/** The access VLAN (1 beside a trunk) is the port's own, trunk VLANs stay tagged. Absent: VLANs are left alone. */
function vlansOf({ vlan, vlanTrunk }: NetworkConfig): PortVlan[] | undefined {
  if (!vlan && !vlanTrunk) return undefined
  const native = vlan || 1
  const access = [{ from: native, to: native, pvid: true, untagged: true }]
  const trunk = (vlanTrunk ?? []).map(({ id, minID, maxID }) => ({
    from: id ?? minID ?? 1,
    to: id ?? maxID ?? 1,
  }))
  return [...access, ...trunk]
}
