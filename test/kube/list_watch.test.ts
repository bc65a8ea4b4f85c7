import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import type { Fault } from '../../src/core/errors.ts'
import type { KubeApi } from '../../src/kube/api.ts'
import { createKubeClient } from '../../src/kube/client.ts'
import { listWatch } from '../../src/kube/list_watch.ts'
import { nodeView } from '../../src/kube/node.ts'
import { authorityOf, createFakeApiServer, type FakeApiServer } from '../fakes/api_server.ts'
import { until } from '../support/until.ts'

let server: FakeApiServer
let stop: AbortController
let running: Promise<void>
/** The podCIDRs of the one node, at each change. */
let changes: (string | undefined)[]
let faults: Fault[]
let waits: number[]
let random: number

beforeEach(() => {
  server = createFakeApiServer()
  stop = new AbortController()
  changes = []
  faults = []
  waits = []
  random = 0
})
afterEach(async () => {
  stop.abort()
  await running
  await server.stop()
})

function start(
  query = { fieldSelector: 'metadata.name=n1' } as Record<string, string>,
  onNames = (_: readonly string[]) => {},
): void {
  const api = createKubeClient({
    server: server.url,
    readToken: async () => 'first',
    readAuthority: async () => authorityOf('old'),
  })
  running = listWatch(
    api,
    {
      path: '/api/v1/nodes',
      query,
      decode: nodeView,
      onChange: (nodes) => {
        onNames(nodes.map(({ name }) => name))
        changes.push(nodes[0]?.podCidrs.join())
      },
      onFailure: (fault) => faults.push(fault),
      sleep: async (ms) => {
        waits.push(ms)
        await Bun.sleep(5)
      },
      random: () => random,
    },
    stop.signal,
  )
}

it('lists once, then follows each change', async () => {
  server.setNode('n1', {})
  start()
  await until('the watch', () => server.watches() === 1)
  server.setNode('n1', { podCIDRs: ['10.0.0.0/24', 'fd00::/64'] })
  server.removeNode('n1')
  await until('the removal', () => changes.length === 3)
  expect(changes).toEqual(['', '10.0.0.0/24,fd00::/64', undefined])
  expect(server.requests.filter((one) => one.startsWith('GET'))).toHaveLength(1)
})

it.each([
  [0, 240],
  [0.99, 161],
])(
  'asks for watches of various lengths, so that nodes do not come in one moment: random %d',
  async (one, seconds) => {
    random = one
    start()
    await until('the watch', () => server.watches() === 1)
    expect(server.timeouts).toEqual([seconds])
  },
)

it('reads a long list page by page, and tells of it once', async () => {
  for (let n = 1; n <= 450; n++) server.setNode(`n${n}`, { podCIDRs: [`10.${n >> 8}.${n & 255}.0/24`] })
  let told: readonly string[] = []
  start({}, (names) => {
    told = names
  })
  await until('the watch', () => server.watches() === 1)
  expect(told).toHaveLength(450)
  expect(changes).toHaveLength(1)
  expect(server.requests.filter((one) => one.startsWith('GET'))).toHaveLength(3)
})

it('resumes where the watch before ended, without a new list', async () => {
  server.setNode('n1', {})
  start()
  await until('the watch', () => server.watches() === 1)
  server.endWatches()
  server.setNode('n1', { podCIDRs: ['10.0.0.0/24'] })
  await until('the change', () => changes.at(-1) === '10.0.0.0/24')
  expect(changes).toEqual(['', '10.0.0.0/24'])
  expect(server.requests).toEqual([
    'GET /api/v1/nodes',
    'WATCH /api/v1/nodes from 11',
    'WATCH /api/v1/nodes from 11',
  ])
})

it('does not tell of a change of what is not kept', async () => {
  server.setNode('n1', { podCIDRs: ['10.0.0.0/24'] })
  start()
  await until('the watch', () => server.watches() === 1)
  server.setNode('n1', { podCIDRs: ['10.0.0.0/24'], conditions: [{ type: 'Ready', status: 'True' }] })
  server.setNode('n1', { podCIDRs: ['10.0.1.0/24'] })
  await until('the change', () => changes.at(-1) === '10.0.1.0/24')
  expect(changes).toEqual(['10.0.0.0/24', '10.0.1.0/24'])
})

it('lists again when the server has forgotten the version (410), and calls that no failure', async () => {
  server.setNode('n1', {})
  start()
  await until('the watch', () => server.watches() === 1)
  server.setNode('n1', { podCIDRs: ['10.0.0.0/24'] })
  await until('the change', () => changes.length === 2)
  server.forgetVersions()
  server.endWatches()
  await until('a second list', () => changes.length === 3)
  expect(changes).toEqual(['', '10.0.0.0/24', '10.0.0.0/24'])
  expect(faults).toEqual([])
})

it('repeats what fails at growing intervals, up to half a minute', async () => {
  await server.stop()
  start()
  await until('ten attempts', () => waits.length >= 10)
  expect(waits.slice(0, 10)).toEqual([500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000, 30_000])
  expect(new Set(faults.map(({ errno }) => errno))).toEqual(new Set(['unreachable']))
  server.setNode('n1', { podCIDRs: ['10.0.0.0/24'] })
  server.start()
  await until('the list', () => changes.length === 1)
})

it('pauses before it asks a server again that ends each watch at once', async () => {
  start()
  for (let round = 1; round <= 3; round++) {
    await until('a watch', () => server.watches() === 1)
    server.endWatches()
    await until('a pause', () => waits.length === round)
  }
  expect(waits).toEqual([500, 1000, 2000])
})

it('asks anew after a silence that is longer than between two bookmarks: nothing tells that a machine has lost its power', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  try {
    const bookmark = { type: 'BOOKMARK', object: { metadata: { resourceVersion: '8' } } }
    const watches: { readonly from: string | undefined; readonly say: () => void }[] = []
    const api: KubeApi = {
      get: async () => ({ items: [], metadata: { resourceVersion: '7' } }),
      patch: async () => {},
      watch: (_, { resourceVersion: from }, onEvent, signal) =>
        new Promise((resolve) => {
          watches.push({ from, say: () => onEvent(bookmark) })
          signal.addEventListener('abort', () => resolve())
        }),
    }
    const sleep = async () => {}
    const ignored = { onChange() {}, onFailure() {}, sleep, random: () => 0 }
    running = listWatch(api, { path: '/api/v1/nodes', query: {}, decode: nodeView, ...ignored }, stop.signal)
    for (let bookmarks = 0; bookmarks < 5; bookmarks++) {
      await vi.advanceTimersByTimeAsync(75_000)
      watches[0]?.say()
    }
    expect(watches.map(({ from }) => from)).toEqual(['7'])
    await vi.advanceTimersByTimeAsync(120_000)
    expect(watches.map(({ from }) => from)).toEqual(['7', '8'])
  } finally {
    vi.useRealTimers()
  }
})
