import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createFakeApiServer, type FakeApiServer } from '../../fakes/api_server.ts'
import { type AgentProcess, startAgentProcess, TEMPLATE, writeAccount } from '../../support/node/agent.ts'
import { fetchFrom, startPeerServer } from '../../support/node/http_server.ts'
import { startPeerProgram } from '../../support/node/peer_program.ts'
import { callFor, expectSuccess, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createNetns, createOutside, type Netns, type Outside, runIn } from '../../support/node/sandbox.ts'
import { until } from '../../support/until.ts'

/*
 * What the agent has to do with masquerading: which destinations see a pod's own address, and that the rules come back. By events, since
 * `until` gives up long before the next audit.
 */
const work = mkdtempSync(join(tmpdir(), 'masquerade-'))
const overlayFile = join(work, 'etc/overlay.json')
const template = join(work, 'template.conflist')
const conflist = join(work, 'net.d/10-bowline.conflist')
const [A, B] = usePods('a', 'b')
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'bowline',
  type: 'bowline',
  mode: 'l3',
  ipMasq: true,
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.244.1.0/24' }], [{ subnet: 'fd00:244:1::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
}
const NODE = '192.0.2.1'
const JOINER = '10.244.4.2'

let outside: Outside
let joiner: Netns
let server: FakeApiServer
let child: AgentProcess | undefined

beforeAll(async () => {
  outside = createOutside()
  joiner = createNetns('joiner')
  // Node 4 is on the same link as the router, which forwards nothing: until the node has joined, packets to its pod are lost.
  run(`ip -n outside link add lan type bridge; ip -n outside link set lan up; ip -n outside link set eth0 master lan
    ip -n outside address del 192.0.2.2/24 dev eth0; ip -n outside address add 192.0.2.2/24 dev lan
    ip -n outside link add j type veth peer name eth0 netns joiner; ip -n outside link set j master lan up
    ip -n joiner address add 192.0.2.4/24 dev eth0; ip -n joiner link set eth0 up
    ip -n joiner address add ${JOINER}/32 dev lo; ip -n joiner route add 10.244.1.0/24 via ${NODE}`)
  await startPeerServer(outside.netns, 7001)
  await startPeerServer(joiner, 7001)
  await startPeerProgram(outside.netns, SENDER)
  for (const name of ['etc', 'net.d']) mkdirSync(join(work, name))
  writeAccount(work)
})
beforeEach(() => {
  server = createFakeApiServer()
  for (const n of [1, 2, 3]) setNode(n)
  setConfig('{"backend":"host-gw"}')
  writeFileSync(template, readFileSync(TEMPLATE))
})
afterEach(async () => {
  await end()
  await server.stop()
  rmSync(join(work, 'state'), { recursive: true, force: true })
  rmSync(conflist, { force: true })
  run('ip route flush proto 98; ip -6 route flush proto 98')
})
afterAll(() => rmSync(work, { recursive: true }))

/** Replaces overlay.json as a whole, as the kubelet does. */
function setConfig(text: string): void {
  writeFileSync(`${overlayFile}.new`, text)
  renameSync(`${overlayFile}.new`, overlayFile)
}

function setNode(n: number): void {
  const podCIDRs = [`10.244.${n}.0/24`, `fd00:244:${n}::/64`]
  server.setNode(`n${n}`, { podCIDRs, internalIps: [`192.0.2.${n}`, `2001:db8::${n}`] })
}

/** Starts the agent, and waits until it has filled the sets and installed the plugin. */
async function start(): Promise<void> {
  child = startAgentProcess(server, work, {
    OVERLAY_CONFIG: overlayFile,
    AGENT_STATE_DIR: join(work, 'state'),
    CONFLIST_TEMPLATE: template,
  })
  await until(
    'the ranges of the other nodes',
    () => has('cluster4', '10.244.3.0/24') && has('cluster6', 'fd00:244:3::/64'),
  )
  await until(
    'the conflist',
    () => existsSync(conflist) && readFileSync(conflist, 'utf8').includes('10.244.1.0/24'),
  )
}

async function end(): Promise<void> {
  child?.kill('SIGKILL')
  await child?.exited
  child = undefined
}

const list = (): string => run('nft list table inet bowline 2>/dev/null || true')
const elementsOf = (set: string): string => run(`nft list set inet bowline ${set} 2>/dev/null || true`)
const has = (set: string, text: string): boolean => elementsOf(set).includes(text)
const add = async (pod: Netns, more: object = {}) =>
  expectSuccess(await callFor(pod, 'ADD', { ...CONFIG, ...more }))
const seenFrom = (pod: Netns) => fetchFrom(pod, `http://${outside.address}:7001/`)

