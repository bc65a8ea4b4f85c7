import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type Agent, type AgentPorts, type InstallReport, startAgent } from '../../src/agent/agent.ts'
import type { GcReport } from '../../src/agent/collect.ts'
import { createMetrics, type Metrics } from '../../src/agent/metrics.ts'
import type { OverlayStatus } from '../../src/agent/overlay.ts'
import { answer } from '../../src/agent/serve.ts'
import { Fault } from '../../src/core/errors.ts'
import { createKubeClient } from '../../src/kube/client.ts'
import type { NodeTexts } from '../../src/overlay/cluster_file.ts'
import { authorityOf, createFakeApiServer, type FakeApiServer } from '../fakes/api_server.ts'
import { until } from '../support/until.ts'

const TEMPLATE = '{"name":"bowline","cniVersion":"1.0.0","plugins":[{"type":"bowline","mode":"l3"}]}'
const DONE: InstallReport = { version: '0.1.0', program: 'installed', conflist: 'installed', warnings: [] }
const NOTHING_LEFT: GcReport = { found: [], removed: false, errors: [] }
const LEFTOVER = { network: 'bowline', what: 'web eth0', reason: 'its pod is gone' }

let server: FakeApiServer
let stop: AbortController
let agent: Agent
let metrics: Metrics
let token: string
let log: { level: string; message: string; fields: Record<string, unknown> }[]
/** The subnets of each conflist that was to be installed. */
let installed: string[]
let install: () => InstallReport
let collect: () => GcReport
let former: ReturnType<AgentPorts['formerPods']>

beforeEach(() => {
  server = createFakeApiServer()
  token = 'first'
  log = []
  installed = []
  install = () => DONE
  collect = () => NOTHING_LEFT
  former = []
})
afterEach(async () => {
  stop.abort()
  await agent.ended
  await server.stop()
})

function start(template = TEMPLATE, patienceMs = 60_000, overlay?: AgentPorts['overlay']): void {
  stop = new AbortController()
  metrics = createMetrics()
  const take = (level: string) => (fields: object, message: string) =>
    log.push({ level, message, fields: { ...fields } })
  agent = startAgent(
    {
      api: createKubeClient({
        server: server.url,
        readToken: async () => token,
        readAuthority: async () => authorityOf('old'),
      }),
      log: { info: take('info'), warn: take('warn') },
      metrics,
      async install(conflist) {
        const { plugins } = JSON.parse(conflist) as {
          plugins: { ipam: { ranges: { subnet: string }[][] } }[]
        }
        installed.push(
          (plugins[0]?.ipam.ranges ?? [])
            .flat()
            .map(({ subnet }) => subnet)
            .join(),
        )
        return install()
      },
      formerPods: () => former,
      collection: { intervalMs: 10, collect: async () => collect() },
      readTemplate: async () => template,
      nodeName: 'n1',
      overlay,
      patienceMs,
      // The shortest of all waits.
      random: () => 1,
    },
    stop.signal,
  )
}

const said = (text: string) => log.some(({ message }) => message.includes(text))
const ask = (path: string, headers: Record<string, string> = { host: '127.0.0.1:19474' }, method = 'GET') => {
  const site = {
    isReady: () => agent.isReady(),
    metrics,
    mesh: { mesh: undefined, page: '<html>', streams: 0 },
  }
  return answer(new Request(`http://127.0.0.1${path}`, { headers, method }), site)
}
const status = (path: string) => ask(path).status

