import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { authorityOf, type FakeApiServer } from '../../fakes/api_server.ts'
import { BOWLINE } from './plugin.ts'

export const AGENT = `${BOWLINE}-agent`
export const TEMPLATE = new URL('../../../conf/10-bowline.conflist', import.meta.url).pathname

export type AgentProcess = Bun.Subprocess<'ignore', 'pipe', 'inherit'>

/**
 * Starts bowline-agent as node n1, against this server. Its service account and what it installs are below `work`. `prefix` is a command
 * that starts it somewhere else.
 */
export function startAgentProcess(
  server: FakeApiServer,
  work: string,
  env: Readonly<Record<string, string>> = {},
  prefix: readonly string[] = [],
): AgentProcess {
  return Bun.spawn([...prefix, AGENT], {
    stdin: 'ignore',
    stdout: 'pipe',
    stderr: 'inherit',
    env: {
      NODE_NAME: 'n1',
      KUBERNETES_SERVICE_HOST: '127.0.0.1',
      KUBERNETES_SERVICE_PORT: new URL(server.url).port,
      SERVICE_ACCOUNT_DIR: join(work, 'account'),
      BIN_DIR: join(work, 'bin'),
      CONF_DIR: join(work, 'net.d'),
      BOWLINE_PROGRAM: BOWLINE,
      CONFLIST_TEMPLATE: TEMPLATE,
      ...env,
    },
  })
}

/** Writes the service account below `work`: what the fake server takes at first, if nothing else is said. */
export function writeAccount(work: string, token = 'first', authority: 'old' | 'new' = 'old'): void {
  mkdirSync(join(work, 'account'), { recursive: true })
  writeFileSync(join(work, 'account/token'), token)
  writeFileSync(join(work, 'account/ca.crt'), authorityOf(authority))
}
