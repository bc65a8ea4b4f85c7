import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { AUDIT_MS } from '../../../src/agent/wakeup.ts'
import type { Api } from '../../../test/support/cluster/api.ts'
import { API_SERVICE, CONTROL_PLANE, startControlPlane } from '../../../test/support/cluster/control_plane.ts'
import { run } from '../../../test/support/node/private_namespaces.ts'
import { type Memory, type RunningAgent, startAgent } from './agent_process.ts'
import { type RouteWatch, watchRoutes } from './route_watch.ts'
import { type Spread, spreadOf } from './spread.ts'

/*
 * How the agent grows with the cluster: Node objects on a real API server (etcd and kube-apiserver, nothing else), the agent as it was
 * built, and the routes that appear in the kernel. The machine behind a Node object does not matter to any of it.
 */

export type ScaleOptions = {
  readonly sizes: readonly number[]
  readonly changes: number
  readonly idleSeconds: number
}

export type ScaleResult = {
  readonly nodes: number
  /** From the start of the program to the last route, and its processor time until then. */
  readonly coldMs: number
  readonly coldCpuMs: number
  /** From the API server's answer to a new Node until both its routes are there; and to a deletion until they are gone. */
  readonly addedMs: Spread
  readonly deletedMs: Spread
  /** Of one of two agents, each in its own network: they share the pages of their program. */
  readonly memory: Memory
  readonly idleCpuPercent: number
  /** Requests to the API server by a start, with the watch that goes on; by one Node that has come and gone; in the idle time. */
  readonly requests: { readonly start: number; readonly change: number; readonly idle: number }
}

const HOME = '/run/overlay-bench'
/** Requests to the API server at a time. */
const PARALLEL = 32
/** The time until the collector has given back what the start has used. */
const SETTLE_MS = 15_000
const NODES = '/api/v1/nodes'
/** The network namespace of the second agent, which is the node n2. */
const SECOND = 'second'

export async function measureScale(
  { sizes, ...options }: ScaleOptions,
  tell: (result: ScaleResult) => void,
): Promise<void> {
  run(`mkdir -p ${HOME}; mount -t tmpfs tmpfs ${HOME}; ip link add nodes type bridge
    ip address add ${CONTROL_PLANE}/16 dev nodes; ip link set nodes up; ip address add ${API_SERVICE}/32 dev lo
    ip netns add ${SECOND}; ip link add second type veth peer name eth0 netns ${SECOND}; ip link set second master nodes up
    ip -n ${SECOND} link set lo up; ip -n ${SECOND} address add ${addressOf(1)}/16 dev eth0
    ip -n ${SECOND} link set eth0 up; ip -n ${SECOND} route add default via ${CONTROL_PLANE}`)
  const controlPlane = await startControlPlane(HOME, [], { withControllers: false })
  const { api, ca } = controlPlane
  const routes = watchRoutes()
  try {
    let made = 0
    for (const nodes of sizes.toSorted((a, b) => a - b)) {
      if (nodes < 2) throw new Error(`--sizes ${nodes}: two nodes at least, as two agents are started`)
      console.error(`creates ${nodes - made} Node objects`)
      await inParallel(range(made, nodes), (n) => api.request('POST', NODES, nodeObject(n)))
      made = nodes
      tell(await measureSize({ api, routes, ca, nodes }, options))
    }
  } finally {
    await controlPlane.stop()
    run(`ip netns del ${SECOND}; umount ${HOME}`)
  }
}

type Cluster = {
  readonly api: Api
  readonly routes: RouteWatch
  readonly ca: string
  readonly nodes: number
}

async function measureSize(
  cluster: Cluster,
  { changes, idleSeconds }: Omit<ScaleOptions, 'sizes'>,
): Promise<ScaleResult> {
  const { api, routes, nodes } = cluster
  const work = mkdtempSync(`${HOME}/agents-`)
  const wanted = 2 * (nodes - 1)
  const requests = await countRequests(api)
  const agents = [startOn(cluster, `${work}/1`, 'n1', [])]
  const [agent] = agents as [RunningAgent]
  try {
    const reached = await routes.until((all) => all.size === wanted)
    const coldCpuMs = agent.cpuMs()
    await sleep(SETTLE_MS)
    const start = await requests()
    const [added, deleted] = await measureChanges(api, routes, wanted, nodes, changes)
    const change = (await requests()) / changes
    agents.push(startOn(cluster, `${work}/2`, 'n2', ['nsenter', `--net=/run/netns/${SECOND}`, '--']))
    await sleep(SETTLE_MS + AUDIT_MS)
    await requests()
    const [cpuMs, since] = [agent.cpuMs(), performance.now()]
    await sleep(idleSeconds * 1000)
    return {
      nodes,
      coldMs: reached - agent.startedMs,
      coldCpuMs,
      addedMs: spreadOf(added),
      deletedMs: spreadOf(deleted),
      memory: agent.memory(),
      idleCpuPercent: (100 * (agent.cpuMs() - cpuMs)) / (performance.now() - since),
      requests: { start, change, idle: await requests() },
    }
  } finally {
    for (const one of agents) await one.stop()
    // With their link the routes of IPv4 would go without an event.
    const clean =
      'ip route flush proto 98; ip -6 route flush proto 98; ip link del bowline-vxlan; nft delete table inet bowline'
    run(`${clean}; ip netns exec ${SECOND} sh -c '${clean}'`)
    await routes.until((all) => all.size === 0)
    rmSync(work, { recursive: true })
  }
}