describe('the agent', () => {
  it('installs what fits its node, and lets the scheduler use it', async () => {
    server.setNode('n0', { podCIDRs: ['10.0.0.0/24'] })
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24', 'fd00:7::/64'] })
    start()
    await until('the patch', () => server.patches.length === 1)
    expect(installed[0]).toBe('10.0.7.0/24,fd00:7::/64')
    expect(server.patches[0]).toMatchObject({
      status: { conditions: [{ type: 'NetworkUnavailable', status: 'False', reason: 'BowlineIsUp' }] },
    })
    expect(status('/readyz')).toBe(200)
  })

  it('with an overlay watches all Nodes and hands on the whole list', async () => {
    const lists: string[][] = []
    const overlay = overlayWith({ isJoined: true })
    overlay.setCluster = (nodes) => lists.push(nodes.map(({ name }) => name))
    server.setNode('n0', { podCIDRs: ['10.0.0.0/24'] })
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    start(TEMPLATE, 60_000, overlay)
    await until('the patch', () => server.patches.length === 1)
    expect(installed[0]).toBe('10.0.7.0/24')
    server.removeNode('n0')
    await until('the removal', () => lists.at(-1)?.length === 1)
    expect([lists[0], lists.at(-1)]).toEqual([['n0', 'n1'], ['n1']])
  })

  it('opens another watch in place of one whose connection a lost address has made deaf', async () => {
    const overlay = overlayWith({ isJoined: true })
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    start(TEMPLATE, 60_000, overlay)
    await until('the watch', () => server.watches() === 1)
    overlay.loseAddress()
    await until('another watch', () => server.timeouts.length === 2)
    server.setNode('n1', { podCIDRs: ['10.0.8.0/24'] })
    await until('the news', () => installed.includes('10.0.8.0/24'))
    expect(server.watches()).toBe(1)
  })

  it('lets the scheduler use the node once it has joined the network between nodes', async () => {
    const overlay = overlayWith({ isJoined: false })
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    start(TEMPLATE, 60_000, overlay)
    await until('the installation', () => agent.isReady())
    expect(server.patches).toEqual([])
    overlay.set({ isJoined: true })
    await until('the patch', () => server.patches.length === 1)
  })

  it('says a mistake in overlay.json in the condition of its Node, until it is mended', async () => {
    const overlay = overlayWith({ isJoined: true, mistake: 'overlay.json is not valid: so' })
    const messages = () => server.node('n1')?.status?.conditions?.map(({ message }) => message)
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    start(TEMPLATE, 60_000, overlay)
    await until('the message', () => messages()?.[0]?.includes('but: overlay.json is not valid: so') === true)
    overlay.set({ isJoined: true })
    await until('the end of it', () => messages()?.[0]?.includes('but:') === false)
    expect(server.patches).toHaveLength(2)
  })

  it('names pods with addresses of former ranges in log, metric and condition, until they are gone', async () => {
    const message = 'pods of network bowline have addresses outside of its ranges'
    former = [{ message, hint: 'kubectl delete pod -n default web', count: 2 }]
    const said = () => server.node('n1')?.status?.conditions?.[0]?.message
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    start()
    await until('the condition', () => said()?.includes(`but: ${message}`) === true)
    expect(log).toContainEqual({ level: 'warn', message, fields: { hint: former[0]?.hint } })
    expect(metrics.print()).toContain('bowline_agent_former_range_pods 2')
    former = []
    server.setNode('n1', { podCIDRs: ['10.0.8.0/24'] })
    await until('the end of it', () => said()?.includes('but:') === false)
    expect(metrics.print()).toContain('bowline_agent_former_range_pods 0')
  })

  it('waits for podCIDRs that come late, and is alive but not ready until then', async () => {
    server.setNode('n1', {})
    start()
    await until('the watch', () => server.watches() === 1)
    expect([installed, status('/livez'), status('/readyz')]).toEqual([[], 200, 503])
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    await until('the patch', () => server.patches.length === 1)
    expect(status('/readyz')).toBe(200)
  })

  it('waits for a node that is registered late', async () => {
    start()
    await until('the watch', () => server.watches() === 1)
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    await until('the installation', () => agent.isReady())
  })

  it.each([
    [
      'a node without podCIDRs',
      () => server.setNode('n1', {}),
      'node n1 has no podCIDRs',
      '--allocate-node-cidrs',
    ],
    ['a node that is not there', () => {}, 'nothing is known of node n1', 'NODE_NAME'],
  ])('warns of %s that has waited for long, with what to do', async (_, prepare, message, hint) => {
    prepare()
    start(TEMPLATE, 50)
    await until('the warning', () => said(message))
    expect(log.find((line) => line.message.includes(message))?.fields['hint']).toContain(hint)
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    await until('the installation', () => agent.isReady())
  })

  it('does not touch a condition that is as it should be', async () => {
    server.setNode('n1', {
      podCIDRs: ['10.0.7.0/24'],
      conditions: [{ type: 'NetworkUnavailable', status: 'False' }],
    })
    start()
    await until('the installation', () => agent.isReady())
    expect(server.patches).toEqual([])
  })

  it('tells the scheduler nothing while pods could not be started, says why, and tries again', async () => {
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    install = () => {
      throw new Fault('all is taken', { hint: 'Free some.' })
    }
    start()
    await until('a second attempt', () => installed.length === 2)
    expect([server.patches, agent.isReady()]).toEqual([[], false])
    expect(log.find(({ level }) => level === 'warn')).toMatchObject({
      message: 'pods of this node cannot be started: all is taken',
      fields: { hint: 'Free some.', podCidrs: ['10.0.7.0/24'] },
    })
    install = () => DONE
    await until('the patch', () => server.patches.length === 1)
    expect(metrics.print()).toContain('bowline_agent_installs_total{result="failed"} 2\n')
  })

  it('outlives a template that is broken', async () => {
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    start('{')
    await until('the warning', () => said('the template of the conflist cannot be used'))
    expect(agent.isReady()).toBe(false)
  })

  it('outlives an API server that is away, a token that is refused, and comes back by itself', async () => {
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    await server.stop()
    start()
    await until('the failure', () => said('read /api/v1/nodes'))
    server.token = 'second'
    server.start()
    await until('the refusal', () => said('401 Unauthorized'))
    token = 'second'
    await until('the installation', () => agent.isReady())
    expect(metrics.print()).toMatch(/bowline_agent_api_failures_total\{reason="unauthorized"\} \d/)
  })

  it('repeats a patch that the server has not taken', async () => {
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    start()
    await until('the watch', () => server.watches() === 1)
    await until('the patch', () => server.patches.length === 1)
    server.refusals.push(403)
    server.setNode('n1', {
      podCIDRs: ['10.0.7.0/24'],
      conditions: [{ type: 'NetworkUnavailable', status: 'True' }],
    })
    await until('a second patch', () => server.patches.length === 2)
    expect(log.find(({ fields }) => fields['reason'] === 'forbidden')?.fields['hint']).toContain(
      'ClusterRole',
    )
  })

  it('logs each warning of the installation once', async () => {
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    install = () => ({
      ...DONE,
      program: 'unchanged',
      conflist: 'unchanged',
      warnings: ['another file sorts first'],
    })
    start()
    await until('the installation', () => agent.isReady() && server.patches.length === 1)
    server.setNode('n1', { podCIDRs: ['10.0.8.0/24'] })
    await until('the next', () => installed.includes('10.0.8.0/24') && server.patches.length >= 2)
    expect(log.filter(({ message }) => message === 'another file sorts first')).toHaveLength(1)
  })
})

