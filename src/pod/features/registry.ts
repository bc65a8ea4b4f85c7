import { bandwidth } from './bandwidth/bandwidth.ts'
import { duplicateDetection } from './duplicate_detection.ts'
import type { NodePorts, PodFeature } from './feature.ts'
import { forwarding } from './forwarding.ts'
import { hostPorts } from './host_ports/host_ports.ts'
import { hostRoutes } from './host_routes.ts'
import { macCheck } from './mac_check.ts'
import { masqueradeExemption } from './masquerade/exempt.ts'
import { masquerade } from './masquerade/masquerade.ts'
import { bridgedSourceCheck, routedSourceCheck } from './source_check/source_check.ts'
import { txQueueLength } from './tx_queue_length.ts'
import { vlans } from './vlans.ts'

/**
 * Returns the features in the order in which they are made, checked and removed: a node that can't forward is found out
 * before anything is made, and at no time can a pod send unchecked.
 */
export function podFeatures(node: NodePorts): PodFeature[] {
  return [
    forwarding,
    hostPorts,
    hostRoutes,
    macCheck,
    bridgedSourceCheck,
    vlans,
    duplicateDetection,
    txQueueLength,
    masquerade,
    masqueradeExemption,
    // Behind masquerading, with whose question to nftables its own goes.
    routedSourceCheck,
    bandwidth,
  ].map((create) => create(node))
}
