import { contains } from '../core/address.ts'
import { toFault } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { isLinkLocal6 } from '../core/special_address.ts'
import { unequalPart } from '../core/unequal_part.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { KernelEvent } from '../kernel/netlink/events.ts'
import type { NftEvent } from '../kernel/nftables/events.ts'
import { createBackoff } from '../kube/backoff.ts'
import type { ClusterNode } from '../overlay/cluster.ts'
import { clusterNode, type NodeTexts, printCluster, readCluster } from '../overlay/cluster_file.ts'
import { type OverlayConfig, readOverlayConfig } from '../overlay/config.ts'
import { strangersOf } from '../overlay/guard.ts'
import { createKeeper, type Keeper, type KernelNews } from '../overlay/keeper.ts'
import type { OverlayPlan, PeerProblem } from '../overlay/plan.ts'
import type { Reconciled } from '../overlay/reconcile.ts'
import { type AgentLog, createWarner, type Warning } from './log.ts'
import type { Mesh } from './mesh/mesh.ts'
import type { Metrics } from './metrics.ts'
import type { Offload } from './offload.ts'
import { storeFor } from './stored.ts'
import { AUDIT_MS, createWakeup, PAUSE_MS, sleep, type Wakeup } from './wakeup.ts'

/** After a refusal: two programs may have changed one thing at the same time. Later attempts come at growing intervals. */
const RETRY_MS = 20
const START_WITHOUT_API = 'a start without the API server'
/** The file of the cluster is written no more often. It need not be new: who reads it removes nothing. */
const STORE_MS = 10_000
/** A log line names so many changes at most. */
const MAX_NAMED = 10

export type OverlayPorts = {
  readonly kernel: Kernel
  readonly files: Files
  readonly log: AgentLog
  readonly metrics: Metrics
  readonly nodeName: string
  /** The text of overlay.json. */
  readonly readConfig: () => Promise<string>
  /** Calls back when the file may have changed. It is read with each comparison of everything as well. */
  readonly watchConfig: (onChange: () => void) => void
  /** Where the last known cluster is kept, and the last valid configuration: for a start without either. */
  readonly clusterFile: string
  readonly lastConfigFile: string
  /** Calls back with all changes in the kernel from now on. */
  readonly watchKernel: (onNews: (news: KernelNews) => void) => void
  readonly random: () => number
  /** What is known of the checksum offload. */
  readonly offload: Offload
  /** Measures the ways that the overlay makes. */
  readonly mesh: Pick<Mesh, 'setPlan'>
}

export type Overlay = {
  /** Takes the whole cluster, as the API server has it now. A node that has not changed is the same value as before. */
  setCluster(nodes: readonly NodeTexts[]): void
  status(): OverlayStatus
  /** Calls back when the status is another one. */
  onStatus(onChange: () => void): void
  /** Calls back when the node has lost an address: connections from it are dead, but nothing would say so for minutes. */
  onAddressGone(onGone: () => void): void
  /** Resolves when the loop has ended, which only the signal makes it. What is in the kernel stays. */
  readonly ended: Promise<void>
}

export type OverlayStatus = {
  /** This node has had ways to all pods that can be reached, at least once. */
  readonly isJoined: boolean
  /** What is wrong with overlay.json. */
  readonly mistake?: string
}

type State = {
  readonly keeper: Keeper
  texts: readonly NodeTexts[]
  /** The same nodes, parsed. */
  cluster: readonly ClusterNode[]
  /** What was planned last. */
  plan: OverlayPlan | undefined
  /** The API server has said so; else it is the last known one, and nothing may be removed for it. */
  isCertain: boolean
  /** When the file of the cluster is to be written; undefined if it is as it should be. */
  storeAt: number | undefined
  config: OverlayConfig | undefined
  configText: string | undefined
  isConfigDue: boolean
  status: OverlayStatus
  tellStatus: () => void
  tellAddressGone: () => void
}

