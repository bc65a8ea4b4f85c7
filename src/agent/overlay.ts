import { toFault } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { KernelEvent } from '../kernel/netlink/events.ts'
import { createBackoff } from '../kube/backoff.ts'
import type { NodeView } from '../kube/node.ts'
import type { LocalNode } from '../overlay/backend.ts'
import type { ClusterNode } from '../overlay/cluster.ts'
import { clusterNode, readCluster, writeCluster } from '../overlay/cluster_file.ts'
import { type OverlayConfig, readOverlayConfig } from '../overlay/config.ts'
import { createDriftFilter, type DriftFilter } from '../overlay/drift.ts'
import { type OverlayPlan, type PeerProblem, planOverlay } from '../overlay/plan.ts'
import { type Reconciled, readUnderlay, reconcileOverlay } from '../overlay/reconcile.ts'
import { type AgentLog, createWarner, type Warning } from './log.ts'
import type { Metrics } from './metrics.ts'
import { createWakeup, sleep, type Wakeup } from './wakeup.ts'

/** How often everything is compared although no event has come: an event may be lost. */
const AUDIT_MS = 30_000
/** Between two runs. The first event of a burst is answered at once, the others together. */
const PAUSE_MS = 10
/** A log line names so many changes at most. */
const MAX_NAMED = 10

/** What the kernel has reported; `lost`: more than fitted into the buffer. */
export type KernelNews = readonly KernelEvent[] | 'lost'

export type OverlayPorts = {
  readonly kernel: Kernel
  readonly files: Files
  readonly log: AgentLog
  readonly metrics: Metrics
  readonly nodeName: string
  /** The text of overlay.json. */
  readonly readConfig: () => Promise<string>
  /** Where the last known cluster is kept. */
  readonly clusterFile: string
  /** Calls back with all changes in the kernel from now on. */
  readonly watchKernel: (onNews: (news: KernelNews) => void) => void
  readonly random: () => number
}

export type Overlay = {
  /** Takes the whole cluster, as the API server has it now. */
  setCluster(nodes: readonly NodeView[]): void
  /** Resolves when the loop has ended, which only the signal makes it. What is in the kernel stays. */
  readonly ended: Promise<void>
}

type State = {
  cluster: readonly ClusterNode[] | undefined
  /** The API server has said so; else it is the last known one, and nothing may be removed for it. */
  isCertain: boolean
  isStored: boolean
  /** Nodes that have not changed are not parsed again. */
  parsed: ReadonlyMap<NodeView, readonly ClusterNode[]>
  config: OverlayConfig | undefined
  concerns: DriftFilter
}

/** Starts the loop that keeps the kernel as the cluster asks. Each run looks at everything, so no event has an effect of its own. */
export function startOverlay(ports: OverlayPorts, signal: AbortSignal): Overlay {
  const wakeup = createWakeup()
  const state: State = {
    cluster: readCluster(ports.files, ports.clusterFile),
    isCertain: false,
    isStored: true,
    parsed: new Map(),
    config: undefined,
    concerns: () => true,
  }
  signal.addEventListener('abort', () => wakeup.wake())
  ports.watchKernel((news) => {
    if (news === 'lost' || news.some(state.concerns)) wakeup.wake()
  })
  return {
    setCluster: (nodes) => takeCluster(nodes, ports, state, wakeup),
    ended: keepReconciled(ports, state, wakeup, signal),
  }
}

function takeCluster(nodes: readonly NodeView[], ports: OverlayPorts, state: State, wakeup: Wakeup): void {
  state.parsed = new Map(nodes.map((view) => [view, state.parsed.get(view) ?? usableNode(view, ports)]))
  state.cluster = [...state.parsed.values()].flat()
  state.isCertain = true
  state.isStored = false
  wakeup.wake()
}

/** A Node with an address that is none is left out; it concerns no other. */
function usableNode({ name, internalIps, podCidrs }: NodeView, { log }: OverlayPorts): ClusterNode[] {
  try {
    return [clusterNode({ name, addresses: internalIps, podCidrs })]
  } catch (error) {
    const { message, hint } = toFault(error)
    log.warn({ node: name, hint }, `node ${name} is left out: ${message}`)
    return []
  }
}

async function keepReconciled(
  ports: OverlayPorts,
  state: State,
  wakeup: Wakeup,
  signal: AbortSignal,
): Promise<void> {
  const backoff = createBackoff({ random: ports.random })
  const warn = createWarner(ports.log)
  while (!signal.aborted) {
    const mistakes = await readConfig(ports, state)
    const { isDone, complaints } = reconcile(ports, state)
    warn([...mistakes, ...complaints])
    if (isDone) backoff.reset()
    if (!state.isStored) store(ports, state)
    await sleep(PAUSE_MS, signal)
    await wakeup.wait(isDone ? AUDIT_MS : Math.min(backoff.next(), AUDIT_MS))
  }
}

function store({ files, log, clusterFile }: OverlayPorts, state: State): void {
  state.isStored = true
  try {
    writeCluster(files, clusterFile, state.cluster ?? [])
  } catch (error) {
    const { message, hint } = toFault(error)
    log.warn({ hint }, `the cluster could not be stored for a start without the API server: ${message}`)
  }
}

/** Returns the mistake in it, if there is one: the last valid configuration stays in force. */
async function readConfig(ports: OverlayPorts, state: State): Promise<Warning[]> {
  try {
    state.config = readOverlayConfig(await ports.readConfig())
    return []
  } catch (error) {
    return [toFault(error)]
  }
}

type Run = { readonly isDone: boolean; readonly complaints: readonly Warning[] }

function reconcile(ports: OverlayPorts, state: State): Run {
  const { kernel, nodeName } = ports
  const { cluster, config, isCertain } = state
  const own = cluster?.find(({ name }) => name === nodeName)
  // Without its own Node in the list, nothing is known of what this node may send and receive: what is there stays.
  if (!cluster || !config || !own) return { isDone: true, complaints: [] }
  const place = { netns: kernel.host(), words: 'on the host', prefix: '' }
  try {
    const node: LocalNode = { ...own, place, config, underlay: readUnderlay(place.netns) }
    const plan = planOverlay(cluster, node)
    const outcome = reconcileOverlay(kernel, plan, isCertain ? 'whole' : 'addOnly')
    state.concerns = createDriftFilter(plan.desired, node)
    count(ports, plan, outcome)
    return {
      isDone: outcome.failures.length === 0,
      complaints: [...plan.problems.map(complaintOf), ...outcome.failures],
    }
  } catch (error) {
    return { isDone: false, complaints: [toFault(error)] }
  }
}

function count(
  { log, metrics }: OverlayPorts,
  { desired, problems }: OverlayPlan,
  { changes, failures }: Reconciled,
): void {
  metrics.set('bowline_agent_overlay_routes', desired.filter(({ kind }) => kind === 'route').length)
  metrics.set('bowline_agent_overlay_unreachable', problems.length)
  metrics.count('bowline_agent_overlay_changes_total', {}, changes.length)
  metrics.count('bowline_agent_overlay_failures_total', {}, failures.length)
  if (changes.length === 0) return
  log.info({ count: changes.length, changes: changes.slice(0, MAX_NAMED) }, 'the overlay was brought in line')
}

function complaintOf({ node, range, problem, hint }: PeerProblem): Warning {
  return { message: `pods ${range} of node ${node} cannot be reached: ${problem}`, hint }
}
