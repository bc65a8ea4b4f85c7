import { dlopen } from 'bun:ffi'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AGENT, TEMPLATE } from '../../../test/support/node/agent.ts'
import { BOWLINE } from '../../../test/support/node/plugin.ts'

const { symbols: libc } = dlopen('libc.so.6', { clock_gettime: { args: ['i32', 'ptr'], returns: 'i32' } })

/** bowline-agent as it was built. */
export type RunningAgent = {
  readonly startedMs: number
  /** Where it writes the network of its node's pods. */
  readonly conflist: string
  /** Processor time until now, of all its threads. */
  cpuMs(): number
  memory(): Memory
  stop(): Promise<void>
}

/** Megabytes. */
export type Memory = {
  /** Its share of the pages that it uses. */
  readonly pss: number
  /** The pages that only it uses. */
  readonly uss: number
}

export type AgentOptions = {
  /** The name of its node; default: n1. */
  readonly nodeName?: string
  /** A command that starts it somewhere else. */
  readonly prefix?: readonly string[]
  readonly work: string
  readonly server: { readonly host: string; readonly port: string }
  readonly ca: string
  readonly token: string
  /** The text of overlay.json. */
  readonly config: string
}

/** What conf/bowline.yaml says for the engine. */
const MANIFEST = readFileSync(new URL('../../../conf/bowline.yaml', import.meta.url), 'utf8')
const ENGINE = Object.fromEntries(
  [...MANIFEST.matchAll(/name: (BUN_\w+)\n\s+value: "(.*)"/g)].map(([, name = '', value = '']) => [
    name,
    value,
  ]),
)

export function startAgent(options: AgentOptions): RunningAgent {
  const { nodeName = 'n1', prefix = [], work, server, ca, token, config } = options
  mkdirSync(join(work, 'account'), { recursive: true })
  writeFileSync(join(work, 'account/token'), token)
  writeFileSync(join(work, 'account/ca.crt'), ca)
  writeFileSync(join(work, 'overlay.json'), config)
  const startedMs = performance.now()
  const child = Bun.spawn([...prefix, AGENT], {
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'ignore',
    env: {
      NODE_NAME: nodeName,
      ...ENGINE,
      KUBERNETES_SERVICE_HOST: server.host,
      KUBERNETES_SERVICE_PORT: server.port,
      SERVICE_ACCOUNT_DIR: join(work, 'account'),
      BIN_DIR: join(work, 'bin'),
      CONF_DIR: join(work, 'net.d'),
      BOWLINE_PROGRAM: BOWLINE,
      CONFLIST_TEMPLATE: TEMPLATE,
      OVERLAY_CONFIG: join(work, 'overlay.json'),
      AGENT_STATE_DIR: join(work, 'state'),
    },
  })
  return {
    startedMs,
    conflist: join(work, 'net.d/10-bowline.conflist'),
    cpuMs: () => processorMs(child.pid),
    memory() {
      const text = readFileSync(`/proc/${child.pid}/smaps_rollup`, 'utf8')
      const of = (name: string) => Number(new RegExp(`^${name}: +(\\d+)`, 'm').exec(text)?.[1]) / 1024
      return { pss: of('Pss'), uss: of('Private_Clean') + of('Private_Dirty') }
    },
    async stop() {
      child.kill('SIGKILL')
      await child.exited
    },
  }
}

/**
 * Returns the processor time of a process, with that of threads which have ended: its clock counts nanoseconds, the counters in /proc
 * hundredths of a second. Source: clock_getcpuclockid(3).
 */
function processorMs(pid: number): number {
  const CPUCLOCK_SCHED = 2
  const time = new BigInt64Array(2)
  if (libc.clock_gettime((~pid << 3) | CPUCLOCK_SCHED, time) !== 0) throw new Error(`no process ${pid}`)
  return Number(time[0]) * 1000 + Number(time[1]) / 1e6
}
