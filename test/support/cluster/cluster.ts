import { writeFileSync } from 'node:fs'
import { enterPrivateNamespaces, run } from '../node/private_namespaces.ts'
import type { CONTAINERDS } from '../runtimes/containerd_config.ts'
import { packImage } from '../runtimes/image.ts'
import type { Api, KubeNode } from './api.ts'
import {
  API_SERVICE,
  CONTROL_PLANE,
  CONTROL_PLANE_6,
  type ControlPlane,
  KUBE_PROXY,
  startControlPlane,
} from './control_plane.ts'
import { type ClusterNode, createNode } from './node.ts'

/*
 * A real Kubernetes cluster in namespaces: etcd, API server, controllers and scheduler in the network of the test,
 * and nodes that each have namespaces, control groups and a disk of their own, with containerd and a kubelet.
 *
 *   const cluster = await startCluster(['current'])       // one node with containerd 2.x, as yet without a network
 *   const [node] = cluster.nodes
 *   await installBowline(cluster, node)                   // by hand; or from an image, as the next two lines do:
 *   await node.importImages('dist/image.tar')
 *   await cluster.api.apply(readFileSync('conf/bowline.yaml', 'utf8'))
 *   await cluster.untilReady(node)
 *   const pod = await runPod(cluster, webPod('web', node))
 *   await node.restart('kubelet', 'KILL')                 // node.ts has all that can be done to a node
 *   await expectNoResidue(cluster, node)                  // pods.ts
 *   await cluster.stop()                                  // in afterAll
 *
 * Everything below HOME is in memory, and all processes die with the test, however that ends.
 *
 *      test process: 10.89.0.1/24 on the bridge `nodes`, 10.96.0.1 (kubernetes.default); routes to each node's pods
 *        ├─ node1: up0 10.89.0.11, default route via 10.89.0.1
 *        └─ node2: up0 10.89.0.12
 */
const HOME = '/run/cluster'

export type Cluster = {
  readonly api: Api
  readonly nodes: readonly [ClusterNode, ...ClusterNode[]]
  /** Waits until the node's condition Ready is `status`; returns the node as the API has it. */
  untilReady(node: ClusterNode, status?: 'True' | 'False' | 'Unknown', timeoutMs?: number): Promise<KubeNode>
  stop(): Promise<void>
}

/** Starts a cluster with one node for each containerd that is named. Once a test file: a file has one network. */
export async function startCluster(
  containerds: readonly (keyof typeof CONTAINERDS)[],
  { isDualStack = false }: { readonly isDualStack?: boolean } = {},
): Promise<Cluster> {
  enterPrivateNamespaces()
  // The bridge has a MAC of its own: one that it took from a port would change with the nodes that boot.
  run(`mkdir -p ${HOME}; mount -t tmpfs tmpfs ${HOME}
    ip link add nodes address 02:00:00:00:00:ff type bridge
    ip address add ${CONTROL_PLANE}/24 dev nodes; ip address add ${CONTROL_PLANE_6}/64 dev nodes nodad
    ip link set nodes up; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
    ip address add ${API_SERVICE}/32 dev lo; echo 1 >/proc/sys/net/ipv4/ip_forward`)
  const names = containerds.map((_, index) => `node${index + 1}`)
  const [controlPlane, , ...nodes] = await Promise.all([
    startControlPlane(`${HOME}/control-plane`, names, { isDualStack }),
    packImage(`${HOME}/image.tar`),
    ...containerds.map((containerd, index) => createNode(HOME, index + 1, containerd, isDualStack)),
  ])
  await Promise.all(nodes.map((node) => join(node, controlPlane)))
  return {
    api: controlPlane.api,
    nodes: nodes as [ClusterNode, ...ClusterNode[]],
    untilReady: (node, status = 'True', timeoutMs = undefined) =>
      untilReady(controlPlane.api, node, status, timeoutMs),
    stop: async () => {
      await Promise.all(nodes.map((node) => node.cutPower()))
      await controlPlane.stop()
      run(`umount ${HOME}; rmdir ${HOME}`)
    },
  }
}

/** Lets the node join the cluster, and its pods be reached: a node routes its pods, and the test knows the way to it. */
async function join(node: ClusterNode, { api, kubeconfig }: ControlPlane): Promise<void> {
  writeFileSync(`${node.root}/etc/kubernetes/kubeconfig`, kubeconfig(node.name))
  writeFileSync(`${node.root}/etc/kubernetes/kube-proxy.kubeconfig`, kubeconfig(KUBE_PROXY))
  await node.importImages(`${HOME}/image.tar`)
  await node.enable('kubelet')
  const podCidr = await api.until(`${node.name} has a range`, () => podCidrOf(api, node))
  run(`ip route add ${podCidr} via ${node.address}`)
}

/** Returns the range of the node's pods, such as 10.244.1.0/24: it has nothing to do with the number of the node. */
export async function podCidrOf(api: Api, { name }: ClusterNode): Promise<string | undefined> {
  return (await api.find<KubeNode>('Node', name))?.spec.podCIDR
}

async function untilReady(
  api: Api,
  { name }: ClusterNode,
  status: string,
  timeoutMs?: number,
): Promise<KubeNode> {
  const check = async () => {
    const node = await api.find<KubeNode>('Node', name)
    const ready = node?.status.conditions?.find(({ type }) => type === 'Ready')
    if (ready?.status !== status) throw new Error(`its condition Ready is ${JSON.stringify(ready)}`)
    return node
  }
  return api.until(`${name} is Ready=${status}`, check, timeoutMs)
}
