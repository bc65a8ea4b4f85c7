import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import type { PluginAnswer, PluginCall } from '../../support/node/plugin.ts'
import { callFor, usePods } from '../../support/node/pods.ts'
import { addressesOf, NOTHING, ping, residue, runIn } from '../../support/node/sandbox.ts'

/*
 * A gateway or next hop that no host can have gives a pod without a way out. It is refused by name wherever it can stand,
 * and nothing stays.
 */
const V4 = { subnet: '10.77.0.0/24' }
const V6 = { subnet: 'fd77::/64' }
const MODES = [
  ['l2', { mode: 'l2', bridge: 'br0', isGateway: true }],
  ['l3', { mode: 'l3' }],
] as const
const PLUGINS = '/var/lib/plugins'

const [pod] = usePods('pod')
let previous: unknown

type Keys = Record<string, unknown>

function call(command: PluginCall['command'], keys: Keys, ipam: Keys, more: Partial<PluginCall> = {}) {
  const config = {
    cniVersion: '1.1.0',
    name: 'hops',
    type: 'bowline',
    ...keys,
    ipam: { type: 'bowline-ipam', ...ipam },
    ...(command === 'CHECK' && { prevResult: previous }),
  }
  return callFor(pod, command, config, more)
}

async function add(keys: Keys, ipam: Keys, more: Partial<PluginCall> = {}): Promise<PluginAnswer> {
  const answer = await call('ADD', keys, ipam, more)
  previous = answer.output
  return answer
}

async function expectRefused(answer: PluginAnswer, what: string, code = 7): Promise<void> {
  const { exitCode, output } = answer
  expect({ exitCode, ...output }).toMatchObject({ exitCode: 1, code, msg: expect.stringContaining(what) })
  expect(await residue()).toEqual(NOTHING)
}

/** As an IPAM plugin that is another program prints it. */
function delegate(result: Keys): Partial<PluginCall> {
  mkdirSync(PLUGINS, { recursive: true })
  const text = JSON.stringify({ cniVersion: '1.1.0', ...result })
  writeFileSync(`${PLUGINS}/other-ipam`, `#!/bin/sh\n[ "$CNI_COMMAND" != ADD ] || echo '${text}'\n`)
  chmodSync(`${PLUGINS}/other-ipam`, 0o755)
  return { cniPath: PLUGINS }
}

const BAD = [
  ['0.0.0.0', V4, 'is the unspecified address'],
  ['127.0.0.1', V4, 'is a loopback address'],
  ['224.0.0.1', V4, 'is a multicast address'],
  ['255.255.255.255', V4, 'is the broadcast address'],
  ['240.0.0.1', V4, 'is an address of the reserved block'],
  ['10.77.0.0', V4, 'is the network address of 10.77.0.0/24'],
  ['10.77.0.255', V4, 'is the broadcast address of 10.77.0.0/24'],
  ['::', V6, 'is the unspecified address'],
  ['::1', V6, 'is a loopback address'],
  ['ff02::1', V6, 'is a multicast address'],
  ['fd77::', V6, 'is the network address of fd77::/64'],
] as const

