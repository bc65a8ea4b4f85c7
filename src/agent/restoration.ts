import { toFault } from '../core/errors.ts'
import { describeTable } from '../kernel/nftables/describe.ts'
import type { NftEvent } from '../kernel/nftables/events.ts'
import { createBackoff } from '../kube/backoff.ts'
import type { KernelNews } from '../overlay/keeper.ts'
import { BRIDGE_TABLE, TABLE } from '../state/own_table.ts'
import { type AgentLog, createWarner } from './log.ts'
import type { Metrics } from './metrics.ts'
import { AUDIT_MS, createWakeup, PAUSE_MS, sleep } from './wakeup.ts'

export type RestorationPorts = {
  readonly log: AgentLog
  readonly metrics: Metrics
  /** Makes again what pods of this node share and somebody has removed. Returns what that was, in words. */
  readonly restore: () => readonly string[]
  /** Tells whether pods of this node are masqueraded. */
  readonly isMasquerading: () => boolean
  /** Keeps translated connections alive through a flush of the ruleset, or no longer. */
  readonly keepConnections: (isNeeded: boolean) => void
  readonly random: () => number
}

export type Restoration = {
  /** Takes events of the kernel. */
  hear(news: KernelNews): void
  /** Resolves when the loop has ended, which only the signal makes it. */
  readonly ended: Promise<void>
}

/**
 * Starts the loop that makes again what somebody has removed of the nftables rules of pods of this node: without it the next ADD, of
 * those that pods share, and `bowline repair` would.
 */
export function startRestoration(ports: RestorationPorts, signal: AbortSignal): Restoration {
  const wakeup = createWakeup()
  signal.addEventListener('abort', () => wakeup.wake())
  return {
    hear(news) {
      if (news === 'lost' || news.some((event) => event.subject === 'nftables' && isNews(event)))
        wakeup.wake()
    },
    ended: keepRestored(ports, wakeup, signal),
  }
}

const TABLES = [TABLE, BRIDGE_TABLE].map(describeTable)

/** Removals by the plugin are among them: the look that follows finds nothing. Of what is new, only the first subnet matters. */
function isNews({ isGone, isDormant, table, name = '' }: NftEvent): boolean {
  return TABLES.includes(table) && (isGone || isDormant || name.startsWith('subnets'))
}

async function keepRestored(
  { log, metrics, restore, isMasquerading, keepConnections, random }: RestorationPorts,
  wakeup: ReturnType<typeof createWakeup>,
  signal: AbortSignal,
): Promise<void> {
  const backoff = createBackoff({ random })
  const warn = createWarner(log)
  while (!signal.aborted) {
    let waitMs = AUDIT_MS
    try {
      const restored = restore()
      keepConnections(isMasquerading())
      if (restored.length > 0) {
        metrics.count('bowline_agent_restored_total', {}, restored.length)
        log.info({ restored }, 'made again what was missing of the rules for pods')
      }
      warn([])
      backoff.reset()
    } catch (error) {
      warn([toFault(error)])
      waitMs = backoff.next()
    }
    await sleep(PAUSE_MS, signal)
    await wakeup.wait(waitMs)
  }
}
