import { beforeAll, describe, expect, it } from 'vitest'
import type { PluginCall } from '../../support/node/plugin.ts'
import { callFor, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { addressesOf, createOutside, type Netns, NOTHING, ping, residue } from '../../support/node/sandbox.ts'

/*
 * Subnets of one or two addresses have no network and no broadcast address: each can be a pod's (RFC 3021, RFC 6164).
 * In mode l3 the gateway is on the link, so it takes none of them.
 */
const pods = usePods('one', 'two', 'three')

beforeAll(() => void createOutside())

const L3 = { mode: 'l3', ipMasq: true }
const L2 = { mode: 'l2', bridge: 'br0', isDefaultGateway: true, ipMasq: true }

type Keys = Record<string, unknown>

function call(
  command: PluginCall['command'],
  pod: number,
  keys: Keys,
  ranges: object[],
  more: Partial<PluginCall> = {},
) {
  const routes = [{ dst: '0.0.0.0/0' }, { dst: '::/0' }]
  const config = {
    cniVersion: '1.1.0',
    name: 'tiny',
    type: 'bowline',
    ...keys,
    ipam: {
      type: 'bowline-ipam',
      ranges: ranges.map((range) => [range].flat()),
      routes,
      ...(keys['ipam'] as object),
    },
  }
  return callFor(pods[pod] as Netns, command, config, more)
}

async function added(pod: number, keys: Keys, ranges: object[]): Promise<string> {
  const { exitCode, output, stdout } = await call('ADD', pod, keys, ranges)
  expect(exitCode, stdout).toBe(0)
  const check = await call('CHECK', pod, { ...keys, prevResult: output }, ranges)
  expect(check.stdout).toBe('')
  return output.ips?.[0]?.address ?? ''
}

const hostPart = (cidr: string): string => cidr.replace(/\/.*/, '')

async function expectReach(from: Netns | undefined, ...targets: string[]): Promise<void> {
  for (const target of targets)
    expect([target, (await ping(target, from ? { from } : {})).answered]).toEqual([target, 1])
}

describe.each([
  ['10.77.0.4/31', ['10.77.0.4/31', '10.77.0.5/31'], '192.0.2.2'],
  ['fd77::4/127', ['fd77::4/127', 'fd77::5/127'], '2001:db8::2'],
])('a range of two, %s', (subnet, expected, world) => {
  it('gives two pods of mode l3 an address each, which reach each other, the node and the world', async () => {
    const given = [await added(0, L3, [{ subnet }]), await added(1, L3, [{ subnet }])]
    expect(given.toSorted()).toEqual(expected)
    const [one = '', two = ''] = given.map(hostPart)
    await expectReach(undefined, one, two)
    await expectReach(pods[0], two, world)
    await expectReach(pods[1], one, world)
    expect((await call('ADD', 2, L3, [{ subnet }])).output).toMatchObject({ code: 100 })
    expect((await call('STATUS', 2, L3, [{ subnet }])).output).toMatchObject({ code: 50 })
    await call('DEL', 0, L3, [{ subnet }])
    expect((await call('STATUS', 2, L3, [{ subnet }])).stdout).toBe('')
    expect(await added(2, L3, [{ subnet }])).toBe(given[0])
    for (const pod of [1, 2]) await call('DEL', pod, L3, [{ subnet }])
    expect(await residue()).toMatchObject({ links: [], leases: [], records: [], nftElements: [] })
  })

  it.each([0, 1])('gives one pod of mode l2 what address %i, the gateway, leaves', async (index) => {
    const gateway = hostPart(expected[index] ?? '')
    expect(await added(0, L2, [{ subnet, gateway }])).toBe(expected[1 - index])
    expect(await addressesOf('br0')).toEqual([expected[index]])
    await expectReach(pods[0], gateway, world)
    await expectReach(undefined, hostPart(expected[1 - index] ?? ''))
    expect((await call('ADD', 1, L2, [{ subnet, gateway }])).output).toMatchObject({ code: 100 })
  })

  it('has its gateway at the second address in mode l2, and alone', async () => {
    expect(await added(0, L2, [{ subnet }])).toBe(expected[0])
    expect(await addressesOf('br0')).toEqual([expected[1]])
    const { output } = await call('ADD', 1, { name: 'alone' }, [{ subnet }], { calledAs: 'bowline-ipam' })
    expect(output.ips).toEqual([{ address: expected[0], gateway: hostPart(expected[1] ?? '') }])
  })

  it('keeps the gateway that it names in mode l3', async () => {
    const gateway = hostPart(expected[0] ?? '')
    expect(await added(0, L3, [{ subnet, gateway }])).toBe(expected[1])
    await expectReach(pods[0], gateway, world)
    expect((await call('ADD', 1, L3, [{ subnet, gateway }])).output).toMatchObject({ code: 100 })
  })

  it('gives a requested address, the lowest too', async () => {
    for (const [pod, address = ''] of expected.entries()) {
      const keys = { ...L3, args: { cni: { ips: [hostPart(address)] } } }
      expect(await added(pod, keys, [{ subnet }])).toBe(address)
    }
  })
})

describe.each([
  ['10.77.0.7/32', '10.77.0.9/32', '192.0.2.2', '169.254.1.9'],
  ['fd77::7/128', 'fd77::9/128', '2001:db8::2', 'fe80::9'],
])('a range of one, %s', (subnet, second, world, linkLocal) => {
  it.each([{}, { gateway: linkLocal }])(
    'gives a pod of mode l3 an address that works (%j)',
    async (gateway) => {
      const ranges = [
        [
          { subnet, ...gateway },
          { subnet: second, ...gateway },
        ],
      ]
      expect([await added(0, L3, ranges), await added(1, L3, ranges)]).toEqual([subnet, second])
      await expectReach(undefined, hostPart(subnet))
      await expectReach(pods[0], hostPart(second), world)
      await expectReach(pods[1], hostPart(subnet), world)
      expect((await call('ADD', 2, L3, ranges)).output).toMatchObject({ code: 100 })
      await call('DEL', 0, L3, ranges)
      expect(await added(2, L3, ranges)).toBe(subnet)
      await expectReach(pods[2], hostPart(second), world)
    },
  )

  it('is refused in mode l2 by name, and leaves nothing', async () => {
    const { output } = await call('ADD', 0, L2, [{ subnet }])
    expect(output).toMatchObject({
      code: 7,
      msg: expect.stringContaining(`subnet": ${subnet} leaves no address for a gateway`),
    })
    expect((await call('STATUS', 0, L2, [{ subnet }])).output).toMatchObject({ code: 50 })
    const named = await call('ADD', 0, L2, [{ subnet, gateway: linkLocal }])
    expect(named.output).toMatchObject({
      code: 7,
      msg: expect.stringContaining(`${subnet} has no room for a gateway`),
    })
    expect(named.output.details).toContain('Set "mode" to "l3"')
    expect(await residue()).toEqual(NOTHING)
  })

  it('is an address without a gateway from the IPAM plugin alone', async () => {
    const { output } = await call('ADD', 0, {}, [{ subnet }], { calledAs: 'bowline-ipam' })
    expect(output.ips).toEqual([{ address: subnet }])
  })
})

it('a single address of mode l2 reaches a gateway outside of it, which another machine on the bridge has', async () => {
  const ranges = [{ subnet: '10.77.0.7/32', gateway: '198.51.100.1' }]
  expect(await added(0, { mode: 'l2', bridge: 'br0' }, ranges)).toBe('10.77.0.7/32')
  run(`ip link add r0 type veth peer name eth0 netns two; ip link set r0 master br0 up
    ip -n two address add 198.51.100.1/32 dev eth0; ip -n two link set eth0 up; ip -n two route add 10.77.0.7 dev eth0`)
  await expectReach(pods[0], '198.51.100.1')
})
