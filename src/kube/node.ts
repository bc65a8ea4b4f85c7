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

/** What the condition NetworkUnavailable is to say. */
export type NetworkState = {
  /** Kubernetes then removes the taint network-unavailable from the node. */
  readonly isAvailable: boolean
  /** What people should know, also of a network that is available. */
  readonly problem?: string | undefined
}

/** Sets the condition NetworkUnavailable. */
export async function setNetworkCondition(
  api: KubeApi,
  node: NodeView,
  now: Date,
  state: NetworkState,
): Promise<void> {
  const { isAvailable } = state
  const time = now.toISOString()
  const isNew = isAvailable !== node.isNetworkAvailable || node.networkMessage === undefined
  const condition = {
    type: CONDITION,
    status: isAvailable ? 'False' : 'True',
    reason: isAvailable ? 'BowlineIsUp' : 'BowlineIsNotConfigured',
    message: messageOf(state),
    lastHeartbeatTime: time,
    ...(isNew && { lastTransitionTime: time }),
  }
  await api.patch(`${NODES}/${node.name}/status`, { status: { conditions: [condition] } })
}

/** Reports whether the Node says that already. What another program says of an available network is left alone. */
export function saysNetworkState(
  { isNetworkAvailable, networkMessage = '' }: NodeView,
  state: NetworkState,
): boolean {
  if (isNetworkAvailable !== state.isAvailable) return false
  return state.problem
    ? networkMessage === messageOf(state)
    : !networkMessage.startsWith(messageOf({ isAvailable: true, problem: ' ' }).trimEnd())
}

function messageOf({ isAvailable, problem }: NetworkState): string {
  const state = isAvailable
    ? 'Bowline is installed on this node, and its STATUS passes'
    : 'Bowline is installed on this node, and does not reach other nodes'
  return `${state}${problem ? `, ${isAvailable ? 'but' : 'for'}: ${problem}` : ''}`
}
