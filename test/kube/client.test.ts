import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Fault } from '../../src/core/errors.ts'
import type { KubeApi, WatchEvent } from '../../src/kube/api.ts'
import { createKubeClient } from '../../src/kube/client.ts'
import { authorityOf, createFakeApiServer, type FakeApiServer } from '../fakes/api_server.ts'
import { until } from '../support/until.ts'

let server: FakeApiServer
let api: KubeApi
let token: string
let authority: string
let skews: number[]

beforeEach(() => {
  server = createFakeApiServer()
  token = 'first'
  authority = authorityOf('old')
  skews = []
  api = createKubeClient({
    server: server.url,
    readToken: async () => `${token}\n`,
    readAuthority: async () => authority,
    onClock: (skewMs) => skews.push(skewMs),
  })
})
afterEach(() => server.stop())

const list = () => api.get('/api/v1/nodes')

async function faultOf(work: () => Promise<unknown>): Promise<Fault> {
  const error = await work().then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof Fault) return error
  throw new Error(`no Fault, but ${String(error)}`)
}

it('reads what is there', async () => {
  server.setNode('n1', { podCIDRs: ['10.0.0.0/24'] })
  expect(await list()).toMatchObject({
    items: [{ metadata: { name: 'n1' }, spec: { podCIDR: '10.0.0.0/24' } }],
  })
})

it('merges into a status', async () => {
  server.setNode('n1', { conditions: [{ type: 'Ready', status: 'True' }] })
  const condition = { type: 'NetworkUnavailable', status: 'False' }
  await api.patch('/api/v1/nodes/n1/status', { status: { conditions: [condition] } })
  expect(server.node('n1')?.status?.conditions).toEqual([{ type: 'Ready', status: 'True' }, condition])
})

it('hands on the events of a watch, until the server ends it', async () => {
  const events: WatchEvent[] = []
  server.setNode('n1', {})
  const query = { fieldSelector: 'metadata.name=n1', resourceVersion: '0' }
  const watch = api.watch('/api/v1/nodes', query, (event) => events.push(event), new AbortController().signal)
  await until('the first event', () => events.length >= 2)
  server.setNode('n2', {})
  server.setNode('n1', { podCIDRs: ['10.0.0.0/24'] })
  server.removeNode('n1')
  await until('the last event', () => events.length >= 4)
  server.endWatches()
  await watch
  expect(events.map(({ type }) => type)).toEqual(['ADDED', 'BOOKMARK', 'MODIFIED', 'DELETED'])
})

it('ends a watch without an error when we no longer want it', async () => {
  const stop = new AbortController()
  const watch = api.watch('/api/v1/nodes', {}, () => {}, stop.signal)
  await until('the watch', () => server.watches() === 1)
  stop.abort()
  await watch
})

describe('a credential that is replaced', () => {
  it('is read anew for each request: the token', async () => {
    await list()
    server.token = 'second'
    expect(await faultOf(list)).toMatchObject({
      errno: 'unauthorized',
      message: 'read /api/v1/nodes: 401 Unauthorized',
    })
    token = 'second'
    await list()
  })

  it('is read anew for each request: the certificate authority', async () => {
    await list()
    await server.stop()
    server.start('new')
    expect(await faultOf(list)).toMatchObject({
      errno: 'certificate',
      hint: expect.stringContaining('rotation'),
    })
    authority = authorityOf('new')
    await list()
    authority = authorityOf('old')
    expect(await faultOf(list)).toMatchObject({ errno: 'certificate' })
  })
})

describe('a request that fails', () => {
  it.each([
    [403, 'forbidden', 'ClusterRole'],
    [404, 'missing', 'NODE_NAME'],
    [410, 'expired', 'read again'],
    [429, 'busy', 'overloaded'],
    [500, 'busy', 'overloaded'],
    [418, 'broken', 'log'],
  ])('with %i says so', async (status, errno, hint) => {
    server.refusals.push(status)
    expect(await faultOf(list)).toMatchObject({
      errno,
      message: `read /api/v1/nodes: ${status} as the test wants it`,
      hint: expect.stringContaining(hint),
    })
  })

  it.each(['expired', 'future'] as const)(
    'for a certificate that is %s by our clock names the clock',
    async (name) => {
      await server.stop()
      server.start(name)
      expect(await faultOf(list)).toMatchObject({ errno: 'clock', hint: expect.stringContaining('date -u') })
    },
  )

  it('since nobody listens names the address to look at', async () => {
    await server.stop()
    expect(await faultOf(list)).toMatchObject({
      errno: 'unreachable',
      hint: expect.stringContaining('KUBERNETES_SERVICE_HOST'),
    })
  })
})

it('tells how far the clock of the server is ahead', async () => {
  server.skewMs = 3_600_000
  await list()
  expect(Math.round((skews[0] ?? 0) / 10_000)).toBe(360)
})