describe('the sets of the cluster', () => {
  it('have the range of each node with its name, and follow nodes and overlay.json', async () => {
    await add(A)
    await start()
    expect(elementsOf('cluster4')).toMatch(/10\.244\.2\.0\/24 comment "node n2"/)
    setNode(4)
    await until('the range of the new node', () => has('cluster4', '10.244.4.0/24 comment "node n4"'))
    server.removeNode('n2')
    await until(
      'the end of the old one',
      () => !has('cluster4', '10.244.2.0/24') && !has('cluster6', 'fd00:244:2::'),
    )
    setConfig('{"backend":"host-gw","nonMasqueradeCIDRs":["10.244.0.0/16","192.0.2.2/32"]}')
    await until('what overlay.json names', () => has('cluster4', '10.244.0.0/16 comment "overlay.json"'))
    expect(await seenFrom(A).catch(() => 'no answer')).toBe('no answer')
    setConfig('{"backend":"host-gw"}')
    await until(
      'the ranges without it',
      () => has('cluster4', '10.244.3.0/24 comment "node n3"') && !has('cluster4', '/16'),
    )
    expect(await seenFrom(A)).toBe(NODE)
  })

  it('stay when the last pod goes and while the agent is away', async () => {
    await start()
    await add(A)
    await end()
    expectSuccess(await callFor(A, 'DEL', CONFIG))
    expect(has('cluster4', '10.244.2.0/24 comment "node n2"')).toBe(true)
    await add(A)
    expect(has('cluster4', '10.244.2.0/24 comment "node n2"')).toBe(true)
    expect(await seenFrom(A)).toBe(NODE)
  })
})

describe('the agent is told of the damage and heals it:', () => {
  it.each([
    'nft flush ruleset',
    'nft delete table inet bowline',
    'nft flush table inet bowline',
    "nft 'add table inet bowline { flags dormant; }'",
    'nft flush set inet bowline cluster4',
    'nft delete element inet bowline cluster6 { fd00:244:2::/64 }',
    'nft add element inet bowline cluster4 { 203.0.113.0/24 }',
    'nft flush map inet bowline subnets4',
    'nft flush chain inet bowline masquerade-pods',
    'nft flush chain inet bowline subnet-10.244.1.0/24-default',
    'nft flush set inet bowline subnet-10.244.1.0/24-default',
    'nft flush set inet bowline exempt4',
  ])('%s', async (damage) => {
    await add(A)
    await add(B, { args: { cni: { masquerade: false } } })
    await start()
    const whole = sorted(list())
    run(damage)
    await until('the same as before', () => sorted(list()) === whole)
    expect(await seenFrom(A)).toBe(NODE)
  })

  /** nft lists chains and sets in the order of their creation. */
  const sorted = (table: string): string =>
    table
      .split('\n\n')
      .flatMap((part) => part.split('\n'))
      .sort()
      .join('\n')
})

it('the agent leaves ended what a network has ended, and does what its own end leaves to the plugin', async () => {
  const text = readFileSync(TEMPLATE, 'utf8').replace('"ipMasq": true', '"ipMasq": false')
  for (const file of [template, conflist]) writeFileSync(file, text)
  await add(A)
  await add(B, { ipMasq: false })
  await start()
  run('nft flush ruleset')
  await until('the ranges', () => has('cluster4', '10.244.2.0/24'))
  expect(list()).not.toContain('subnet-')
  await end()
  run('nft flush ruleset')
  expectSuccess(await callFor(B, 'DEL', CONFIG))
  await add(B)
  for (const pod of [A, B]) expect(await seenFrom(pod)).toBe(NODE)
})

it('what the outside sends to a pod meanwhile arrives, though the whole ruleset is flushed', async () => {
  await add(A)
  await start()
  await until('the table that nobody else can flush', () =>
    run('nft list tables').includes('inet bowline-agent'),
  )
  const received = runIn(A, process.execPath, '-e', LISTENER)
  for (let i = 0; i < 5; i++) {
    await Bun.sleep(50)
    run('nft flush ruleset')
  }
  expect(await received).toBe('500 bytes')
  expectSuccess(await callFor(A, 'DEL', CONFIG))
  await until('the end of the table', () => !run('nft list tables').includes('inet bowline-agent'))
})

/** Sends a byte each millisecond to whoever connects. */
const SENDER = `
  Bun.listen({ hostname: '0.0.0.0', port: 7004, socket: {
    open: (socket) => void (socket.data = setInterval(() => socket.write('x'), 1)),
    data: () => {},
    close: (socket) => clearInterval(socket.data),
  } })
  console.log('listening')`

const LISTENER = `
  let count = 0
  const end = (text) => { console.log(text); process.exit(0) }
  await Bun.connect({ hostname: '192.0.2.2', port: 7004, socket: {
    data: (_, bytes) => (count += bytes.length) < 500 || end('500 bytes'),
    close: () => end('closed after ' + count),
    error: (_, error) => end(String(error)),
  } })`

it('while a node joins, its pods see every pod by its own address', async () => {
  await add(A)
  await start()
  const ask = () => runIn(A, 'curl', '-sgf', '-m', '20', `http://${JOINER}:7001/`)
  const asked: Promise<string>[] = []
  for (let i = 0; i < 60; i++) {
    if (i === 30) setNode(4)
    asked.push(ask())
    await Bun.sleep(10)
  }
  const seen = await Promise.all(asked)
  expect(new Set(seen.map((text) => text.trim()))).toEqual(new Set(['10.244.1.2']))
})
