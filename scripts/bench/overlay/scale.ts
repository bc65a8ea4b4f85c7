import { mkdtempSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Api } from '../../../test/support/cluster/api.ts'
import { API_SERVICE, CONTROL_PLANE, startControlPlane } from '../../../test/support/cluster/control_plane.ts'
import { run } from '../../../test/support/node/private_namespaces.ts'
import { startAgent } from './agent_process.ts'
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
  readonly memoryMb: number
  readonly idleCpuPercent: number
  /** Requests that the agent has made in all: those of a start, as its watch goes on. */
  readonly requests: number
}

const HOME = '/run/overlay-bench'
/** Requests to the API server at a time. */
const PARALLEL = 32
/** The time until the collector has given back what the start has used. */
const SETTLE_MS = 15_000
const NODES = '/api/v1/nodes'

export async function measureScale(
  { sizes, changes, idleSeconds }: ScaleOptions,
  tell: (result: ScaleResult) => void,
): Promise<void> {
  run(`mkdir -p ${HOME}; mount -t tmpfs tmpfs ${HOME}; ip link add nodes type bridge
    ip address add ${CONTROL_PLANE}/16 dev nodes; ip link set nodes up; ip address add ${API_SERVICE}/32 dev lo`)
  const controlPlane = await startControlPlane(HOME, [], { withControllers: false })
  const { api } = controlPlane
  const routes = watchRoutes()
  try {
    let made = 0
    for (const nodes of sizes.toSorted((a, b) => a - b)) {
      await inParallel(range(made, nodes), (n) => api.request('POST', NODES, nodeObject(n)))
      made = nodes
      tell(await measureSize(api, routes, controlPlane.ca, { nodes, changes, idleSeconds }))
    }
  } finally {
    await controlPlane.stop()
    run(`umount ${HOME}`)
  }
}

async function measureSize(
  api: Api,
  routes: RouteWatch,
  ca: string,
  { nodes, changes, idleSeconds }: { nodes: number; changes: number; idleSeconds: number },
): Promise<ScaleResult> {
  const work = mkdtempSync(`${HOME}/agent-`)
  const wanted = 2 * (nodes - 1)
  const before = await requestsTo(api)
  const agent = startAgent({
    work,
    server: { host: API_SERVICE, port: '443' },
    ca,
    token: 'admin',
    config: '{"backend":"vxlan"}',
  })
  try {
    const reached = await routes.until((all) => all.size === wanted)
    const coldCpuMs = agent.cpuMs()
    await sleep(SETTLE_MS)
    const requests = (await requestsTo(api)) - before
    const [added, deleted] = await measureChanges(api, routes, wanted, nodes, changes)
    await sleep(SETTLE_MS)
    const [cpuMs, since] = [agent.cpuMs(), performance.now()]
    await sleep(idleSeconds * 1000)
    return {
      nodes,
      coldMs: reached - agent.startedMs,
      coldCpuMs,
      addedMs: spreadOf(added),
      deletedMs: spreadOf(deleted),
      memoryMb: agent.memoryMb(),
      idleCpuPercent: (100 * (agent.cpuMs() - cpuMs)) / (performance.now() - since),
      requests,
    }
  } finally {
    await agent.stop()
    // With their link the routes of IPv4 would go without an event.
    run('ip route flush proto 98; ip -6 route flush proto 98; ip link del bowline-vxlan')
    await routes.until((all) => all.size === 0)
    rmSync(work, { recursive: true })
  }
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

/** Reads the counters of the API server for requests about nodes that are over, and watches that go on, but for those of this process. */
async function requestsTo(api: Api): Promise<number> {
  const text = await api.request<string>('GET', '/metrics')
  const of = (pattern: RegExp) =>
    [...text.matchAll(pattern)].reduce((sum, [, value]) => sum + Number(value), 0)
  return (
    of(/^apiserver_request_total\{[^}]*resource="nodes"[^}]*verb="(?:LIST|GET|PATCH)"[^}]*\} (\d+)/gm) +
    of(/^apiserver_longrunning_requests\{[^}]*resource="nodes"[^}]*verb="WATCH"[^}]*\} (\d+)/gm)
  )
}

function nameOf(n: number): string {
  return `n${n + 1}`
}

/** The first is the agent's own, and has the address of this namespace. */
function nodeObject(n: number): object {
  const [high, low] = [n >> 8, n & 255]
  const podCIDRs = [`10.${100 + high}.${low}.0/24`, `fd00:${(n + 1).toString(16)}::/64`]
  const address = n === 0 ? CONTROL_PLANE : `10.89.${high + 1}.${low}`
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
        { type: 'InternalIP', address },
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
