import { type Fault, toFault } from '../core/errors.ts'
import type { KubeApi, Query } from '../kube/api.ts'
import { createBackoff } from '../kube/backoff.ts'
import { listWatch } from '../kube/list_watch.ts'
import { NODES, type NodeView, nodeView, saysNetworkState, setNetworkCondition } from '../kube/node.ts'
import { type Collection, keepCollected } from './collect.ts'
import { conflistFor } from './conflist.ts'
import { type AgentLog, createWarner, type Warning } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Overlay } from './overlay.ts'
import { createWakeup, sleep, type Wakeup } from './wakeup.ts'

/** How often the installation is checked: somebody may have removed it. */
const CHECK_MS = 10 * 60_000
/** The same while there are pods with addresses of former ranges: whoever deletes them sees that it was enough. */
const FORMER_MS = 30_000
/** How often the warning of a missing range is repeated. */
const REMINDER_MS = 5 * 60_000

/** The output of `bowline install --json`. */
export type InstallReport = {
  readonly version: string
  readonly program: string
  readonly conflist: string
  readonly warnings: readonly string[]
}

/** Pods with addresses of ranges that the node had before, in words, and what ends that. */
export type FormerPods = { readonly message: string; readonly hint: string; readonly count: number }

/** All that the agent can reach. */
export type AgentPorts = {
  readonly api: KubeApi
  readonly log: AgentLog
  readonly metrics: Metrics
  /** Runs `bowline install` with this conflist. Rejects with a Fault that says why pods could not be started. */
  readonly install: (conflist: string) => Promise<InstallReport>
  /** Looks for pods of this node whose addresses its present conflist would not give. */
  readonly formerPods: () => readonly FormerPods[]
  /** How leftovers of pods are removed. */
  readonly collection: Collection
  /** The text of conf/10-bowline.conflist, or of the administrator's own. */
  readonly readTemplate: () => Promise<string>
  readonly nodeName: string
  /** Undefined where the network itself brings packets to the pods of other nodes. */
  readonly overlay?: Pick<Overlay, 'setCluster' | 'status' | 'onStatus' | 'onAddressGone'> | undefined
  /** How long a new node may lack its range before that is worth a warning: some seconds. */
  readonly patienceMs: number
  readonly random: () => number
}

export type Agent = {
  /** Reports whether pods of this node get a network. */
  isReady(): boolean
  /** Resolves when all loops have ended, which only the signal makes them. */
  readonly ended: Promise<void>
}

type State = {
  /** Undefined before the API server's first answer, and if there is no such Node. */
  node: NodeView | undefined
  isReady: boolean
  former: readonly FormerPods[]
  /** Logs the warnings of an installation. */
  readonly warn: (warnings: readonly Warning[]) => void
}

/**
 * Starts three loops: one keeps a view of the Nodes, of the agent's own alone where there is no overlay, one installs the plugin with the
 * ranges of the own Node and lets the scheduler use it, one removes what pods have left that are gone. Pods start and stop without the
 * agent, so a failure is a line in the log and another attempt, never an exit.
 */
export function startAgent(ports: AgentPorts, signal: AbortSignal): Agent {
  const wakeup = createWakeup()
  const state: State = { node: undefined, isReady: false, former: [], warn: createWarner(ports.log) }
  signal.addEventListener('abort', () => wakeup.wake())
  ports.metrics.set('bowline_agent_ready', 0)
  ports.overlay?.onStatus(() => wakeup.wake())
  const watching = watchNode(ports, state, wakeup, signal)
  const installing = keepInstalled(ports, state, wakeup, signal)
  const collecting = keepCollected(ports.collection, ports, signal)
  const ended = Promise.all([watching, installing, collecting]).then(() => undefined)
  return { isReady: () => state.isReady, ended }
}

function watchNode(ports: AgentPorts, state: State, wakeup: Wakeup, signal: AbortSignal): Promise<void> {
  const { api, metrics, nodeName, overlay, random } = ports
  const onChange = (nodes: readonly NodeView[]) => {
    const before = state.node
    state.node = nodes.find(({ name }) => name === nodeName)
    overlay?.setCluster(nodes)
    metrics.set('bowline_agent_pod_cidrs', state.node?.podCidrs.length ?? 0)
    if (state.node !== before) wakeup.wake()
  }
  const query: Query = overlay ? {} : { fieldSelector: `metadata.name=${nodeName}` }
  const onFailure = (fault: Fault, retryMs: number) => logApiFailure(ports, fault, retryMs)
  let connected = new AbortController()
  overlay?.onAddressGone(() => {
    connected.abort()
    connected = new AbortController()
  })
  const connections = () => connected.signal
  const options = { path: NODES, query, decode: nodeView, onChange, onFailure, connections, sleep, random }
  return listWatch(api, options, signal)
}

