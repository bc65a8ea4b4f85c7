import type { Files } from '../core/files.ts'
import { isObject } from '../core/json.ts'
import type { OverlayConfig } from '../overlay/config.ts'
import type { AgentLog, Warning } from './log.ts'
import { storeFor } from './stored.ts'

/*
 * What has been learned of the checksum offload of the VXLAN link, see overlay/mesh/offload.ts. It is decided once for a port and a kernel,
 * and kept on disk: while the offload is off, no packet could show that it would work by now, so to try again and again would be to break the
 * network again and again.
 */

export type Offload = {
  /** Returns the configuration with what has been learned in place of `auto`: the same value for the same one, as long as nothing is. */
  resolve(config: OverlayConfig): OverlayConfig
  /** Takes notice that packets to this node arrive only with the offload turned off. */
  learn(peer: string): void
  /** Calls back when something has been learned. */
  onLearned(tell: () => void): void
  /** What a person ought to know of it. */
  warnings(): Warning[]
}

export type OffloadPorts = {
  readonly files: Pick<Files, 'read' | 'replace' | 'remove' | 'ensureDirectory'>
  readonly log: AgentLog
  readonly path: string
  /** The release of the kernel. */
  readonly release: string
  /** Unix time, in ms. */
  readonly now: () => number
}

/** Valid for this port and this kernel. */
type Decision = {
  readonly port: number
  readonly kernel: string
  readonly peer: string
  /** When, in ISO 8601. */
  readonly since: string
}

export function createOffload(ports: OffloadPorts): Offload {
  const { log, release, now } = ports
  let decision = readDecision(ports)
  let given: OverlayConfig | undefined
  let resolved: OverlayConfig | undefined
  let tell = (): void => undefined
  const decide = (next: Decision | undefined): void => {
    decision = next
    resolved = undefined
    // Without it an agent that starts anew would only find out again.
    storeFor('the next start', ports, ports.path, next && JSON.stringify(next))
  }
  return {
    resolve(config) {
      if (config === given && resolved) return resolved
      given = config
      const isOf = decision?.port === config.port && decision.kernel === release
      if (decision && (config.checksumOffload !== 'auto' || !isOf)) {
        log.info({ ...decision }, 'what was found of the checksum offload counts no longer')
        decide(undefined)
      }
      resolved = decision ? { ...config, checksumOffload: 'off' } : config
      return resolved
    },
    learn(peer) {
      if (decision || given?.checksumOffload !== 'auto') return
      decide({ port: given.port, kernel: release, peer, since: new Date(now()).toISOString() })
      tell()
    },
    onLearned(next) {
      tell = next
    },
    warnings: () => warningsOf(decision),
  }
}

function warningsOf(decision: Decision | undefined): Warning[] {
  if (!decision) return []
  const { peer, port, since } = decision
  return [
    {
      level: 'warning',
      message: `the checksum offload of the VXLAN link is off since ${since}: packets to node ${peer} arrived with a checksum, and not with one that was left to the device`,
      hint: `Set "port" in overlay.json to another one than ${port}, which some hypervisors take for their own, or "checksumOffload" to "off" if it is to stay so: kubectl -n kube-system edit configmap bowline`,
    },
  ]
}

function readDecision({ files, path }: OffloadPorts): Decision | undefined {
  try {
    const value: unknown = JSON.parse(files.read(path) ?? 'null')
    return isDecision(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isDecision(value: unknown): value is Decision {
  if (!isObject(value)) return false
  const { port, kernel, peer, since } = value
  return typeof port === 'number' && [kernel, peer, since].every((one) => typeof one === 'string')
}
