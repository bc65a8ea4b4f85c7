import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createFakeApiServer, type FakeApiServer } from '../../fakes/api_server.ts'
import { type AgentProcess, startAgentProcess, writeAccount } from '../../support/node/agent.ts'
import { BOWLINE } from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { createOutside, enterSandbox } from '../../support/node/sandbox.ts'
import { until } from '../../support/until.ts'

/* bowline-agent as it was built keeps the overlay of its node: by events, since `until` gives up long before the next audit. */
const work = mkdtempSync(join(tmpdir(), 'overlay-'))
const mount = join(work, 'mount')
const config = join(mount, 'overlay.json')
const clusterFile = join(work, 'state/cluster.json')

const MISTAKE = 'is not one of'
const OTHERS = [
  expect.stringMatching(/^10\.9\.0\.0\/16 via 192\.0\.2\.2/),
  expect.stringMatching(/^10\.244\.9\.0\/24 via 192\.0\.2\.2/),
]

let server: FakeApiServer
let child: AgentProcess | undefined
let output: string

beforeAll(() => {
  enterSandbox()
  createOutside()
  mkdirSync(join(mount, '..first'), { recursive: true })
  symlinkSync('..first', join(mount, '..data'))
  symlinkSync('..data/overlay.json', config)
  writeAccount(work)
})
beforeEach(() => {
  server = createFakeApiServer()
  for (const n of [1, 2, 3]) setNode(n)
  setConfig('{}')
  output = ''
})
afterEach(async () => {
  await end()
  await server.stop()
  rmSync(join(work, 'state'), { recursive: true, force: true })
  run(`ip link del bowline-vxlan 2>/dev/null || true; ip route flush proto 98; ip -6 route flush proto 98
    ip route flush via 192.0.2.9`)
})
afterAll(() => rmSync(work, { recursive: true }))

/** Writes overlay.json as the kubelet writes a ConfigMap: into a new directory, to which a link is then turned. */
function setConfig(text: string): void {
  const version = mkdtempSync(`${mount}/..`)
  writeFileSync(join(version, 'overlay.json'), text)
  const before = readlinkSync(join(mount, '..data'), { encoding: 'utf8' })
  symlinkSync(basename(version), join(mount, '..data_tmp'))
  renameSync(join(mount, '..data_tmp'), join(mount, '..data'))
  rmSync(join(mount, before), { recursive: true })
}

function setNode(n: number): void {
  const podCIDRs = [`10.244.${n}.0/24`, `fd00:244:${n}::/64`]
  server.setNode(`n${n}`, { podCIDRs, internalIps: [`192.0.2.${n}`, `2001:db8::${n}`] })
}

function start(): void {
  child = startAgentProcess(server, work, { OVERLAY_CONFIG: config, AGENT_STATE_DIR: join(work, 'state') })
  void collect(child.stdout)
}

async function collect(stream: ReadableStream<Uint8Array>): Promise<void> {
  const decoder = new TextDecoder()
  for await (const chunk of stream) output += decoder.decode(chunk)
}

async function end(signal?: NodeJS.Signals): Promise<void> {
  child?.kill(signal)
  await child?.exited
  child = undefined
}

/** What the node has of the overlay, one object a line. */
function overlay(): string {
  const commands = [
    'ip route show proto 98; ip -6 route show proto 98',
    'ip -br link show bowline-vxlan 2>/dev/null; ip -br address show bowline-vxlan 2>/dev/null',
    'ip neigh show dev bowline-vxlan nud permanent 2>/dev/null; bridge fdb show dev bowline-vxlan 2>/dev/null',
  ]
  return run(`set +e; ${commands.join('; ')}; true`)
    .split('\n')
    .sort()
    .join('\n')
}

/** The lines with elements of the sets that follow the cluster. */
function elements(): string {
  return run('nft list table inet bowline 2>/dev/null | grep elements || true')
}

const hasPeer = (n: number): boolean =>
  [`10.244.${n}.0/24 via`, `fd00:244:${n}::/64 via`, `dst 192.0.2.${n} `].every((text) =>
    overlay().includes(text),
  )

