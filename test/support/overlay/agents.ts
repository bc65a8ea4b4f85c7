import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { close } from '../../../src/kernel/linux/disk.ts'
import { enterNamespace, openNamespace } from '../../../src/kernel/linux/net.ts'
import type { MeshView, WayView } from '../../../src/overlay/mesh/view.ts'
import { createFakeApiServer, type FakeApiServer } from '../../fakes/api_server.ts'
import { type AgentProcess, startAgentProcess, writeAccount } from '../node/agent.ts'
import { BOWLINE } from '../node/plugin.ts'
import { run } from '../node/private_namespaces.ts'
import { createMesh, NODES, type NodeNumber, nodeAddress, removeMesh } from './mesh.ts'

/*
 * The three nodes of mesh.ts, each with bowline-agent as it was built. Each node has an API server of its own on its loopback, which says
 * the same as the others.
 */

export type MeshNode = {
  readonly n: NodeNumber
  readonly server: FakeApiServer
  readonly agent: AgentProcess
  /** Kills the agent and starts another one; `meanwhile` there is none. */
  readonly restart: (meanwhile: () => void) => Promise<void>
  /** What the agent has written. */
  readonly log: () => string
}

export type MeshOfAgents = {
  readonly nodes: readonly MeshNode[]
  /** The command that puts another one on a node. */
  readonly on: (n: number) => readonly string[]
  /** What the agent of a node says of the mesh. */
  view(n: number): MeshView
  /** What a node measures of one way to another one. */
  way(from: number, to: number, network: WayView['network'], family: 4 | 6): WayView | undefined
  /** Gives all nodes another configuration. */
  configure(config: Readonly<Record<string, unknown>>): void
  /** Runs `bowline` on a node, and returns what it prints, whatever its exit code is. */
  bowline(n: number, words: string): string
  /** Ends all; once more, it does nothing. */
  end(): Promise<void>
}

/** Starts all, with addresses of these families. Probes are a tenth of a second apart, or tests would wait for them. */
export function startMeshOfAgents(
  config: Readonly<Record<string, unknown>> = {},
  families: readonly (4 | 6)[] = [4, 6],
): MeshOfAgents {
  createMesh()
  const work = mkdtempSync(join(tmpdir(), 'mesh-'))
  const configure = (given: Readonly<Record<string, unknown>>) => {
    const text = JSON.stringify({ probeIntervalMs: 100, ...given })
    for (const n of NODES) writeFileSync(join(work, `n${n}.json`), text)
  }
  configure(config)
  const nodes = NODES.map((n) => startNode(n, join(work, `n${n}`), join(work, `n${n}.json`), families))
  const on = (n: number) => ['nsenter', `--net=/run/netns/n${n}`, '--']
  const view = (n: number) =>
    JSON.parse(run(`${on(n).join(' ')} curl -sf -m 5 127.0.0.1:19474/mesh || echo '{}'`)) as MeshView
  return {
    nodes,
    on,
    view,
    configure,
    way: (from, to, network, family) =>
      view(from)
        .peers?.find(({ name }) => name === `node${to}`)
        ?.ways.find((one) => one.network === network && one.family === family),
    bowline: (n, words) => run(`${on(n).join(' ')} ${BOWLINE} ${words} 2>&1 || true`),
    async end() {
      for (const { agent } of nodes) agent.kill()
      await Promise.all(nodes.map(({ agent }) => agent.exited))
      await Promise.all(nodes.map(({ server }) => server.stop()))
      removeMesh()
      rmSync(work, { recursive: true, force: true })
    },
  }
}

function startNode(n: NodeNumber, work: string, config: string, families: readonly (4 | 6)[]): MeshNode {
  writeAccount(work)
  run(`ip -n n${n} link set lo up`)
  const server = inNamespace(n, () => createFakeApiServer())
  for (const one of NODES) setNode(server, one, families)
  const env = {
    NODE_NAME: `node${n}`,
    OVERLAY_CONFIG: config,
    AGENT_STATE_DIR: join(work, 'state'),
  }
  let text = ''
  const start = () => {
    const agent = startAgentProcess(server, work, env, ['nsenter', `--net=/run/netns/n${n}`, '--'])
    void (async () => {
      const decoder = new TextDecoder()
      for await (const chunk of agent.stdout) text += decoder.decode(chunk)
    })()
    return agent
  }
  let agent = start()
  return {
    n,
    server,
    get agent() {
      return agent
    },
    async restart(meanwhile) {
      agent.kill('SIGKILL')
      await agent.exited
      text = ''
      meanwhile()
      agent = start()
    },
    log: () => text,
  }
}

function setNode(server: FakeApiServer, n: number, families: readonly (4 | 6)[]): void {
  server.setNode(`node${n}`, {
    podCIDRs: [`10.244.${n}.0/24`, `fd00:244:${n}::/64`],
    internalIps: families.map((family) => nodeAddress[family](n)),
  })
}

/** A socket belongs to the namespace in which it was made, wherever its process goes afterwards. */
export function inNamespace<T>(n: NodeNumber, work: () => T): T {
  const [there, here] = [openNamespace(`/run/netns/n${n}`), openNamespace('/proc/thread-self/ns/net')]
  enterNamespace(there)
  try {
    return work()
  } finally {
    enterNamespace(here)
    for (const fd of [there, here]) close(fd)
  }
}
