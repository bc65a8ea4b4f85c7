import { writeFileSync } from 'node:fs'
import { openHandle, within } from '../../src/kernel/linux/namespace.ts'
import { run } from '../../test/support/private_namespaces.ts'
import { createNetns, type Netns } from '../../test/support/sandbox.ts'

/** A network namespace that plays a machine: a plugin is called in it, pods are attached to it. */
export type Node = {
  readonly name: string
  /** Its address on the link to the other node of its pair. */
  readonly address: string
  /** Runs `work` with this thread, and so with what it starts, in the node's network namespace. */
  readonly enter: <T>(work: () => T) => T
}

/** Two nodes that one veth pair joins; each has its default route by the other, as its uplink. */
export function createNodePair(name: string): readonly [Node, Node] {
  const [a, b] = [createNode(`${name}-1`, '192.0.2.1'), createNode(`${name}-2`, '192.0.2.2')]
  run(`ip -n ${a.name} link add up0 type veth peer name up0 netns ${b.name}`)
  setUplink(a.name, 1, 2)
  setUplink(b.name, 2, 1)
  return [a, b]
}

/** Pods' namespaces, to be attached and detached again and again: to remove one keeps the kernel busy for long. */
export function createPods(prefix: string, count: number): Netns[] {
  return Array.from({ length: count }, (_, i) => createNetns(`${prefix}-${i}`))
}

/** Removes network namespaces, and with them the links that are in them. */
export function removeNamespaces(names: readonly string[]): void {
  run(names.map((name) => `ip netns delete ${name}`).join('\n'))
}

function createNode(name: string, address: string): Node {
  const handle = openHandle(createNetns(name).path)
  const enter = <T>(work: () => T) => within(handle, work)
  // As on any Kubernetes node: some plugins leave it to their agent.
  for (const key of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding'])
    enter(() => writeFileSync(`/proc/sys/net/${key}`, '1'))
  return { name, address, enter }
}

function setUplink(node: string, own: number, other: number): void {
  run(`ip -n ${node} address add 192.0.2.${own}/24 dev up0
    ip -n ${node} -6 address add 2001:db8::${own}/64 dev up0 nodad
    ip -n ${node} link set up0 up
    ip -n ${node} route add default via 192.0.2.${other}
    ip -n ${node} -6 route add default via 2001:db8::${other}`)
}
