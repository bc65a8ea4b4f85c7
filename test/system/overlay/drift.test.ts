import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createLinuxKernel } from '../../../src/kernel/linux/kernel.ts'
import { clusterNode } from '../../../src/overlay/cluster_file.ts'
import { readOverlayConfig } from '../../../src/overlay/config.ts'
import { createKeeper, type Keeper } from '../../../src/overlay/keeper.ts'
import { createFakeApiServer, type FakeApiServer } from '../../fakes/api_server.ts'
import { type AgentProcess, startAgentProcess, writeAccount } from '../../support/node/agent.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createOutside, enterSandbox } from '../../support/node/sandbox.ts'
import { DAMAGE, type Harm, KINDS } from '../../support/overlay/damage.ts'
import { until } from '../../support/until.ts'

/*
 * Each kind of object, with each kind of damage: heals by events of the kernel (the agent as it was built; `until` gives up long before the
 * next audit) and by an audit, which no event has caused. What is stale at the start goes when the list of Nodes is there, and not before.
 */
const NODES = [1, 2, 3].map((n) => ({
  name: `n${n}`,
  internalIps: [`192.0.2.${n}`, `2001:db8::${n}`],
  podCidrs: [`10.244.${n}.0/24`, `fd00:244:${n}::/64`],
}))
const MAC = "mac() { bridge fdb show dev bowline-vxlan | grep 'dst 192.0.2.2 ' | cut -d' ' -f1; }"
/** Objects of other programs, like ours in all but the link and the origin. */
const OTHERS = `ip route add 10.9.0.0/16 via 192.0.2.2; ip route add 10.244.8.0/24 via 192.0.2.2 proto 80
  ip -6 route add fd00:9::/64 via 2001:db8::2 proto static
  ip link add other type vxlan id 9 dstport 8472 nolearning; ip link set other up
  bridge fdb append 02:00:00:00:00:09 dev other dst 192.0.2.9
  ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 nud permanent dev up0`

const work = mkdtempSync(join(tmpdir(), 'drift-'))
const kernel = createLinuxKernel()
let server: FakeApiServer
let child: AgentProcess | undefined
let others: string

beforeAll(() => {
  enterSandbox()
  createOutside()
  run(OTHERS)
  others = othersOf()
  writeAccount(work)
  writeFileSync(join(work, 'overlay.json'), '{"probeIntervalMs":0}')
})
beforeEach(() => {
  server = createFakeApiServer()
  for (const { name, internalIps, podCidrs: podCIDRs } of NODES)
    server.setNode(name, { internalIps, podCIDRs })
})
afterEach(async () => {
  child?.kill('SIGKILL')
  await child?.exited
  await server.stop()
  run(`set +e; ip link del bowline-vxlan 2>/dev/null; ip link del bowline-vxlan6 2>/dev/null; ip link del stolen 2>/dev/null; ip link del bridge9 2>/dev/null; ip nexthop flush >/dev/null 2>&1
    ip route flush proto 98; ip -6 route flush proto 98; nft delete table inet bowline 2>/dev/null; true`)
  rmSync(join(work, 'state'), { recursive: true, force: true })
  expect(othersOf()).toBe(others)
})
afterAll(() => rmSync(work, { recursive: true }))

function start(): void {
  child = startAgentProcess(server, work, {
    NODE_NAME: 'n1',
    OVERLAY_CONFIG: join(work, 'overlay.json'),
    AGENT_STATE_DIR: join(work, 'state'),
  })
}

/** Compares everything, as the first audit of an agent does. */
const audit = (): readonly string[] => auditBy(createKeeper(kernel))()

function auditBy(keeper: Keeper): () => readonly string[] {
  const cluster = NODES.map(clusterNode)
  const [own] = cluster
  if (!own) throw new Error('no nodes')
  const config = readOverlayConfig('{}')
  return () => {
    keeper.distrust()
    const { outcome } = keeper.run({ cluster, own, config, mode: 'whole' })
    expect(outcome.failures).toEqual([])
    return outcome.changes
  }
}

