import type { Node } from 'kubernetes-types/core/v1'
import type { KubeApi } from './api.ts'

/** The part of a Node that the agent needs; the rest, such as its list of images, is dropped. */
export type NodeView = {
  readonly name: string
  /** One of each family; empty until the controller manager has assigned them. */
  readonly podCidrs: readonly string[]
  /** Its addresses of the type InternalIP, one of each family; a node that is being registered may have none. */
  readonly internalIps: readonly string[]
  /** Tells whether its condition NetworkUnavailable is False. */
  readonly isNetworkAvailable: boolean
}

export const NODES = '/api/v1/nodes'
const CONDITION = 'NetworkUnavailable'

/** Returns the view of a Node as the API has it. */
export function nodeView(object: unknown): NodeView {
  const { metadata, spec, status } = object as Node
  const { podCIDR, podCIDRs } = spec ?? {}
  const condition = status?.conditions?.find(({ type }) => type === CONDITION)
  return {
    name: metadata?.name ?? '',
    podCidrs: podCIDRs ?? (podCIDR ? [podCIDR] : []),
    internalIps: (status?.addresses ?? [])
      .filter(({ type }) => type === 'InternalIP')
      .map(({ address }) => address),
    isNetworkAvailable: condition?.status === 'False',
  }
}

/** Sets the condition NetworkUnavailable to False. Kubernetes then removes the taint network-unavailable from the node. */
export async function setNetworkAvailable(api: KubeApi, name: string, now: Date): Promise<void> {
  const time = now.toISOString()
  const condition = {
    type: CONDITION,
    status: 'False',
    reason: 'BowlineIsUp',
    message: 'Bowline is installed on this node, and its STATUS passes',
    lastHeartbeatTime: time,
    lastTransitionTime: time,
  }
  await api.patch(`${NODES}/${name}/status`, { status: { conditions: [condition] } })
}
