import { type Fault, toFault } from '../core/errors.ts'
import type { AgentLog } from './log.ts'
import type { Metrics } from './metrics.ts'
import { sleep } from './wakeup.ts'

/** How long the node is given to settle after the agent's start. */
const FIRST_MS = 20_000

/** The output of `bowline gc --yes --json`. */
export type GcReport = {
  readonly found: readonly { readonly network: string; readonly what: string; readonly reason: string }[]
  /** Whether all that was found is removed. */
  readonly removed: boolean
  readonly errors: readonly string[]
}

export type Collection = {
  readonly intervalMs: number
  /** Runs `bowline gc`. Rejects with a Fault that says why nothing was looked for. */
  readonly collect: () => Promise<GcReport>
}

type CollectionPorts = {
  readonly log: AgentLog
  readonly metrics: Metrics
  readonly random: () => number
}

/**
 * Removes what pods have left that are gone: soon after the start, and again and again. No container runtime calls GC, and containerd
 * sends the DEL of a pod to the network that sorts first at that moment, even if the pod was added to ours.
 */
export async function keepCollected(
  { intervalMs, collect }: Collection,
  ports: CollectionPorts,
  signal: AbortSignal,
): Promise<void> {
  const jittered = (ms: number) => ms * (1 - ports.random() / 10)
  await sleep(jittered(Math.min(FIRST_MS, intervalMs)), signal)
  while (!signal.aborted) {
    try {
      logReport(await collect(), ports)
    } catch (error) {
      logFailure(toFault(error), ports)
    }
    await sleep(jittered(intervalMs), signal)
  }
}

function logReport({ found, removed, errors }: GcReport, { log, metrics }: CollectionPorts): void {
  const isDone = removed || found.length === 0
  metrics.count('bowline_agent_gc_runs_total', { result: isDone ? 'done' : 'failed' })
  if (removed) {
    metrics.count('bowline_agent_gc_removed_total', {}, found.length)
    log.info({ found }, 'removed what pods have left that are gone')
  } else if (!isDone) {
    const hint = 'Run bowline doctor on the node.'
    log.warn({ found, errors, hint }, 'could not remove all that pods have left that are gone')
  }
}

function logFailure({ message, hint }: Fault, { log, metrics }: CollectionPorts): void {
  metrics.count('bowline_agent_gc_runs_total', { result: 'failed' })
  log.warn({ hint }, `could not look for what pods have left that are gone: ${message}`)
}