describe.each(MODES)('mode %s', (_, mode) => {
  it.each(BAD)('refuses %s as a gateway or next hop, in whatever key it stands', async (bad, range, why) => {
    const everywhere = bad.includes(':') ? '::/0' : '0.0.0.0/0'
    const gateway = { ...range, gateway: bad }
    const route = { dst: everywhere, gw: bad }
    const address = range.subnet.replace(/0\.0\/|:\//, (end) => (end === ':/' ? ':5/' : '0.5/'))
    const ofRange = `gateway": ${bad} ${why}`
    await expectRefused(await add(mode, { ranges: [[gateway]] }), `"ipam.ranges[0][0].${ofRange}`)
    await expectRefused(await add(mode, gateway), `"ipam.${ofRange}`)
    const ofRuntime = { ...mode, runtimeConfig: { ipRanges: [[gateway]] } }
    await expectRefused(await add(ofRuntime, {}), `"runtimeConfig.ipRanges[0][0].${ofRange}`)
    const routed = { ranges: [[range]], routes: [route] }
    await expectRefused(await add(mode, routed), `"ipam.routes[0].gw": ${bad} ${why}`)
    await expectRefused(await call('STATUS', mode, routed), `"ipam.routes[0].gw": ${bad} ${why}`, 50)
    const alone = { calledAs: 'bowline-ipam' }
    await expectRefused(await add(mode, { ranges: [[gateway]] }, alone), ofRange)
    await expectRefused(await add(mode, routed, alone), `"ipam.routes[0].gw": ${bad} ${why}`)
    const other = { type: 'other-ipam' }
    const ofDelegate = delegate({ ips: [{ address, gateway: bad }] })
    await expectRefused(
      await add(mode, other, ofDelegate),
      `plugin other-ipam: the gateway ${bad} of ${address} ${why}`,
    )
    const routesOfDelegate = delegate({ ips: [{ address }], routes: [route] })
    await expectRefused(
      await add(mode, other, routesOfDelegate),
      `the gateway ${bad} of ${everywhere} ${why}`,
    )
  })

  it.each(BAD)('gives %s to no pod', async (bad, range) => {
    const ranges = { ranges: [[range]] }
    await expectRefused(await add({ ...mode, args: { cni: { ips: [bad] } } }, ranges), `address ${bad}`)
    await expectRefused(await add({ ...mode, runtimeConfig: { ips: [bad] } }, ranges), `address ${bad}`)
    await expectRefused(await add(mode, ranges, { args: `IP=${bad}` }), `address ${bad}`)
  })

  it.each(BAD.filter(([bad]) => bad !== '240.0.0.1'))(
    'takes %s from no IPAM plugin',
    async (bad, range, why) => {
      const address = `${bad}/${range.subnet.split('/')[1]}`
      const answer = await add(mode, { type: 'other-ipam' }, delegate({ ips: [{ address }] }))
      await expectRefused(answer, `plugin other-ipam: the address ${address} ${why}`)
    },
  )

  it('refuses a gateway that is the address of the pod itself', async () => {
    const ips = [{ address: '10.77.0.5/24', gateway: '10.77.0.5' }]
    await expectRefused(
      await add(mode, { type: 'other-ipam' }, delegate({ ips })),
      "is the pod's own address",
    )
  })

  it.each([
    ['169.254.1.1', V4, '0.0.0.0/0'],
    ['::ffff:10.77.0.9', V4, '0.0.0.0/0'],
    ['fe80::99', V6, '::/0'],
  ])('takes the gateway %s', async (gateway, range, dst) => {
    const ipam = { ranges: [[{ ...range, gateway }]], routes: [{ dst }] }
    const answer = await add(mode, ipam)
    expect(answer).toMatchObject({ exitCode: 0 })
    const [address = ''] = answer.output.ips?.[0]?.address.split('/') ?? []
    const shown = gateway.replace('::ffff:', '')
    const target = gateway.startsWith('fe80') ? `${gateway}%eth0` : shown
    expect(await ping(target, { from: pod })).toMatchObject({ answered: 1 })
    expect(await ping(address)).toMatchObject({ answered: 1 })
    expect((await call('CHECK', mode, ipam)).stdout).toBe('')
    const family = gateway.startsWith('fe80') ? '-6' : '-4'
    const routes = JSON.parse(await runIn(pod, 'ip', family, '-j', 'route', 'show', 'default'))
    expect(routes).toMatchObject([{ gateway: shown, dev: 'eth0' }])
  })
})

it('a next hop that a range holds is given to no pod, and a pod that asks for it is refused', async () => {
  const [[, mode]] = MODES
  const ipam = { ranges: [[{ subnet: '10.77.0.0/29' }]], routes: [{ dst: '10.9.0.0/24', gw: '10.77.0.2' }] }
  expect((await add(mode, ipam)).output.ips).toMatchObject([{ address: '10.77.0.3/29' }])
  const asked = await call('ADD', mode, ipam, { args: 'IP=10.77.0.2', containerId: 'other', ifName: 'eth1' })
  expect(asked.output).toMatchObject({
    code: 7,
    msg: expect.stringContaining('the requested address 10.77.0.2 is'),
  })
})

it('a route of the node to the subnet of pods with a gateway outside it is missed by CHECK, which tells how to mend it', async () => {
  const [[, mode]] = MODES
  const ipam = { ranges: [[{ ...V4, gateway: '169.254.1.1' }]], routes: [{ dst: '0.0.0.0/0' }] }
  await add(mode, ipam)
  expect(await addressesOf('br0')).toEqual(['169.254.1.1/32'])
  await runIn(undefined, 'ip', 'route', 'del', '10.77.0.0/24', 'dev', 'br0')
  const { exitCode, output } = await call('CHECK', mode, ipam)
  expect([exitCode, output.msg]).toEqual([
    1,
    expect.stringContaining('route 10.77.0.0/24 is missing or wrong on br0'),
  ])
  const [, command = ''] = /\[run: ([^\]]+)\]/.exec(output.details ?? '') ?? []
  await runIn(undefined, 'sh', '-ec', command)
  expect((await call('CHECK', mode, ipam)).stdout).toBe('')
  expect(await ping('169.254.1.1', { from: pod })).toMatchObject({ answered: 1 })
})

