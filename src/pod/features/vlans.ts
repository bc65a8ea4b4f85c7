import type { NetworkConfig } from '../../cni/config.ts'
import type { PortVlan } from '../../kernel/kernel.ts'
import type { PodFeature } from './feature.ts'

/** Puts the pod's port into its VLANs, in place of the default one that the bridge has put it into. */
export function vlans(): PodFeature {
  return {
    port({ config }, { place, link }) {
      const ofPort = vlansOf(config)
      if (ofPort.length === 0) return []
      const dropDefault = config.preserveDefaultVlan !== true
      return [{ kind: 'portVlans', place, link, vlans: ofPort, dropDefault }]
    },
  }
}

/** Trunk VLANs are tagged. The access VLAN, or 1 beside a trunk without one, is the port's own, also if a trunk has it. */
function vlansOf({ vlan, vlanTrunk = [] }: NetworkConfig): PortVlan[] {
  const trunk = vlanTrunk.flatMap(({ id, minID, maxID }) => [
    ...(minID !== undefined && maxID !== undefined ? [{ from: minID, to: maxID }] : []),
    ...(id !== undefined ? [{ from: id, to: id }] : []),
  ])
  const native = vlan || (trunk.length > 0 ? 1 : undefined)
  return [...trunk, ...(native ? [{ from: native, to: native, pvid: true, untagged: true }] : [])]
}
