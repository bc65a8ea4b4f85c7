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
  /** The message of that condition. */
  readonly networkMessage?: string
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
    ...(condition?.message && { networkMessage: condition.message }),
  }
}

/**
 * Sets the condition NetworkUnavailable to False. Kubernetes then removes the taint network-unavailable from the node. `problem` is what
 * people should know all the same.
 */
export async function setNetworkAvailable(
  api: KubeApi,
  node: NodeView,
  now: Date,
  problem?: string,
): Promise<void> {
  const time = now.toISOString()
  const condition = {
    type: CONDITION,
    status: 'False',
    reason: 'BowlineIsUp',
    message: messageWith(problem),
    lastHeartbeatTime: time,
    ...(!node.isNetworkAvailable && { lastTransitionTime: time }),
  }
  await api.patch(`${NODES}/${node.name}/status`, { status: { conditions: [condition] } })
}

/** Reports whether the Node says already what `setNetworkAvailable` would say. One that another program has made available is left alone. */
export function saysAvailable(
  { isNetworkAvailable, networkMessage = '' }: NodeView,
  problem?: string,
): boolean {
  if (!isNetworkAvailable) return false
  return problem
    ? networkMessage === messageWith(problem)
    : !networkMessage.startsWith(messageWith(' ').trimEnd())
}

function messageWith(problem?: string): string {
  return `Bowline is installed on this node, and its STATUS passes${problem ? `, but: ${problem}` : ''}`
}