/** Starts the loop that keeps the kernel as the cluster asks. No event has an effect of its own: each makes the desired state anew. */
export function startOverlay(ports: OverlayPorts, signal: AbortSignal): Overlay {
  const wakeup = createWakeup()
  const state: State = {
    keeper: createKeeper(ports.kernel),
    texts: [],
    cluster: [],
    plan: undefined,
    isCertain: false,
    storeAt: undefined,
    config: undefined,
    configText: undefined,
    isConfigDue: true,
    status: { isJoined: false },
    tellStatus() {},
    tellAddressGone() {},
  }
  setNodes(state, readCluster(ports.files, ports.clusterFile) ?? [])
  ports.metrics.observe('bowline_agent_overlay_routes', () => (state.plan ? [[{}, routesOf(state)]] : []))
  signal.addEventListener('abort', () => wakeup.wake())
  ports.offload.onLearned(() => wakeup.wake())
  ports.watchKernel((news) => {
    if (state.keeper.hear(news)) wakeup.wake()
    if (news !== 'lost' && news.some((event) => isAddressGone(event, state.plan?.node)))
      state.tellAddressGone()
  })
  ports.watchConfig(() => {
    state.isConfigDue = true
    wakeup.wake()
  })
  return {
    setCluster(nodes) {
      state.storeAt ??= Date.now() + (state.isCertain ? STORE_MS : 0)
      state.isCertain = true
      setNodes(state, nodes)
      wakeup.wake()
    },
    status: () => state.status,
    onStatus(onChange) {
      state.tellStatus = onChange
    },
    onAddressGone(onGone) {
      state.tellAddressGone = onGone
    },
    ended: keepReconciled(ports, state, wakeup, signal),
  }
}

/** Addresses of the node that are for its pods come and go with them. */
function isAddressGone(event: KernelEvent | NftEvent, own: ClusterNode | undefined): boolean {
  if (event.subject !== 'address' || !event.isGone) return false
  const { address } = event.address.cidr
  return !isLinkLocal6(address) && !own?.podCidrs.some((range) => contains(range, address))
}

/** A node of which nothing has changed that is of use here is the same value as before. */
function setNodes(state: State, nodes: readonly NodeTexts[]): void {
  const { texts, cluster } = state
  const { start, endOfA, endOfB } = unequalPart(texts, nodes)
  const known = new Map(texts.slice(start, endOfA).map((one, i) => [printCluster([one]), cluster[start + i]]))
  const changed = nodes.slice(start, endOfB).map((one) => known.get(printCluster([one])) ?? clusterNode(one))
  state.texts = nodes
  state.cluster = [...cluster.slice(0, start), ...changed, ...cluster.slice(endOfA)]
}

async function keepReconciled(
  ports: OverlayPorts,
  state: State,
  wakeup: Wakeup,
  signal: AbortSignal,
): Promise<void> {
  const { keeper } = state
  const backoff = createBackoff({ random: ports.random, firstMs: RETRY_MS })
  const warn = createWarner(ports.log)
  let mistakes: Warning[] = []
  let strangers: Warning[] = []
  let audited = Number.NEGATIVE_INFINITY
  while (!signal.aborted) {
    if (Date.now() - audited >= AUDIT_MS) keeper.distrust()
    const isWhole = !keeper.isTrusting
    if (isWhole || state.isConfigDue) mistakes = await readConfig(ports, state)
    const { isDone, complaints, plan } = reconcile(ports, state)
    if (isWhole && plan) strangers = lookForStrangers(ports, plan)
    const all = [...mistakes, ...complaints, ...strangers]
    warn(all)
    ports.mesh.setPlan(plan, all)
    setStatus(state, { isJoined: state.status.isJoined || (isDone && plan !== undefined), mistakes })
    if (isDone) backoff.reset()
    store(ports, state)
    if (isWhole) {
      audited = Date.now()
      await sleep(PAUSE_MS, signal)
    }
    const due = Math.min(audited + AUDIT_MS, state.storeAt ?? Number.POSITIVE_INFINITY)
    await wakeup.wait(isDone ? Math.max(0, due - Date.now()) : backoff.next())
  }
}

