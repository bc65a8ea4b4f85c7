import type { Invocation } from '../cni/environment.ts'
import type { NetworkConfig } from '../cni/schema.ts'
import { Fault, toFault } from '../core/errors.ts'
import type { Machine } from '../core/machine.ts'
import type { TraceRequest } from '../kernel/trace.ts'
import type { Ports } from './ports.ts'

/** A log has at most this many bytes, and the one before it as many. */
const MAX_LOG_BYTES = 4 << 20

/** What a call needs to be logged. */
export type LogPort = Pick<Machine, 'now' | 'pid' | 'hostname' | 'appendLog'> & {
  /** Writes a line to stderr. */
  readonly warn: (line: string) => void
  /** Opens the ports once more, with a kernel that tells of each request. */
  readonly tracedPorts: (tell: TraceRequest) => Ports
}

/** The levels of pino. */
const Level = { trace: 10, debug: 20, info: 30, error: 50 } as const

/**
 * The log of one call: a line to `logFile` if the configuration names one, and to stderr on failure. Each line is a JSON
 * object as pino writes it. A log that cannot be written fails no call. Without `logFile` the clock is not read before the
 * end, since that would cost each call.
 */
export class CallLog {
  readonly #port: LogPort
  #invocation: Invocation | undefined
  #config: NetworkConfig | undefined
  #begin: number | undefined

  constructor(port: LogPort) {
    this.#port = port
  }

  /** Takes note of the call. Returns the ports that it is to use in place of those that are open, if there are any. */
  begin(invocation: Invocation, config?: NetworkConfig): Ports | undefined {
    this.#invocation = invocation
    this.#config = config
    if (!config?.logFile) return undefined
    this.#begin = this.#port.now()
    if (config.logLevel !== 'trace') return undefined
    return this.#port.tracedPorts((msg, ms, error) =>
      this.#append(Level.trace, {
        msg,
        ms: rounded(ms),
        ...(error !== undefined && { err: toFault(error).message }),
      }),
    )
  }

  /** Writes the line of the call, which has failed if there is an error. */
  end(error?: unknown): void {
    const { command } = this.#invocation ?? {}
    const fault = error === undefined ? undefined : toFault(error)
    const level = fault
      ? Level.error
      : command === 'STATUS' || command === 'VERSION'
        ? Level.debug
        : Level.info
    const ms = this.#begin === undefined ? undefined : rounded(this.#port.now() - this.#begin)
    const outcome = fault ? 'failed' : 'ok'
    const members = {
      ms,
      outcome,
      ...(fault && { code: fault.code, err: fault.message, hint: fault.hint }),
      msg: `${command ?? 'call'} ${outcome}`,
    }
    if (this.#config?.logFile) this.#append(level, members)
    if (fault) ignoringFaults(() => this.#port.warn(this.#line(level, members)))
  }

  #append(level: number, members: object): void {
    const { logFile = '', logLevel = 'info' } = this.#config ?? {}
    if (level < Level[logLevel]) return
    ignoringFaults(() => this.#port.appendLog(logFile, `${this.#line(level, members)}\n`, MAX_LOG_BYTES))
  }

  #line(level: number, members: object): string {
    const { command, containerId, ifName, args } = this.#invocation ?? {}
    return JSON.stringify({
      level,
      time: Math.floor(this.#port.now()),
      pid: this.#port.pid(),
      hostname: this.#port.hostname(),
      command,
      network: this.#config?.name,
      container: containerId || undefined,
      namespace: args?.['K8S_POD_NAMESPACE'],
      pod: args?.['K8S_POD_NAME'],
      ifName: ifName || undefined,
      ...members,
    })
  }
}

function ignoringFaults(work: () => void): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof Fault)) throw error
  }
}

/** Milliseconds with as many digits as a clock is good for. */
function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000
}