describe('a route of a family that the pod has no address of', () => {
  const BOTH = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }, { dst: 'fd09::/64' }, { dst: '10.9.0.0/24' }]
  const FAMILIES = [
    ['4', V4, '10.77.0.5/24', ['0.0.0.0/0', '10.9.0.0/24'], '-6'],
    ['6', V6, 'fd77::5/64', ['::/0', 'fd09::/64'], '-4'],
  ] as const

  it.each(MODES.flatMap(([name, mode]) => FAMILIES.map((family) => [name, mode, ...family] as const)))(
    'is skipped, in mode %s with an address of IPv%#',
    async (_, mode, __, range, address, kept, other) => {
      for (const [ipam, more] of [
        [{ ranges: [[range]], routes: BOTH }, {}],
        [
          { type: 'other-ipam' },
          delegate({ ips: [{ address, gateway: address.replace(/5\/.*/, '1') }], routes: BOTH }),
        ],
      ] as const) {
        const { exitCode, output } = await add(mode, ipam, more)
        expect([exitCode, output.routes?.map(({ dst }) => dst)]).toEqual([0, kept])
        const shown = JSON.parse(await runIn(pod, 'ip', other, '-j', 'route', 'show', 'table', 'all'))
        expect(shown.filter(({ dst }: { dst: string }) => /default|^fd09|^10\.9/.test(dst))).toEqual([])
        expect((await call('CHECK', mode, ipam, more)).stdout).toBe('')
        expect((await call('DEL', mode, ipam, more)).exitCode).toBe(0)
      }
    },
  )

  it('is skipped by the IPAM plugin alone', async () => {
    const ipam = { ranges: [[V4]], routes: BOTH }
    const { output } = await add({}, ipam, { calledAs: 'bowline-ipam' })
    expect(output.routes).toEqual([{ dst: '0.0.0.0/0' }, { dst: '10.9.0.0/24' }])
  })

  it('is skipped beside the default route of isDefaultGateway', async () => {
    const mode = { ...MODES[0][1], isDefaultGateway: true }
    const { output } = await add(mode, { ranges: [[V4]], routes: [{ dst: '::/0' }] })
    expect(output.routes).toEqual([{ dst: '0.0.0.0/0', gw: '10.77.0.1' }])
  })
})

describe.each(MODES)('mode %s, before there is a pod', (name, mode) => {
  const everywhere = { ranges: [[V4]], routes: [{ dst: '10.9.0.0/24', gw: '10.1.2.3' }] }
  const IMPOSSIBLE: readonly (readonly [string, Keys, Keys, readonly string[]])[] = [
    ['a next hop that no pod can reach', {}, everywhere, ['"ipam.routes"', '10.1.2.3 of 10.9.0.0/24']],
    ['ranges without a plugin', {}, { ranges: [[V4]], type: undefined }, ['key "ipam.type" is missing']],
    ['a list of plugins', { type: undefined, plugins: [mode] }, { ranges: [[V4]] }, ['a list of plugins']],
    ['an MTU that is too small for IPv6', { mtu: 1000 }, { ranges: [[V6]] }, ['key "mtu": 1000']],
    [
      'a file of DNS settings that is missing',
      {},
      { ranges: [[V4]], resolvConf: '/nowhere' },
      ['"/nowhere"'],
    ],
    ...(name === 'l2'
      ? [['a bridge that is none', { bridge: 'lo' }, { ranges: [[V4]] }, ['key "bridge": "lo"']] as const]
      : []),
  ]

  it.each(IMPOSSIBLE)('STATUS refuses %s as ADD does', async (_, keys, ipam, words) => {
    for (const word of words) {
      await expectRefused(await add({ ...mode, ...keys }, ipam), word)
      await expectRefused(await call('STATUS', { ...mode, ...keys }, ipam), word, 50)
    }
  })
})

it('a next hop is reached by a route of the pod that stands behind it, and has no next hop itself', async () => {
  const routes = [
    { dst: '10.9.0.0/24', gw: '10.1.2.3' },
    { dst: '10.1.2.0/24', scope: 253 },
  ]
  expect(await add(MODES[0][1], { ranges: [[V4]], routes })).toMatchObject({ exitCode: 0 })
})