/** The first cluster is stored at once, later ones together. */
function store(ports: OverlayPorts, state: State): void {
  if (state.storeAt === undefined || Date.now() < state.storeAt) return
  state.storeAt = undefined
  storeFor(START_WITHOUT_API, ports, ports.clusterFile, printCluster(state.texts))
}

function setStatus(
  state: State,
  { isJoined, mistakes: [mistake] }: { isJoined: boolean; mistakes: readonly Warning[] },
): void {
  const before = state.status
  state.status = { isJoined, ...(mistake && { mistake: mistake.message }) }
  if (before.isJoined !== isJoined || before.mistake !== mistake?.message) state.tellStatus()
}

/** Returns the mistake in it, if there is one: the last valid configuration stays in force, also when the agent starts anew. */
async function readConfig(ports: OverlayPorts, state: State): Promise<Warning[]> {
  state.isConfigDue = false
  try {
    const text = await ports.readConfig()
    if (text === state.configText) return []
    state.config = readOverlayConfig(text)
    state.configText = text
    storeFor(START_WITHOUT_API, ports, ports.lastConfigFile, text)
    return []
  } catch (error) {
    state.config ??= lastConfig(ports)
    return [toFault(error)]
  }
}

function lastConfig({ files, lastConfigFile }: OverlayPorts): OverlayConfig | undefined {
  try {
    const text = files.read(lastConfigFile)
    return text === undefined ? undefined : readOverlayConfig(text)
  } catch {
    return undefined
  }
}

type Run = { readonly isDone: boolean; readonly complaints: readonly Warning[]; readonly plan?: OverlayPlan }

function reconcile(ports: OverlayPorts, state: State): Run {
  const { keeper, cluster, isCertain } = state
  const own = cluster.find(({ name }) => name === ports.nodeName)
  // Without its own Node in the list, nothing is known of what this node may send and receive: what is there stays.
  if (!state.config || !own) return { isDone: true, complaints: [] }
  const config = ports.offload.resolve(state.config)
  try {
    const { plan, outcome, diversions } = keeper.run({
      cluster,
      own,
      config,
      mode: isCertain ? 'whole' : 'addOnly',
    })
    state.plan = plan
    count(ports, plan, outcome)
    return {
      plan,
      isDone: outcome.failures.length === 0,
      complaints: [
        ...[...plan.problems, ...diversions].map(complaintOf),
        ...outcome.failures,
        ...ports.offload.warnings(),
      ],
    }
  } catch (error) {
    return { isDone: false, complaints: [toFault(error)] }
  }
}

/** A packet that is dropped is no event: they are looked for with each comparison of everything. */
function lookForStrangers({ kernel }: OverlayPorts, plan: OverlayPlan): Warning[] {
  try {
    return strangersOf(kernel.nftables, plan).map((one) => ({ ...one, level: 'warning' }))
  } catch {
    // The comparison has said what is wrong with nftables.
    return []
  }
}

function count(
  { log, metrics }: OverlayPorts,
  { problems, links }: OverlayPlan,
  { found, failures }: Reconciled,
): void {
  for (const one of links)
    if (one.kind === 'checksumOffload')
      metrics.set('bowline_agent_overlay_checksum_offload', Number(one.isOn), { link: one.link })
  metrics.set('bowline_agent_overlay_unreachable', problems.length)
  metrics.count('bowline_agent_overlay_changes_total', {}, found.length)
  metrics.count('bowline_agent_overlay_failures_total', {}, failures.length)
  if (found.length === 0) return
  const changes = found.slice(0, MAX_NAMED).map(({ what }) => what)
  log.info({ count: found.length, changes }, 'the overlay was brought in line')
}

function routesOf({ plan }: State): number {
  let routes = 0
  for (const peer of plan?.peers.values() ?? []) routes += peer.routes.length
  return routes
}

function complaintOf({ node, range, problem, hint }: PeerProblem): Warning {
  const message = range
    ? `pods ${range} of node ${node} cannot be reached: ${problem}`
    : `pods of node ${node} may not be reached: ${problem}`
  return { message, hint }
}