/** An overlay that does nothing, and whose status the test sets. */
function overlayWith(first: OverlayStatus) {
  let status = first
  let [tell, tellAddressGone] = [(): void => {}, (): void => {}]
  return {
    onAddressGone: (onGone: () => void) => {
      tellAddressGone = onGone
    },
    loseAddress: () => tellAddressGone(),
    setCluster: (_: readonly NodeTexts[]): unknown => undefined,
    status: () => status,
    onStatus: (onChange: () => void) => {
      tell = onChange
    },
    set(next: OverlayStatus) {
      status = next
      tell()
    },
  }
}

describe('the collection of leftovers', () => {
  const counted = (line: string) => until(line, () => metrics.print().includes(`bowline_agent_gc_${line}`))

  it('says what was removed, and counts it', async () => {
    const reports = [NOTHING_LEFT, { found: [LEFTOVER], removed: true, errors: [] }]
    collect = () => reports.shift() ?? NOTHING_LEFT
    start()
    await counted('runs_total{result="done"} 3')
    expect(log.filter(({ message }) => message.includes('have left'))).toMatchObject([
      { level: 'info', fields: { found: [LEFTOVER] } },
    ])
    expect(metrics.print()).toContain('bowline_agent_gc_removed_total 1\n')
  })

  it.each<[string, () => GcReport]>([
    [
      'that could not look',
      () => {
        throw new Fault('no boot id', { hint: 'Mount it.' })
      },
    ],
    ['that could not remove all', () => ({ found: [LEFTOVER], removed: false, errors: ['EPERM'] })],
  ])('goes on after an attempt %s, with one line in the log', async (_, attempt) => {
    let attempts = 0
    collect = () => (attempts++ === 0 ? attempt() : NOTHING_LEFT)
    start()
    await counted('runs_total{result="done"} 1')
    expect(metrics.print()).toContain('bowline_agent_gc_runs_total{result="failed"} 1\n')
    const lines = log.filter(({ message }) => message.includes('have left'))
    expect(lines).toMatchObject([{ level: 'warn', fields: { hint: expect.any(String) } }])
  })
})

