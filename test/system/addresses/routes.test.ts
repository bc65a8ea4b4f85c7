import { afterEach, describe, expect, it } from 'vitest'
import { callFor, usePods } from '../../support/node/pods.ts'
import { NOTHING, residue, runIn } from '../../support/node/sandbox.ts'

/* What the routes of "ipam" say is what `ip route` shows in the pod: every number, both families, both modes. */
const FAMILIES = [
  {
    family: 4,
    subnet: '10.1.0.0/24',
    gateway: '10.1.0.1',
    second: '10.1.0.254',
    dst: '10.9.0.0/24',
    other: '10.8.0.0/24',
    all: '0.0.0.0/0',
  },
  {
    family: 6,
    subnet: 'fd00:1::/64',
    gateway: 'fd00:1::1',
    second: 'fd00:1::fe',
    dst: 'fd09::/64',
    other: 'fd08::/64',
    all: '::/0',
  },
] as const
const RANGES = FAMILIES.map(({ subnet }) => [{ subnet }])
const MODES = [
  ['l2', { mode: 'l2', bridge: 'br0', isGateway: true }],
  ['l3', { mode: 'l3' }],
] as const

const [pod] = usePods('pod')

afterEach(async () => {
  await call('DEL', { ...MODES[0][1] })
  expect((await residue()).leases).toEqual([])
})

describe.each(MODES)('mode %s', (_, mode) => {
  it.each(FAMILIES)(
    'applies every number of a route of IPv$family',
    async ({ family, gateway, dst, other }) => {
      const routes = [
        { dst, mtu: 1300, advmss: 1200, priority: 50 },
        { dst: other, table: 1000 },
      ]
      expect(await call('ADD', mode, routes)).toMatchObject({ exitCode: 0 })
      const shown = await routesOf(family)
      expect(shown).toContainEqual(
        expect.objectContaining({
          dst,
          gateway,
          dev: 'eth0',
          metric: 50,
          metrics: [expect.objectContaining({ mtu: 1300, advmss: 1200 })],
        }),
      )
      expect(shown).toContainEqual(expect.objectContaining({ dst: other, gateway, table: '1000' }))
      expect(await call('CHECK', mode, routes)).toMatchObject({ exitCode: 0 })
    },
  )

  it('applies the scope of a route of IPv4, which leads to the link then', async () => {
    expect(await call('ADD', mode, [{ dst: '10.9.0.0/24', scope: 253 }])).toMatchObject({ exitCode: 0 })
    const [route] = (await routesOf(4)).filter(({ dst }) => dst === '10.9.0.0/24')
    expect(route).toMatchObject({ dev: 'eth0', scope: 'link' })
    expect(route).not.toHaveProperty('gateway')
  })

  it('prints the routes in the result as they were given', async () => {
    const routes = [{ dst: '10.9.0.0/24', mtu: 1300, advmss: 1200, priority: 50, table: 1000, scope: 0 }]
    const { output } = await call('ADD', mode, routes)
    expect(output.routes).toEqual(routes)
  })
})

describe('two default routes', () => {
  it('by the gateways of two subnets stand side by side in mode l3', async () => {
    const ipam = { ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: '10.2.0.0/24' }]] }
    const routes = [{ dst: '0.0.0.0/0' }, { dst: '0.0.0.0/0', gw: '10.2.0.1' }]
    expect(await call('ADD', MODES[1][1], routes, ipam)).toMatchObject({ exitCode: 0 })
    const defaults = (await routesOf(4)).filter(({ dst }) => dst === 'default')
    expect(defaults.map(({ gateway }) => gateway)).toEqual(['10.1.0.1', '10.2.0.1'])
  })
})

describe('a gateway that the pod can not reach', () => {
  it.each(FAMILIES)('is an error of the configuration in mode l3 (IPv$family)', async ({ second, dst }) => {
    const { exitCode, output } = await call('ADD', MODES[1][1], [{ dst, gw: second }])
    expect({ exitCode, ...output }).toMatchObject({ exitCode: 1, code: 7 })
    expect(output.msg).toContain(`the gateway ${second} of ${dst} can't be reached`)
    expect(output.details).toContain('Leave "gw" out')
    expect(await residue()).toEqual(NOTHING)
  })

  it('is an error of the configuration in mode l2', async () => {
    const { output } = await call('ADD', MODES[0][1], [{ dst: '10.9.0.0/24', gw: '192.0.2.9' }])
    expect(output).toMatchObject({ code: 7 })
    expect(output.msg).toContain("the gateway 192.0.2.9 of 10.9.0.0/24 can't be reached")
    expect(output.details).toContain('Leave "gw" out')
    expect(await residue()).toEqual(NOTHING)
  })
})

type Shown = {
  readonly dst: string
  readonly gateway?: string
  readonly dev?: string
  readonly nexthops?: readonly { readonly gateway: string }[]
}

async function routesOf(family: 4 | 6): Promise<Shown[]> {
  return JSON.parse(await runIn(pod, 'ip', `-${family}`, '-j', '-d', 'route', 'show', 'table', 'all'))
}

let previous: unknown

async function call(
  command: 'ADD' | 'DEL' | 'CHECK',
  mode: object,
  routes: object[] = [],
  ipam: object = {},
) {
  const config = {
    cniVersion: '1.1.0',
    name: 'routes',
    type: 'bowline',
    ...mode,
    ipam: { type: 'bowline-ipam', ranges: RANGES, routes, ...ipam },
    ...(command === 'CHECK' && { prevResult: previous }),
  }
  const answer = await callFor(pod, command, config)
  if (command === 'ADD') previous = answer.output
  return answer
}