function startOn({ ca }: Cluster, work: string, nodeName: string, prefix: readonly string[]): RunningAgent {
  mkdirSync(work)
  const server = { host: API_SERVICE, port: '443' }
  return startAgent({ nodeName, prefix, work, server, ca, token: 'admin', config: '{"backend":"vxlan"}' })
}

/** A time is below zero, and counts as zero, if the route is there before the answer of the API server. */
async function measureChanges(
  api: Api,
  routes: RouteWatch,
  wanted: number,
  nodes: number,
  changes: number,
): Promise<[number[], number[]]> {
  const [added, deleted]: [number[], number[]] = [[], []]
  const timed = async (method: string, path: string, body: unknown, count: number): Promise<number> => {
    const reached = routes.until((all) => all.size === count)
    await api.request(method, path, body)
    const answered = performance.now()
    return Math.max(0, (await reached) - answered)
  }
  for (const n of range(nodes, nodes + changes)) {
    added.push(await timed('POST', NODES, nodeObject(n), wanted + 2))
    await sleep(20)
    deleted.push(await timed('DELETE', `${NODES}/${nameOf(n)}`, undefined, wanted))
    await sleep(20)
  }
  return [added, deleted]
}

/**
 * Returns a function that tells how many requests about nodes have been made since it was called last, but for those of this process: those
 * that are over, and watches that go on.
 */
async function countRequests(api: Api): Promise<() => Promise<number>> {
  const read = async () => {
    const text = await api.request<string>('GET', '/metrics')
    const of = (pattern: RegExp) =>
      [...text.matchAll(pattern)].reduce((sum, [, value]) => sum + Number(value), 0)
    return (
      of(
        /^apiserver_request_total\{[^}]*resource="nodes"[^}]*verb="(?:LIST|GET|PATCH|WATCH)"[^}]*\} (\d+)/gm,
      ) + of(/^apiserver_longrunning_requests\{[^}]*resource="nodes"[^}]*verb="WATCH"[^}]*\} (\d+)/gm)
    )
  }
  let before = await read()
  return async () => {
    const now = await read()
    const made = now - before
    before = now
    return made
  }
}

function nameOf(n: number): string {
  return `n${n + 1}`
}

function addressOf(n: number): string {
  return `10.89.${(n >> 8) + 1}.${n & 255}`
}

/** The first is the agent's own, and has the address of this namespace. */
function nodeObject(n: number): object {
  const podCIDRs = [`10.${100 + (n >> 8)}.${n & 255}.0/24`, `fd00:${(n + 1).toString(16)}::/64`]
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: nameOf(n),
      labels: { 'kubernetes.io/hostname': nameOf(n), 'kubernetes.io/os': 'linux' },
    },
    spec: { podCIDR: podCIDRs[0], podCIDRs },
    status: {
      addresses: [
        { type: 'InternalIP', address: n === 0 ? CONTROL_PLANE : addressOf(n) },
        { type: 'Hostname', address: nameOf(n) },
      ],
      // About as many as a node has that has been in use for a while: they are most of a Node object.
      images: range(0, 50).map((i) => ({
        names: [
          `registry.example/team/service-${i}@sha256:${i.toString(16).padStart(64, '0')}`,
          `registry.example/team/service-${i}:v1.${n}`,
        ],
        sizeBytes: 50_000_000 + i,
      })),
    },
  }
}

function range(from: number, to: number): number[] {
  return Array.from({ length: Math.max(0, to - from) }, (_, i) => from + i)
}

async function inParallel(items: readonly number[], work: (item: number) => Promise<unknown>): Promise<void> {
  const rest = items.values()
  const loop = async () => {
    for (const item of rest) await work(item)
  }
  await Promise.all(Array.from({ length: PARALLEL }, loop))
}
