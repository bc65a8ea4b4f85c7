import { parseAddress, parseCidr } from '../../../src/core/address.ts'
import { createLinuxKernel } from '../../../src/kernel/linux/kernel.ts'
import type { LocalNode } from '../../../src/overlay/backend.ts'
import type { ClusterNode } from '../../../src/overlay/cluster.ts'
import { type OverlayConfig, readOverlayConfig } from '../../../src/overlay/config.ts'
import { type OverlayPlan, planOverlay } from '../../../src/overlay/plan.ts'
import {
  compareOverlay,
  type Reconciled,
  readUnderlay,
  reconcileOverlay,
} from '../../../src/overlay/reconcile.ts'
import { run } from '../node/private_namespaces.ts'

/*
 * Three nodes, each a network namespace, on one underlay; node 3 is behind a router. On each node one pod in mode l3, made by hand: what is
 * tested here is the way between the nodes.
 */

export const NODES = [1, 2, 3] as const
export type NodeNumber = (typeof NODES)[number]
export type Underlay = 'ipv4' | 'ipv6' | 'dual'

const CONFIG = readOverlayConfig('{}')
const kernel = createLinuxKernel()

export const podAddress = { 4: (n: number) => `10.244.${n}.2`, 6: (n: number) => `fd00:244:${n}::2` }
export const nodeAddress = {
  4: (n: number) => (n === 3 ? '192.0.3.3' : `192.0.2.${n}`),
  6: (n: number) => (n === 3 ? '2001:db8:3::3' : `2001:db8:2::${n}`),
}

/** Makes the namespaces `router`, `n1` to `n3` and `p1` to `p3`. */
export function createMesh(): void {
  run(`ip netns add router; ip netns exec router sh -c '${FORWARD}'
    ip -n router link add ul type bridge; ip -n router link set ul up
    ip -n router address add 192.0.2.254/24 dev ul; ip -n router address add 2001:db8:2::fe/64 dev ul nodad`)
  for (const n of NODES) createNode(n)
}

export function removeMesh(): void {
  run('for ns in router n1 n2 n3 p1 p2 p3; do ip netns del $ns 2>/dev/null || true; done')
}

const FORWARD = `cd /proc/sys/net; echo 0 >ipv6/conf/all/accept_dad; echo 0 >ipv6/conf/default/accept_dad
  echo 1 >ipv4/ip_forward; echo 1 >ipv6/conf/all/forwarding`

function createNode(n: NodeNumber): void {
  const [node, pod] = [`ip -n n${n}`, `ip -n p${n}`]
  run(`ip netns add n${n}; ip netns exec n${n} sh -c '${FORWARD}'; ip netns add p${n}
    ip netns exec p${n} sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'
    ${node} link set lo up; ${pod} link set lo up
    ip -n router link add r${n} type veth peer name eth0 netns n${n}
    ip -n router link set r${n} up; ${node} link set eth0 up
    ${node} address add ${nodeAddress[4](n)}/24 dev eth0
    ${node} address add ${nodeAddress[6](n)}/64 dev eth0 nodad
    ${node} link add pod type veth peer name eth0 netns p${n}
    ${node} link set pod up; ${pod} link set eth0 up
    ${node} address add 10.244.${n}.1/32 dev pod; ${node} address add fd00:244:${n}::1/128 dev pod nodad
    ${pod} address add 10.244.${n}.2/32 dev eth0; ${pod} address add fd00:244:${n}::2/128 dev eth0 nodad
    ${node} route add 10.244.${n}.2 dev pod; ${node} route add fd00:244:${n}::2 dev pod
    ${pod} route add 10.244.${n}.1 dev eth0; ${pod} route add default via 10.244.${n}.1
    ${pod} route add fd00:244:${n}::1 dev eth0; ${pod} route add default via fd00:244:${n}::1`)
  const gateway = n === 3 ? ['192.0.3.254', '2001:db8:3::fe'] : ['192.0.2.254', '2001:db8:2::fe']
  run(
    n === 3
      ? `ip -n router address add 192.0.3.254/24 dev r3; ip -n router address add 2001:db8:3::fe/64 dev r3 nodad`
      : `ip -n router link set r${n} master ul`,
  )
  run(`${node} route add default via ${gateway[0]}; ${node} route add default via ${gateway[1]}`)
}

/** The cluster as the API server would show it. */
export function clusterOf(underlay: Underlay = 'dual', nodes: readonly number[] = NODES): ClusterNode[] {
  const families = ([4, 6] as const).filter((family) => underlay === 'dual' || underlay === `ipv${family}`)
  return nodes.map((n) => ({
    name: `node${n}`,
    addresses: families.map((family) => parseAddress(nodeAddress[family](n))),
    podCidrs: [parseCidr(`10.244.${n}.0/24`), parseCidr(`fd00:244:${n}::/64`)],
  }))
}

/** The plan of one node of a cluster. */
export function planFor(n: NodeNumber, cluster: ClusterNode[], config: Partial<OverlayConfig>): OverlayPlan {
  return onNode(n, (place) => planOverlay(cluster, localNode(n, cluster, place, config)))
}

/** Reconciles one node. */
export function reconcile(
  n: NodeNumber,
  cluster: ClusterNode[],
  config: Partial<OverlayConfig> = {},
): Reconciled {
  return onNode(n, (place) => {
    return reconcileOverlay(kernel, planOverlay(cluster, localNode(n, cluster, place, config)))
  })
}

/** Returns the commands with which a person would do what `reconcile` does. */
export function commandsFor(n: NodeNumber, cluster: ClusterNode[]): string[] {
  return onNode(n, (place) => {
    const plan = planOverlay(cluster, localNode(n, cluster, place, {}))
    const { growth, found } = compareOverlay(kernel, plan, 'whole')
    return [...growth, ...found].flatMap(({ steps }) => steps.map(({ command }) => command))
  })
}

function localNode(
  n: NodeNumber,
  cluster: ClusterNode[],
  place: LocalNode['place'],
  config: Partial<OverlayConfig>,
): LocalNode {
  const own = cluster.find(({ name }) => name === `node${n}`)
  if (!own) throw new Error(`node${n} is not in the cluster`)
  return { ...own, place, underlay: readUnderlay(place.netns), config: { ...CONFIG, ...config } }
}

/** Reconciles all nodes. Throws the first refusal. */
export function reconcileAll(cluster: ClusterNode[], config: Partial<OverlayConfig> = {}): void {
  for (const n of NODES) {
    const { failures } = reconcile(n, cluster, config)
    if (failures[0]) throw failures[0]
  }
}

function onNode<T>(n: NodeNumber, work: (place: LocalNode['place']) => T): T {
  const netns = kernel.openNetns(`/run/netns/n${n}`)
  try {
    return work({ netns, words: `on node${n}`, prefix: `ip netns exec n${n} ` })
  } finally {
    netns.close()
  }
}

/** Sends one packet of `size` bytes from pod to pod, which must not be fragmented. Throws if no answer comes. */
export function ping(from: NodeNumber, to: NodeNumber, family: 4 | 6, size = 100): void {
  const headers = family === 4 ? 28 : 48
  run(`ip netns exec p${from} ping -${family} -M do -s ${size - headers} -c 1 -W 2 ${podAddress[family](to)}`)
}
