import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { AGENT, TEMPLATE } from '../../../test/support/node/agent.ts'
import { BOWLINE } from '../../../test/support/node/plugin.ts'

/** bowline-agent as it was built. */
export type RunningAgent = {
  readonly startedMs: number
  /** Where it writes the network of its node's pods. */
  readonly conflist: string
  /** Processor time until now, of all its threads. */
  cpuMs(): number
  /** Megabytes: its share of the pages that it uses (PSS). */
  memoryMb(): number
  stop(): Promise<void>
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
  [...MANIFEST.matchAll(/name: (BUN_JSC_\w+)\n\s+value: "(.*)"/g)].map(([, name = '', value = '']) => [
    name,
    value,
  ]),
)

/** Ticks of a second in /proc/PID/stat: USER_HZ, which is 100 on every Linux that we run on. */
const TICK_MS = 10

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
  const read = (name: string) => readFileSync(`/proc/${child.pid}/${name}`, 'utf8')
  return {
    startedMs,
    conflist: join(work, 'net.d/10-bowline.conflist'),
    cpuMs() {
      // The name of the program may contain spaces, but no field behind it.
      const fields = read('stat').replace(/.*\) /, '').split(' ')
      return (Number(fields[11]) + Number(fields[12])) * TICK_MS
    },
    memoryMb: () => Number(/^Pss: +(\d+)/m.exec(read('smaps_rollup'))?.[1]) / 1024,
    async stop() {
      child.kill('SIGKILL')
      await child.exited
    },
  }
}
