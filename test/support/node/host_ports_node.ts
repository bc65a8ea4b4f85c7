import { afterEach, beforeAll, beforeEach } from 'vitest'
import type { PeerProgram } from './peer_program.ts'
import type { PluginAnswer, PluginCall } from './plugin.ts'
import { callFor } from './pods.ts'
import { run } from './private_namespaces.ts'
import {
  clearNode,
  createNetns,
  createOutside,
  enterSandbox,
  type Netns,
  type Outside,
  removeNetns,
} from './sandbox.ts'

/* A node with two addresses of each family on its uplink `up0`, a host outside, and the pods `pod-a` and `pod-b`. */
export const NODE = { 4: '192.0.2.1', 6: '2001:db8::1' } as const
export const OTHER_OWN = { 4: '192.0.2.3', 6: '2001:db8::3' } as const
export const OUTSIDE = { 4: '192.0.2.2', 6: '2001:db8::2' } as const
export const GATEWAY = { 4: '10.1.0.1', 6: 'fd00:1::1' } as const
export const POD_B = { 4: '10.1.0.3', 6: 'fd00:1::3' } as const

const BASE = {
  cniVersion: '1.1.0',
  name: 'ports',
  type: 'bowline',
  capabilities: { portMappings: true },
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
}
export const MODES = {
  l3: { ...BASE, mode: 'l3' },
  l2: { ...BASE, bridge: 'br0', isGateway: true },
} as const

export type Mapping = {
  readonly hostPort: number
  readonly containerPort: number
  readonly protocol?: string
  readonly hostIP?: string
}

export const [POD, NEIGHBOUR] = ['pod-a', 'pod-b'].map((name) => ({
  name,
  path: `/run/netns/${name}`,
})) as unknown as readonly [Netns, Netns]

/** Programs that a test has started; they are stopped behind it. */
export type Node = { outside: Outside; readonly programs: PeerProgram[] }

/** Gives each test of a file such a node. */
export function useHostPortsNode(): Node {
  const node = { programs: [] as PeerProgram[] } as unknown as Node
  beforeAll(() => {
    enterSandbox()
    node.outside = createOutside()
    // A bridge asks for no neighbour before it is sure of its own link-local address.
    run(`sysctl -qw net.ipv6.conf.default.accept_dad=0
      ip address add ${OTHER_OWN[4]}/24 dev up0; ip -6 address add ${OTHER_OWN[6]}/64 dev up0 nodad`)
  })
  beforeEach(async () => {
    await clearNode()
    for (const { name } of [POD, NEIGHBOUR]) createNetns(name)
  })
  afterEach(async () => {
    await Promise.all(node.programs.splice(0).map((one) => one.stop()))
    for (const { name } of [POD, NEIGHBOUR]) removeNetns(name)
  })
  return node
}

/** Calls the plugin for a pod with these ports, as containerd does for the Kubernetes pod `default/NAME`. */
export function callWith(
  pod: Netns,
  command: PluginCall['command'],
  config: object,
  portMappings: readonly object[] = [],
): Promise<PluginAnswer> {
  const args = `IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=${pod.name}`
  const runtimeConfig = portMappings.length > 0 ? { runtimeConfig: { portMappings } } : {}
  return callFor(pod, command, { ...config, ...runtimeConfig }, { args })
}
