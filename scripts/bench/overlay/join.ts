import { existsSync, mkdtempSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { closeHandle, type NamespaceHandle, openHandle, within } from '../../../src/kernel/linux/namespace.ts'
import type { Api } from '../../../test/support/cluster/api.ts'
import {
  API_SERVICE,
  CONTROL_PLANE,
  CONTROL_PLANE_6,
  startControlPlane,
} from '../../../test/support/cluster/control_plane.ts'
import { BOWLINE } from '../../../test/support/node/plugin.ts'
import { run } from '../../../test/support/node/private_namespaces.ts'
import { createNetns, type Netns } from '../../../test/support/node/sandbox.ts'
import { call, containerIn } from '../nodes.ts'
import { type RunningAgent, startAgent } from './agent_process.ts'
import { type Spread, spreadOf } from './spread.ts'
import { waited } from './waited.ts'

/*
 * A node joins a cluster of one: its Node object, complete, on a real API server, then the agent as it was built, with nothing from an earlier
 * start. Pods of both nodes are attached before, by the plugin, and send to each other all the time. What is measured ends with the first
 * answer in each direction by each family.
 */

export const JOIN_GOAL_MS = 250

export type JoinResult = {
  readonly backend: string
  /** From the start of the process until pods of the new node and of the other one have answered each other. */
  readonly reachableMs: Spread
  /** Until the runtime can start pods. */
  readonly installedMs: Spread
  /** Processor time of the agent until then. */
  readonly cpuMs: Spread
}

const HOME = '/run/join-bench'
const NODES = '/api/v1/nodes'
/** The kubelet registers a node before the agent's container starts. */
const HEAD_START_MS = 60
/** Between two packets of a stream; the times are no more exact than that. */
const INTERVAL_MS = 2
const PORT = 7000

type JoinNode = {
  readonly name: string
  readonly netns: Netns
  readonly pod: Netns
  readonly addresses: readonly string[]
  readonly podAddresses: readonly string[]
  readonly podCidrs: readonly string[]
}

/** Tells for each backend how long a node takes to join another one, over some rounds, each with two new nodes. */
export async function measureJoin(rounds: number, tell: (result: JoinResult) => void): Promise<void> {
  run(`mkdir -p ${HOME}; mount -t tmpfs tmpfs ${HOME}
    ip link add nodes address 02:00:00:00:00:ff type bridge; ip address add ${CONTROL_PLANE}/16 dev nodes
    ip address add ${CONTROL_PLANE_6}/64 dev nodes nodad; ip link set nodes up
    ip address add ${API_SERVICE}/32 dev lo; echo 1 >/proc/sys/net/ipv4/ip_forward`)
  const controlPlane = await startControlPlane(HOME, [], { withControllers: false })
  try {
    let serial = 0
    for (const backend of ['vxlan', 'direct', 'host-gw']) {
      const start = (node: JoinNode) =>
        startAgent({
          nodeName: node.name,
          prefix: ['nsenter', `--net=${node.netns.path}`, '--'],
          work: mkdtempSync(`${HOME}/agent-`),
          server: { host: API_SERVICE, port: '443' },
          ca: controlPlane.ca,
          token: 'admin',
          config: JSON.stringify({ backend }),
        })
      const results: Joined[] = []
      for (let round = 0; round < rounds; round++) {
        results.push(await measureOne(controlPlane.api, start, createNode(++serial), createNode(++serial)))
      }
      tell({
        backend,
        reachableMs: spreadOf(results.map(({ reachableMs }) => reachableMs)),
        installedMs: spreadOf(results.map(({ installedMs }) => installedMs)),
        cpuMs: spreadOf(results.map(({ cpuMs }) => cpuMs)),
      })
    }
  } finally {
    await controlPlane.stop()
    run(`umount ${HOME}`)
  }
}

type Joined = { readonly reachableMs: number; readonly installedMs: number; readonly cpuMs: number }

async function measureOne(
  api: Api,
  start: (node: JoinNode) => RunningAgent,
  old: JoinNode,
  joining: JoinNode,
): Promise<Joined> {
  const agents: RunningAgent[] = []
  const streams = await startStreams(old, joining)
  try {
    await api.request('POST', NODES, nodeObject(old))
    const first = start(old)
    agents.push(first)
    await waited(() => existsSync(first.conflist))
    // Its own start is over by then, and pods of a node that nobody has joined do not answer.
    await sleep(1000)
    if (streams.some(({ answeredAt }) => answeredAt() !== undefined))
      throw new Error('pods answered too soon')
    await api.request('POST', NODES, nodeObject(joining))
    await sleep(HEAD_START_MS)
    const agent = start(joining)
    agents.push(agent)
    let installedMs = 0
    await waited(() => {
      if (!installedMs && existsSync(agent.conflist)) installedMs = performance.now() - agent.startedMs
      return installedMs > 0 && streams.every(({ answeredAt }) => answeredAt() !== undefined)
    })
    const last = Math.max(...streams.map(({ answeredAt }) => answeredAt() ?? 0))
    return { reachableMs: last - agent.startedMs, installedMs, cpuMs: agent.cpuMs() }
  } finally {
    for (const stream of streams) stream.close()
    for (const agent of agents) await agent.stop()
    for (const { name, netns, pod } of [old, joining]) {
      await api.request('DELETE', `${NODES}/${name}`).catch(() => undefined)
      run(`ip netns delete ${pod.name}; ip netns delete ${netns.name}`)
    }
    run('rm -rf /var/lib/cni/*')
  }
}

function createNode(n: number): JoinNode {
  const [name, podName] = [`join${n}`, `join${n}-pod`]
  const [netns, pod] = [createNetns(name), createNetns(podName)]
  const addresses = [`10.89.1.${n}`, `fd00:89::1:${n}`]
  const podCidrs = [`10.244.${n}.0/24`, `fd00:244:${n}::/64`]
  // A node is there for a while before its agent: IPv6 would still be looking for duplicates of its link-local address.
  run(`ip netns exec ${name} sh -c 'echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'
    ip link add ${name} type veth peer name up0 netns ${name}; ip link set ${name} master nodes up
    ip netns exec ${name} sh -ec '
      ip address add ${addresses[0]}/16 dev up0; ip address add ${addresses[1]}/64 dev up0 nodad; ip link set up0 up
      ip route add default via ${CONTROL_PLANE}; ip route add default via ${CONTROL_PLANE_6}
      echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'`)
  const podAddresses = inNetns(netns, (node) => {
    const ipam = {
      type: 'bowline-ipam',
      ranges: podCidrs.map((subnet) => [{ subnet }]),
      routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
    }
    const config = { cniVersion: '1.0.0', name, type: 'bowline', mode: 'l3', ipMasq: true, ipam }
    const place = { node, name, plugins: [{ program: BOWLINE, config }] } as const
    const { prevResult } = call(place, 'ADD', containerIn(pod)).container
    return (prevResult?.ips ?? []).map(({ address }) => address.replace(/\/.*/, ''))
  })
  return { name, netns, pod, addresses, podAddresses, podCidrs }
}

function inNetns<T>({ path }: Netns, work: (handle: NamespaceHandle) => T): T {
  const handle = openHandle(path)
  try {
    return work(handle)
  } finally {
    closeHandle(handle)
  }
}

/** Packets from one pod to another one, each of which is to come back. */
type Stream = { readonly answeredAt: () => number | undefined; close(): void }

/** Starts a stream in each direction by each family. */
async function startStreams(...[one, other]: [JoinNode, JoinNode]): Promise<Stream[]> {
  const ways = [0, 1].flatMap((family) => [
    { from: one, to: other, family },
    { from: other, to: one, family },
  ])
  return await Promise.all(
    ways.map(async ({ from, to, family }) => {
      const [source = '', destination = ''] = [from.podAddresses[family], to.podAddresses[family]]
      let answeredAt: number | undefined
      const sender = await udpSocket(from.pod, source, 0, () => {
        answeredAt ??= performance.now()
      })
      const echo = await udpSocket(to.pod, destination, PORT, (port, address) =>
        echo.send('!', port, address),
      )
      const timer = setInterval(() => sender.send('?', PORT, destination), INTERVAL_MS)
      return {
        answeredAt: () => answeredAt,
        close() {
          clearInterval(timer)
          for (const socket of [sender, echo]) socket.close()
        },
      }
    }),
  )
}

/** A socket belongs to the namespace in which it was made, wherever its process goes afterwards. */
function udpSocket(
  netns: Netns,
  hostname: string,
  port: number,
  onPacket: (port: number, address: string) => void,
): Promise<Bun.udp.Socket<'buffer'>> {
  const socket = {
    data: (_: unknown, _bytes: unknown, from: number, address: string) => onPacket(from, address),
    // A router says that there is no way yet.
    error() {},
  }
  return inNetns(netns, (handle) => within(handle, () => Bun.udpSocket({ hostname, port, socket })))
}

function nodeObject({ name, addresses, podCidrs }: JoinNode): object {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name },
    spec: { podCIDR: podCidrs[0], podCIDRs: podCidrs },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  }
}
