import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { L3 } from '../../fakes/node.ts'
import { onEach } from '../../support/node/node.ts'
import {
  type PluginAnswer,
  type PluginCall,
  pluginConfigOf,
  readConflist,
  runPlugin,
} from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import {
  clearNode,
  createOutside,
  enterSandbox,
  links,
  type Netns,
  NOTHING,
  ping,
  residue,
} from '../../support/node/sandbox.ts'

/*
 * As many pods at once as a node takes when it starts: a hundred processes that all want the same bridge, the same table,
 * the same pool. Then the same the other way round, and all of it mixed with GC.
 */

const COUNT = 100
/** All processes of a burst share two processors, so each may take a hundred times as long as alone. */
const TIMEOUT_MS = 120_000
/** See src/core/errors.ts. */
const POOL_EXHAUSTED = 100

const NETWORKS = [
  {
    mode: 'l2',
    config: pluginConfigOf(readConflist('example-l2'), { cniVersion: '1.1.0' }),
    bridges: ['cni0'],
    families: 2,
    gateway: '10.88.0.1',
  },
  { mode: 'l3', config: L3, bridges: [], families: 2, gateway: '10.1.0.1' },
]

let pods: Netns[]

beforeAll(() => {
  enterSandbox()
  createOutside()
  run(`for i in $(seq 0 ${COUNT - 1}); do ip netns add pod$i; done`)
  pods = Array.from({ length: COUNT }, (_, i) => ({ name: `pod${i}`, path: `/run/netns/pod${i}` }))
})

beforeEach(() => clearNode())

describe.each(NETWORKS)('mode $mode', ({ config, bridges, families, gateway }) => {
  // Each test ends with no pod, whatever it did.
  afterEach(async () => {
    const answers = await Promise.all(pods.map((pod) => call('DEL', config, pod)))
    expect(answers.filter(({ exitCode }) => exitCode !== 0)).toEqual([])
    expect(await residue()).toEqual({ ...NOTHING, links: bridges })
  })

  it(`${COUNT} ADDs at once on a fresh node give ${COUNT} pods that reach each other; ${COUNT} DELs leave nothing`, async () => {
    const answers = await Promise.all(pods.map((pod) => call('ADD', config, pod)))
    expect(answers.filter(({ exitCode }) => exitCode !== 0)).toEqual([])
    const addresses = answers.flatMap(({ output }) => output.ips ?? []).map(({ address }) => address)
    expect(new Set(addresses).size).toBe(COUNT * families)
    const there = await residue()
    expect(there.links.filter((name) => name.startsWith('veth'))).toHaveLength(COUNT)
    expect([there.leases, there.nftElements].map(({ length }) => length)).toEqual([
      addresses.length,
      families,
    ])
    expect(there.records).toHaveLength(COUNT)
    const ports = (await links()).filter(({ master }) => master !== undefined)
    expect(ports).toHaveLength(bridges.length * COUNT)
    await expectReachable(answers, gateway)
  })

  it('ADDs, DELs and GCs at once keep what is valid, and nothing else', async () => {
    const [valid, lost] = [pods.slice(0, 40), pods.slice(40, 60)]
    const made = await Promise.all([...valid, ...lost].map((pod) => call('ADD', config, pod)))
    expect(made.filter(({ exitCode }) => exitCode !== 0)).toEqual([])
    const garbage = {
      ...config,
      'cni.dev/valid-attachments': valid.map(({ name }) => ({ containerID: name, ifname: 'eth0' })),
    }
    const faults: string[] = []
    const expectSuccess = ({ exitCode, stdout }: PluginAnswer) => {
      if (exitCode !== 0) faults.push(stdout)
    }
    const rounds = onEach(Array.from({ length: 8 }), valid, async (_, pod) => {
      for (const command of ['DEL', 'ADD', 'DEL', 'DEL', 'ADD'] as const)
        expectSuccess(await call(command, config, pod))
    })
    const collections = onEach([0, 1], Array.from({ length: 20 }), async () =>
      expectSuccess(await call('GC', garbage)),
    )
    await Promise.all([rounds, collections])
    expect(faults).toEqual([])
    const there = await residue()
    expect(there.records).toHaveLength(valid.length)
    expect([there.leases, there.nftElements].map(({ length }) => length)).toEqual([
      valid.length * families,
      families,
    ])
  })
})

it(`${COUNT} ADDs at once on a pool of 61 addresses: 61 pods get one, the others leave nothing`, async () => {
  const config = { ...L3, ipam: { ...L3.ipam, ranges: [[{ subnet: '10.1.0.0/26' }]], routes: [] } }
  const answers = await Promise.all(pods.map((pod) => call('ADD', config, pod)))
  const refusals = answers.filter(({ exitCode }) => exitCode !== 0).map(({ output }) => output.code)
  expect(refusals).toEqual(Array.from({ length: COUNT - 61 }, () => POOL_EXHAUSTED))
  const { links, leases, records, nftElements } = await residue()
  expect([links, leases, records, nftElements].map(({ length }) => length)).toEqual([61, 61, 61, 1])
  await Promise.all(pods.map((pod) => call('DEL', config, pod)))
  expect(await residue()).toEqual(NOTHING)
})

/** A sample: every tenth pod reaches its gateway and the pod seven places on. */
async function expectReachable(answers: readonly PluginAnswer[], gateway: string): Promise<void> {
  const addressOf = (i: number) => answers[i % COUNT]?.output.ips?.[0]?.address.replace(/\/.*/, '') ?? ''
  const sample = Array.from({ length: COUNT / 10 }, (_, i) => 10 * i)
  const answered = await Promise.all(
    sample.flatMap((i) =>
      [gateway, addressOf(i + 7)].map(
        async (target) => (await ping(target, { from: pods[i] as Netns })).answered,
      ),
    ),
  )
  expect(answered).toEqual(answered.map(() => 1))
}

function call(command: PluginCall['command'], config: object, pod?: Netns): Promise<PluginAnswer> {
  const who = pod && { containerId: pod.name, netns: pod.path }
  return runPlugin({ command, config, timeoutMs: TIMEOUT_MS, ...who })
}
