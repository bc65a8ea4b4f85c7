import { rmSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { fetchFrom, startPeerServer } from '../../support/node/http_server.ts'
import { fillPluginDirectory, type PluginAnswer, runPlugin } from '../../support/node/plugin.ts'
import { usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createOutside, NOTHING, nftElements, type Outside, residue } from '../../support/node/sandbox.ts'

/* Masquerading is said once a subnet: who makes it, who shares it, and who takes it away. */
const PLUGINS = '/run/cni-masquerade'
const PODS = ['a', 'b', 'c'] as const
type Pod = (typeof PODS)[number]
const TABLE = 'nft -a list table inet bowline'

function network(name: string, range: object, more: object = {}) {
  return {
    cniVersion: '1.1.0',
    name,
    type: 'bowline',
    mode: 'l3',
    ipMasq: true,
    ipam: { type: 'bowline-ipam', ranges: [[range]], routes: [{ dst: '0.0.0.0/0' }] },
    ...more,
  }
}

const SUBNET = '10.7.0.0/24'
const RED = network('red', { subnet: SUBNET, rangeEnd: '10.7.0.99' })
const BLUE = network('blue', { subnet: SUBNET, rangeStart: '10.7.0.100' })
const WIDE = network('wide', { subnet: '10.7.0.0/16', rangeStart: '10.7.9.2' })

let outside: Outside
let server: { stop(): Promise<void> }

usePods(...PODS)

beforeAll(async () => {
  fillPluginDirectory(PLUGINS)
  outside = createOutside()
  server = await startPeerServer(outside.netns, 7000)
})

afterAll(() => server.stop())

function call(command: 'ADD' | 'CHECK' | 'DEL', pod: Pod, config: object): Promise<PluginAnswer> {
  return runPlugin({ command, config, containerId: pod, netns: `/run/netns/${pod}`, cniPath: PLUGINS })
}

async function add(pod: Pod, config: object): Promise<PluginAnswer> {
  const answer = await call('ADD', pod, config)
  expect(answer.exitCode, answer.stdout).toBe(0)
  return answer
}

async function del(pod: Pod, config: object): Promise<void> {
  expect(await call('DEL', pod, config)).toMatchObject({ exitCode: 0, stdout: '' })
}

async function gc(config: object, valid: readonly Pod[]): Promise<void> {
  const list = valid.map((containerID) => ({ containerID, ifname: 'eth0' }))
  const answer = await runPlugin({
    command: 'GC',
    config: { ...config, 'cni.dev/valid-attachments': list },
    cniPath: PLUGINS,
  })
  expect(answer).toMatchObject({ exitCode: 0, stdout: '' })
}

/** The outside has no route to pods: only who is masqueraded hears an answer. */
async function expectMasqueraded(pod: Pod): Promise<void> {
  expect(await fetchFrom({ name: pod, path: `/run/netns/${pod}` }, `http://${outside.address}:7000/`)).toBe(
    outside.nodeAddress,
  )
}

it('a second pod finds all in place, and the DELs of all but the last change nothing of nftables', async () => {
  await add('a', RED)
  const made = run(TABLE)
  for (const pod of ['b', 'c'] as const) await add(pod, RED)
  for (const pod of PODS) await expectMasqueraded(pod)
  for (const pod of ['a', 'b'] as const) await del(pod, RED)
  expect(run(TABLE)).toBe(made)
  await expectMasqueraded('c')
  await del('c', RED)
  expect(await residue()).toEqual(NOTHING)
})

it('two networks share the element of a subnet: who stays behind inherits it', async () => {
  await add('a', RED)
  const { output: prevResult } = await add('b', BLUE)
  expect(run(TABLE)).toContain(`${SUBNET} comment "network red"`)
  await del('a', RED)
  expect(run(TABLE)).toContain(`${SUBNET} comment "network blue"`)
  await expectMasqueraded('b')
  expect((await call('CHECK', 'b', { ...BLUE, prevResult })).stdout).toBe('')
  await gc(RED, [])
  await expectMasqueraded('b')
  await del('b', BLUE)
  expect(await residue()).toEqual(NOTHING)
})

describe.each([
  ['the wider one last', ['a', RED], ['b', WIDE]],
  ['the wider one first', ['a', WIDE], ['b', RED]],
] as const)('of two subnets, one within the other (%s)', (_, [, first], [, second]) => {
  it('the map has the wider, and what is left when that ends', async () => {
    const results = [await add('a', first), await add('b', second)]
    expect(await nftElements()).toEqual(['10.7.0.0/16'])
    for (const [i, config] of [first, second].entries()) {
      const pod = PODS[i] as Pod
      await expectMasqueraded(pod)
      const { output: prevResult } = results[i] as PluginAnswer
      expect((await call('CHECK', pod, { ...config, prevResult })).stdout).toBe('')
    }
    await del(first === WIDE ? 'a' : 'b', WIDE)
    expect(await nftElements()).toEqual([SUBNET])
    await expectMasqueraded(first === WIDE ? 'b' : 'a')
    await del(first === WIDE ? 'b' : 'a', RED)
    expect(await residue()).toEqual(NOTHING)
  })
})

describe('a change of ipMasq', () => {
  const off = { ...RED, ipMasq: false }

  it('to true holds for the subnet from the next ADD', async () => {
    await add('a', off)
    expect(await nftElements()).toEqual([])
    await add('b', RED)
    for (const pod of ['a', 'b'] as const) await expectMasqueraded(pod)
    for (const pod of ['a', 'b'] as const) await del(pod, RED)
    expect(await residue()).toEqual(NOTHING)
  })

  it('to false holds for the subnet from the next ADD, and comes back with the next one that says true', async () => {
    await add('a', RED)
    await add('b', off)
    expect(await nftElements()).toEqual([])
    await add('c', RED)
    for (const pod of PODS) await expectMasqueraded(pod)
    for (const pod of PODS) await del(pod, off)
    expect(await residue()).toEqual(NOTHING)
  })

  it('is nothing to another network of the same subnet', async () => {
    await add('a', RED)
    await add('b', { ...BLUE, ipMasq: false })
    await expectMasqueraded('a')
    await del('b', BLUE)
    await expectMasqueraded('a')
  })

  it('that another network still needs leaves the subnet to it', async () => {
    await add('a', RED)
    await add('b', BLUE)
    await add('c', off)
    expect(run(TABLE)).toContain(`${SUBNET} comment "network blue"`)
    await expectMasqueraded('b')
  })
})

it('an ADD that fails takes away what it wrote, and puts back what it ended', async () => {
  const given = (addresses: readonly string[], more: object) =>
    network(
      'one',
      {},
      {
        ...more,
        ipam: {
          type: 'static',
          addresses: addresses.map((address) => ({ address, gateway: '10.7.0.1' })),
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
    )
  // What it was given shows only when the answer is written: 0.1.0 has room for one address of a family.
  const failing = given(['10.7.0.3/24', '10.7.0.4/24'], { cniVersion: '0.1.0' })
  expect(await call('ADD', 'b', failing)).toMatchObject({ exitCode: 1 })
  expect(await residue()).toEqual(NOTHING)
  await add('a', given(['10.7.0.2/24'], {}))
  for (const ipMasq of [true, false]) {
    expect(await call('ADD', 'b', { ...failing, ipMasq })).toMatchObject({ exitCode: 1 })
    expect(await nftElements()).toEqual([SUBNET])
  }
  await expectMasqueraded('a')
})

it('a single address of another IPAM plugin is a subnet of its own', async () => {
  const config = network('one', {}, { ipam: { type: 'static', addresses: [{ address: '10.9.0.5/32' }] } })
  await add('a', config)
  expect(await nftElements()).toEqual(['10.9.0.5/32'].map((text) => text.replace('/32', '')))
  await del('a', config)
  expect(await residue()).toEqual(NOTHING)
})

it('GC leaves a subnet whose valid pod has lost its record', async () => {
  await add('a', RED)
  rmSync('/var/lib/cni/bowline/red', { recursive: true })
  await gc(RED, ['a'])
  await expectMasqueraded('a')
  await gc(RED, [])
  expect((await residue()).nftTables).toEqual([])
})

describe('what an older version made, once a pod,', () => {
  const OLD = `table inet bowline {
    map masquerade4 { type ipv4_addr : verdict; }
    map masquerade6 { type ipv6_addr : verdict; }
    chain net-11111111-22222222 {
      ip daddr ${SUBNET} return
      masquerade
    }
    chain net-11111111-33333333 {
      masquerade
    }
    chain postrouting {
      type nat hook postrouting priority srcnat;
      ip saddr vmap @masquerade4
      ip6 saddr vmap @masquerade6
    }
  }
  add element inet bowline masquerade4 { 10.7.0.2 comment "a eth0" : goto net-11111111-22222222 }
  add element inet bowline masquerade4 { 10.7.0.100 comment "b eth0" : goto net-11111111-33333333 }`

  /** Pods of two networks, whose records the older version wrote alike. */
  async function withOldPods(): Promise<void> {
    await add('a', RED)
    await add('b', { ...BLUE, ipMasq: true })
    run(`nft delete table inet bowline; nft -f - <<'END'\n${OLD}\nEND`)
    await expectMasqueraded('a')
  }

  it.each<[string, () => Promise<unknown>]>([
    ['the first ADD that has to write', () => add('c', RED)],
    ['GC', () => gc(BLUE, ['b'])],
    ['the last DEL of a network', () => del('a', RED)],
  ])('is replaced by %s, for the pods of all networks', async (_, change) => {
    await withOldPods()
    await change()
    expect(run(TABLE)).not.toMatch(/masquerade4|masquerade6|postrouting \{|\bnet-/)
    expect(await nftElements()).toEqual([SUBNET])
    await expectMasqueraded('b')
    for (const pod of ['a', 'c'] as const) await del(pod, RED)
    await del('b', BLUE)
    expect(await residue()).toEqual(NOTHING)
  })
})
