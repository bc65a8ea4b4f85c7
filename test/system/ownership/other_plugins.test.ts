import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { beforeEach, describe, expect, it } from 'vitest'
import { L2, L3 } from '../../fakes/node.ts'
import { type PluginAnswer, type PluginCall, runPlugin } from '../../support/node/plugin.ts'
import { expectSuccess, leftOver, linksIn, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { link, type Netns, NOTHING, removeNetns } from '../../support/node/sandbox.ts'

/*
 * Interfaces that other plugins made: of a node that was switched over, which go when they are shown to be meant, and
 * behind which this plugin stands, which never go.
 */
const LEASES = '/var/lib/cni/networks/net'
const NO_LINKS: readonly string[] = []

const [a, b] = usePods('a', 'b')
let config: object

function call(
  command: PluginCall['command'],
  containerId: string,
  netns: string,
  more: object = {},
): Promise<PluginAnswer> {
  return runPlugin({ command, config: { ...config, ...more }, containerId, netns })
}

describe('a pod of the reference plugin', () => {
  const REFERENCE = { interfaces: [{ name: 'eth0', mac: '02:00:00:00:00:05', sandbox: '/run/netns/a' }] }

  /** As bridge and host-local leave it, without a record. */
  function makePod(netns: Netns, address: string, owner: string, mac = '02:00:00:00:00:05'): void {
    mkdirSync(LEASES, { recursive: true })
    writeFileSync(`${LEASES}/${address}`, `${owner}\r\neth0`)
    run(`ip link add veth${owner} type veth peer name eth0 address ${mac} netns ${netns.name}
      ip -n ${netns.name} address add ${address}/24 dev eth0`)
  }

  beforeEach(() => {
    config = L2
  })

  it.each<[string, object, string]>([
    ['its lease', {}, ''],
    ['its lease of an old host-local', {}, `printf old >${LEASES}/10.1.0.5`],
    ['the MAC in prevResult', { prevResult: REFERENCE }, 'ip -n a address flush dev eth0'],
  ])('goes when %s shows that it is meant', async (_, more, inflict) => {
    makePod(a, '10.1.0.5', 'old')
    run(inflict)
    expectSuccess(await call('DEL', 'old', a.path, more))
    expect([linksIn(a), readdirSync(LEASES)]).toEqual([[], ['lock']])
  })

  const MAC = '02:00:00:00:00:05'
  const saying = (one: object) => ({ prevResult: { interfaces: [{ sandbox: '/run/netns/a', ...one }] } })

  it.each<[what: string, more: object, mac?: string, lease?: [string, string]]>([
    ['a lease of a pod with another address', {}],
    ['a lease of another interface', {}, MAC, ['10.1.0.5', 'old\r\neth1']],
    ['a prevResult with another MAC', { prevResult: REFERENCE }],
    ['a prevResult without a MAC', saying({ name: 'eth0' }), MAC],
    ['a prevResult with another interface', saying({ name: 'eth1', mac: MAC }), MAC],
    ['a prevResult that can not be read', { prevResult: { interfaces: [{ name: 7 }] } }, MAC],
    ['a prevResult of its own, where we give no addresses', { prevResult: REFERENCE, ipam: {} }, MAC],
    ['a prevResult of its own, without ipam', { prevResult: REFERENCE, ipam: undefined }, MAC],
  ])(
    'stays in spite of %s',
    async (_, more, mac = '02:00:00:00:00:06', [address, owner] = ['10.1.0.6', 'old\r\neth0']) => {
      makePod(a, '10.1.0.5', 'new', mac)
      writeFileSync(`${LEASES}/${address}`, owner)
      expectSuccess(await call('DEL', 'old', a.path, more))
      expect(linksIn(a)).toEqual(['eth0'])
      expect(readdirSync(LEASES)).toContain('10.1.0.5')
    },
  )

  it('stays after an ADD that is refused, and its DEL', async () => {
    makePod(a, '10.1.0.5', 'other')
    for (config of [L2, L3]) {
      expect((await call('ADD', 'old', a.path)).output.code).toBe(104)
      expectSuccess(await call('DEL', 'old', a.path))
      expect(linksIn(a)).toEqual(['eth0'])
    }
  })

  it('that has its address from bowline-ipam stays when another one is at its path, and goes when it is meant', async () => {
    const ipam = { calledAs: 'bowline-ipam', config: L2, containerId: 'old', netns: a.path }
    const { output } = await runPlugin({ command: 'ADD', ...ipam })
    makePod(b, '10.1.0.5', 'new')
    expectSuccess(await call('DEL', 'old', b.path, { prevResult: REFERENCE }))
    expect(linksIn(b)).toEqual(['eth0'])
    await runPlugin({ command: 'ADD', ...ipam })
    run(`ip link add vethold type veth peer name eth0 netns a
      ip -n a address add ${output.ips?.[0]?.address.replace('.2/', '.3/')} dev eth0`)
    expectSuccess(await call('DEL', 'old', a.path))
    expect(linksIn(a)).toEqual(NO_LINKS)
  })
})

describe('behind a plugin that made the interface', () => {
  const { ipam: _, ...bare } = L2
  const MAC = '02:00:00:00:00:05'

  const ROUTED = { ips: [{ address: '10.1.0.5/24', gateway: '10.1.0.1', interface: 1 }] }

  /** Makes `lan0` and eth0; `more` is what the result has beside them. */
  function connect(netns: Netns, more: object = {}, index = ''): object {
    run(`ip link add lan0 ${index} type veth peer name eth0 address ${MAC} netns ${netns.name}
      ip link set lan0 up`)
    const interfaces = [{ name: 'lan0' }, { name: 'eth0', mac: MAC, sandbox: netns.path }]
    return { prevResult: { cniVersion: '1.1.0', interfaces, ...more } }
  }

  beforeEach(() => {
    config = { ...bare, macspoofchk: true }
  })

  it('a repeated DEL takes nothing, also when a living pod has the name of the host end', async () => {
    const first = connect(a)
    expectSuccess(await call('ADD', 'aaaa', a.path, first))
    for (const _time of [1, 2, 3]) {
      expectSuccess(await call('DEL', 'aaaa', a.path, first))
      expect(linksIn(a)).toEqual(['eth0'])
    }
    removeNetns('a')
    await expectGone('lan0')
    const second = connect(b)
    const { output } = await call('ADD', 'bbbb', b.path, second)
    for (const path of [a.path, b.path]) expectSuccess(await call('DEL', 'aaaa', path, first))
    expect(linksIn(b)).toEqual(['eth0'])
    expectSuccess(await call('CHECK', 'bbbb', b.path, { prevResult: output }))
    run('ip link del lan0')
  })

  it.each([
    ['the name', ''],
    ['the name and the index', 'index $INDEX'],
  ])('a late DEL leaves alone the pod that has %s of the host end by then', async (_, index) => {
    // As ptp does: a host route over the link, which is turned to the bridge.
    const route = 'ip address add 10.1.0.1/32 dev lan0; ip route add 10.1.0.5 dev lan0'
    const first = connect(a, ROUTED)
    run(route)
    expectSuccess(await call('ADD', 'aaaa', a.path, first))
    const number = (await link('lan0'))?.ifindex
    removeNetns('a')
    await expectGone('lan0')
    const second = connect(b, ROUTED, index.replace('$INDEX', `${number}`))
    run(`ip route del 10.1.0.5; ${route}`)
    const { output, exitCode, stdout } = await call('ADD', 'bbbb', b.path, second)
    expect(exitCode, stdout).toBe(0)
    const turned = run('ip route show 10.1.0.5')
    expect(turned).toContain('dev br0')
    for (const path of [a.path, b.path]) expectSuccess(await call('DEL', 'aaaa', path, first))
    expectSuccess(await call('CHECK', 'bbbb', b.path, { prevResult: output }))
    expect(run('ip route show 10.1.0.5')).toBe(turned)
    run('ip link del lan0')
  })

  it('DEL takes away the route to a pod whose link is gone', async () => {
    const first = connect(a, ROUTED)
    run('ip address add 10.1.0.1/32 dev lan0; ip route add 10.1.0.5 dev lan0')
    expectSuccess(await call('ADD', 'aaaa', a.path, first))
    run('ip link del lan0')
    expectSuccess(await call('DEL', 'aaaa', a.path, first))
    expect(run('ip route show 10.1.0.5')).toBe('')
  })

  it('CHECK says that the host end was renamed, and DEL takes it off the bridge', async () => {
    const first = connect(a)
    const { output } = await call('ADD', 'aaaa', a.path, first)
    run('ip link set lan0 name lan9')
    const checked = await call('CHECK', 'aaaa', a.path, { prevResult: output })
    expect([checked.exitCode, checked.output.msg]).toEqual([
      1,
      expect.stringMatching(/lan0 was renamed to lan9/),
    ])
    expectSuccess(await call('DEL', 'aaaa', a.path, first))
    expect((await link('lan9'))?.master).toBeUndefined()
    run('ip link del lan9')
    expect(await leftOver()).toEqual(NOTHING)
  })

  async function expectGone(name: string): Promise<void> {
    run(`for i in $(seq 500); do ip link show dev ${name} 2>/dev/null || exit 0; sleep 0.01; done; exit 1`)
    expect(await link(name)).toBeUndefined()
  }
})