async function keepInstalled(
  ports: AgentPorts,
  state: State,
  wakeup: Wakeup,
  signal: AbortSignal,
): Promise<void> {
  const backoff = createBackoff({ random: ports.random })
  const begun = Date.now()
  while (!signal.aborted) {
    const { node } = state
    if (!node || node.podCidrs.length === 0) {
      const age = Date.now() - begun
      if (age >= ports.patienceMs) warnOfNode(ports, node)
      await wakeup.wait(age >= ports.patienceMs ? REMINDER_MS : ports.patienceMs - age)
    } else {
      const isDone = (await isInstalled(node, ports, state)) && (await isTold(node, ports, state))
      if (isDone) backoff.reset()
      const checkMs = state.former.length > 0 ? FORMER_MS : CHECK_MS
      await wakeup.wait(isDone ? checkMs * (1 - ports.random() / 10) : backoff.next())
    }
  }
}

/** Installs the plugin with the node's ranges. Returns false if pods could not be started with it. */
async function isInstalled(node: NodeView, ports: AgentPorts, state: State): Promise<boolean> {
  const { log, metrics } = ports
  try {
    const report = await ports.install(conflistFor(await ports.readTemplate(), node.podCidrs))
    const isNews = !state.isReady || report.program !== 'unchanged' || report.conflist !== 'unchanged'
    metrics.count('bowline_agent_installs_total', { result: 'done' })
    setReady(ports, state, true)
    if (isNews) log.info({ podCidrs: node.podCidrs, ...report }, 'pods of this node get a network')
    lookForFormerPods(ports, state)
    state.warn([...report.warnings.map((message) => ({ message })), ...state.former])
    return true
  } catch (error) {
    const { message, hint } = toFault(error)
    metrics.count('bowline_agent_installs_total', { result: 'failed' })
    setReady(ports, state, false)
    log.warn({ podCidrs: node.podCidrs, hint }, `pods of this node cannot be started: ${message}`)
    return false
  }
}

/** Once the conflist has the node's ranges: pods that were started before may have addresses of former ones. */
function lookForFormerPods({ log, metrics, formerPods }: AgentPorts, state: State): void {
  try {
    state.former = formerPods()
  } catch (error) {
    log.warn({}, `could not look at the addresses of pods: ${toFault(error).message}`)
  }
  metrics.set(
    'bowline_agent_former_range_pods',
    state.former.reduce((sum, { count }) => sum + count, 0),
  )
}

/** Lets the scheduler use the node once it has joined the network between nodes, and says why it cannot join. Returns false if the API server has refused. */
async function isTold(node: NodeView, ports: AgentPorts, { former }: State): Promise<boolean> {
  const { isJoined = true, mistake } = ports.overlay?.status() ?? {}
  // The overlay tells when that changes.
  if (!isJoined && !mistake) return true
  // Without a valid configuration since the first start; a node that has been available keeps its pods.
  const isAvailable = isJoined || node.isNetworkAvailable
  const state = { isAvailable, problem: mistake ?? former[0]?.message }
  if (saysNetworkState(node, state)) return true
  try {
    await setNetworkCondition(ports.api, node, new Date(), state)
    const status = isAvailable ? 'False' : 'True'
    ports.log.info({}, `the condition NetworkUnavailable of this node is ${status} now`)
    return true
  } catch (error) {
    logApiFailure(ports, toFault(error))
    return false
  }
}

function setReady({ metrics }: AgentPorts, state: State, isReady: boolean): void {
  state.isReady = isReady
  metrics.set('bowline_agent_ready', isReady ? 1 : 0)
}

function logApiFailure(
  { log, metrics }: AgentPorts,
  { message, errno = '', hint }: Fault,
  retryMs?: number,
): void {
  metrics.count('bowline_agent_api_failures_total', { reason: errno })
  log.warn({ reason: errno, hint, ...(retryMs !== undefined && { retryMs }) }, message)
}

function warnOfNode({ log, nodeName }: AgentPorts, node: NodeView | undefined): void {
  if (node) {
    log.warn(
      {
        hint: 'Start kube-controller-manager with --allocate-node-cidrs=true and --cluster-cidr, or set spec.podCIDRs.',
      },
      `node ${nodeName} has no podCIDRs: pods of this node wait for their network`,
    )
    return
  }
  log.warn(
    {
      hint: 'See that NODE_NAME is the name of the node (kubectl get nodes), and that the kubelet has registered it.',
    },
    `nothing is known of node ${nodeName}: pods of this node wait for their network`,
  )
}