describe('bowline-agent with an overlay', () => {
  it('joins the mesh, and follows nodes that come and go', async () => {
    start()
    await until('both peers', () => hasPeer(2) && hasPeer(3))
    setNode(4)
    await until('the new peer', () => hasPeer(4))
    server.removeNode('n2')
    await until('the end of the old one', () => !overlay().includes('244.2.') && !hasPeer(2))
    expect(hasPeer(3)).toBe(true)
  })

  it('joins by the last known cluster without the API server, and removes nothing on its word', async () => {
    start()
    await until('the file', () => existsSync(clusterFile) && hasPeer(2))
    await end('SIGKILL')
    await server.stop()
    run('ip link del bowline-vxlan; ip route add 10.244.99.0/24 via 192.0.2.2 proto 98')
    start()
    await until('both peers', () => hasPeer(2) && hasPeer(3))
    expect(overlay()).toContain('10.244.99.0/24')
    server.start()
    await until('the end of what is stale', () => !overlay().includes('10.244.99.0/24'))
    expect(hasPeer(2)).toBe(true)
  })

  it('leaves everything in place when it ends, and changes nothing when it starts again', async () => {
    start()
    await until('both peers', () => hasPeer(2) && hasPeer(3))
    const whole = overlay()
    await end()
    expect(overlay()).toBe(whole)
    start()
    await until('the start', () => output.split('agent starts').length > 2)
    await until('the watch', () => server.watches() > 0)
    expect(overlay()).toBe(whole)
    expect(output.split('brought in line')).toHaveLength(2)
  })

  it('names a mistake in its configuration once, and goes on with the last valid one', async () => {
    start()
    await until('both peers', () => hasPeer(2) && hasPeer(3))
    setConfig('{"backend":"vxlam"}')
    await until('the complaint', () => output.includes(MISTAKE))
    setNode(4)
    await until('the new peer', () => hasPeer(4))
    setConfig('{"backend":"direct"}')
    await until('plain routes', () => overlay().includes('10.244.4.0/24 via 192.0.2.4 dev up0'))
    expect(output.split(MISTAKE)).toHaveLength(2)
  })

  it('starts by the last valid configuration, and tells what is wrong with this one', async () => {
    setConfig('{"backend":"direct"}')
    start()
    const isDirect = () => overlay().includes('10.244.2.0/24 via 192.0.2.2 dev up0')
    await until('plain routes', isDirect)
    await end()
    run('ip route flush proto 98')
    setConfig('{"backend":"vxlam"}')
    start()
    await until('plain routes again', isDirect)
    const messages = () => server.node('n1')?.status?.conditions?.map(({ message }) => message)
    await until('the condition', () => `${messages()}`.includes('vxlam'))
    const findings = JSON.parse(run('curl -sf http://127.0.0.1:19474/mesh')).findings
    expect(JSON.stringify(findings)).toContain('vxlam')
  })

  it('names a mistake in a configuration that was never valid: in log, condition and doctor', async () => {
    setConfig('{"backend":"vxlam"}')
    start()
    const mistake = expect.stringMatching(
      /overlay\.json is not valid: .*"backend".*"vxlam" is not one of .*vxlan/,
    )
    const condition = () =>
      server.node('n1')?.status?.conditions?.find(({ type }) => type === 'NetworkUnavailable')
    await until('the condition', () => condition()?.status === 'True')
    expect(condition()?.message).toEqual(mistake)
    expect(output.replaceAll('\\', '')).toEqual(mistake)
    const places = `--bin-dir ${work}/bin --conf-dir ${work}/net.d`
    const doctor = JSON.parse(run(`${BOWLINE} doctor --json ${places} 2>/dev/null || true`))
    const hint = expect.stringContaining('kubectl -n kube-system edit configmap bowline')
    expect(doctor.findings).toContainEqual({ check: 'overlay', level: 'error', message: mistake, hint })
    setConfig('{}')
    await until('both peers', () => hasPeer(2) && hasPeer(3))
    await until('the end of the condition', () => condition()?.status === 'False')
    expect(condition()?.message).not.toContain('vxlam')
  })

  it.each([
    ['before ours', 'ip route prepend 10.244.2.0/24 via 192.0.2.9 proto static'],
    ['into a part of a range', 'ip route add 10.244.2.128/25 via 192.0.2.9'],
    ['that drops', 'ip route add blackhole 10.244.2.7'],
    ['with a lower metric', 'ip -6 route add fd00:244:2::/64 via 2001:db8::9 metric 5'],
  ])('names a route of another program %s, until it is gone', async (_, foreign) => {
    start()
    await until('both peers', () => hasPeer(2) && hasPeer(3))
    const findings = (): { message: string; hint: string }[] =>
      JSON.parse(run('curl -sf http://127.0.0.1:19474/mesh')).findings
    // These take no packets.
    run('ip route append 10.244.3.0/24 via 192.0.2.9 proto static; ip route add 10.244.0.0/16 via 192.0.2.9')
    run('ip route add 10.244.3.0/24 via 192.0.2.9 metric 50; ip route add 10.244.1.9 via 192.0.2.9')
    run(foreign)
    await until('the finding', () => findings().length > 0)
    expect(findings()).toMatchObject([
      {
        message: expect.stringMatching(
          /^pods \S+2\S+ of node n2 cannot be reached: the route .* takes their/,
        ),
      },
    ])
    await until('the line in the log', () => output.includes('of another program takes their packets'))
    run(findings()[0]?.hint ?? '')
    await until('the end of it', () => findings().length === 0)
    expect(hasPeer(2)).toBe(true)
  })

  it('removes what it has made, and nothing of others, when it is switched off; and so does bowline uninstall', async () => {
    run('ip route add 10.9.0.0/16 via 192.0.2.2; ip route add 10.244.9.0/24 via 192.0.2.2 proto 80')
    start()
    await until('both peers', () => hasPeer(2) && hasPeer(3))
    expect(elements()).toContain('10.244.2.0/24')
    setConfig('{"backend":"none"}')
    await until('the end of it', () => overlay().trim() === '')
    expect(elements()).toContain('10.244.2.0/24')
    setConfig('{}')
    await until('both peers', () => hasPeer(2) && hasPeer(3))
    await end()
    run(`${BOWLINE} uninstall --bin-dir ${work}/bin --conf-dir ${work}/net.d`)
    expect([overlay().trim(), elements()]).toEqual(['', ''])
    expect(run('nft list ruleset')).not.toMatch(/vxlan|nodes4|strangers/)
    expect(run('ip route').split('\n')).toEqual(expect.arrayContaining(OTHERS))
    run('ip route del 10.9.0.0/16; ip route del 10.244.9.0/24')
  })
})
