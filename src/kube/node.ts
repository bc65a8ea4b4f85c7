import type { Node } from 'kubernetes-types/core/v1'
import type { KubeApi } from './api.ts'

/** What the agent needs of a Node; the rest, such as its list of images, is dropped. */
export type NodeView = {
  readonly name: string
  /** One of each family; empty until the controller manager has assigned them. */
  readonly podCidrs: readonly string[]
  /** Whether its condition NetworkUnavailable is False. */
  readonly isNetworkAvailable: boolean
}

export const NODES = '/api/v1/nodes'
const CONDITION = 'NetworkUnavailable'

export function nodeView(object: unknown): NodeView {
  const { metadata, spec, status } = object as Node
  const { podCIDR, podCIDRs } = spec ?? {}
  const condition = status?.conditions?.find(({ type }) => type === CONDITION)
  return {
    name: metadata?.name ?? '',
    podCidrs: podCIDRs ?? (podCIDR ? [podCIDR] : []),
    isNetworkAvailable: condition?.status === 'False',
  }
}

/** Tells the scheduler that pods of this node get a network: the taint network-unavailable goes. */
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