/** What the node has of the overlay, one object a line. */
function state(): string {
  const commands = [
    'ip route show table all proto 98; ip -6 route show table all proto 98; ip route show root 10.244.2.0/24',
    'ip -6 route show root fd00:244:2::/64',
    'for link in bowline-vxlan bowline-vxlan6; do ip -br link show $link 2>/dev/null; ip -br address show $link 2>/dev/null; done',
    'ip neigh show dev bowline-vxlan nud permanent 2>/dev/null; bridge fdb show dev bowline-vxlan 2>/dev/null',
    "ip -d link show bowline-vxlan 2>/dev/null | grep -o 'master [^ ]*\\|vxlan id .* udp6zerocsumrx'",
    'ethtool -k bowline-vxlan 2>/dev/null | grep tx-checksum-ip-generic',
    'nft list table inet bowline 2>/dev/null | sed "s/counter packets.*bytes [0-9]*/counter/"',
  ]
  return run(`set +e; ${commands.join('; ')}; true`)
    .split('\n')
    .sort()
    .join('\n')
}

function othersOf(): string {
  return run(
    `ip route; ip -6 route; ip -br link show other; bridge fdb show dev other; ip neigh show dev up0 nud permanent`,
  )
    .split('\n')
    .filter((line) => !/proto 98|bowline|fe80/.test(line))
    .sort()
    .join('\n')
}

const isWhole = (): boolean => {
  const text = state()
  return [2, 3].every((n) =>
    [`10.244.${n}.0/24 via`, `fd00:244:${n}::/64 via`, `dst 192.0.2.${n} `].every((part) =>
      text.includes(part),
    ),
  )
}

const cases = (harms: readonly Harm[]): string[] =>
  KINDS.flatMap((kind) => harms.flatMap((harm) => DAMAGE[kind][harm]))

describe('what is damaged', () => {
  it.each(cases(['deleted', 'changed', 'duplicated']))('heals by events: %s', async (damage) => {
    start()
    await until('both peers', isWhole)
    const whole = state()
    // The second of two commands may find that the first has been mended. That each does harm is proven by the audit.
    run(`${MAC}; { ${damage}; } 2>/dev/null || true`)
    await until('the same as before', () => state() === whole)
  })

  it('heals by events: the link is moved to another namespace, where it keeps its tunnel', async () => {
    start()
    await until('both peers', isWhole)
    const whole = state()
    run('ip netns add away; ip link set bowline-vxlan netns away')
    await until('the same as before', () => state() === whole)
    expect(run('ip netns exec away ip -br link show type vxlan; ip netns del away')).toBe('')
  })

  it.each(cases(['deleted', 'changed', 'duplicated']))('heals by an audit: %s', (damage) => {
    const again = auditBy(createKeeper(kernel))
    again()
    const whole = state()
    // What is the same as at the last audit that found nothing is not read.
    for (let i = 0; i < 3; i++) expect(again()).toEqual([])
    run(`${MAC}; ${damage}`)
    expect(again()).not.toEqual([])
    expect(state()).toBe(whole)
    for (let i = 0; i < 3; i++) expect(again()).toEqual([])
  })
})

describe('what is stale at the start', () => {
  it.each(cases(['stale']))('stays until the list of Nodes is there, and then goes: %s', async (damage) => {
    audit()
    const whole = state()
    afterClean()
    run(damage)
    const planted = state()
    await server.stop()
    start()
    await until('the start', () => run('curl -s 127.0.0.1:19474/livez || true').includes('alive'))
    expect(state()).toBe(planted)
    server.start()
    await until('what the cluster says', () => state() === whole)
  })
})

function afterClean(): void {
  run(
    `ip link del bowline-vxlan; ip route flush proto 98; ip -6 route flush proto 98; nft delete table inet bowline`,
  )
}