describe('what the agent answers over HTTP', () => {
  it('are metrics in the format of Prometheus', async () => {
    server.setNode('n1', { podCIDRs: ['10.0.7.0/24'] })
    start()
    await until('the installation', () => agent.isReady())
    const text = await ask('/metrics').text()
    expect(text).toContain('# TYPE bowline_agent_ready gauge\nbowline_agent_ready 1\n')
    expect(text).toContain('bowline_agent_pod_cidrs 1\n')
    for (const line of text.trimEnd().split('\n'))
      expect(line).toMatch(
        /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? -?[\d.e+]+)$/,
      )
  })

  it.each(['evil.example', 'evil.example:19474', '192.0.2.1:19474', '127.0.0.1.evil.example', ''])(
    'is nothing for a page of another name that a resolver leads here: %j',
    (host) => {
      start()
      for (const path of ['/', '/mesh', '/mesh/events', '/metrics'])
        expect(ask(path, { host }).status).toBe(421)
    },
  )

  it('is nothing but for GET', () => {
    start()
    for (const method of ['POST', 'PUT', 'DELETE']) {
      expect(ask('/mesh', { host: 'localhost:1' }, method).status).toBe(405)
    }
  })

  it('is a page and the mesh, which nothing may frame or read from elsewhere', async () => {
    start()
    const { status, headers } = ask('/', { host: '[::1]:19474' })
    expect([status, headers.get('content-security-policy')]).toEqual([
      200,
      expect.stringMatching(/default-src 'none'.*frame-ancestors 'none'/),
    ])
    expect(headers.has('access-control-allow-origin')).toBe(false)
    expect(await ask('/mesh').json()).toEqual({ overlay: false, findings: [] })
  })

  it('is a stream of changes for eight pages, and for another one when one of them is closed', async () => {
    start()
    const mesh = { mesh: undefined, page: '', streams: 0 }
    const site = { isReady: () => true, metrics, mesh }
    const open = () =>
      answer(new Request('http://127.0.0.1/mesh/events', { headers: { host: '127.0.0.1' } }), site)
    const streams = Array.from({ length: 9 }, open)
    expect(streams.map(({ status }) => status)).toEqual([...Array(8).fill(200), 503])
    await streams[0]?.body?.cancel()
    expect(open().status).toBe(200)
  })

  it('is a hint for any other path', () => {
    start()
    expect(status('/nowhere')).toBe(404)
  })
})
