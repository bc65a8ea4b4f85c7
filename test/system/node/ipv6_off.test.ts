import { beforeEach, describe, expect, it } from 'vitest'
import { callFor, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { clearNode, type Netns, NOTHING, ping, residue } from '../../support/node/sandbox.ts'
import { NO_IPV6_SYSCTLS, READ_ONLY_SYSCTLS } from '../../support/node/sysctl_mounts.ts'

/* Nodes and pods on which IPv6 is switched off, for new links or for all, and pods that get an address of it. */
const SIX = { subnet: 'fd00:1::/64' }
const L3 = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bowline',
  mode: 'l3',
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }], [SIX]], routes: [{ dst: '::/0' }] },
}
const ONLY_FOUR = { ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]] } }
const ONLY_SIX = { ipam: { type: 'bowline-ipam', ranges: [[SIX]] } }
const L2 = { ...L3, mode: 'l2', bridge: 'br0', isGateway: true, isDefaultGateway: true }
const CONFIGS: [string, object][] = [
  ['l3', L3],
  ['l3, IPv6 only', { ...L3, ...ONLY_SIX }],
  ['l2', L2],
  ['l2, IPv6 only', { ...L2, ...ONLY_SIX }],
]

const [podA, podB] = usePods('pod-a', 'pod-b')
beforeEach(() => {
  for (const key of ['all/disable_ipv6', 'default/disable_ipv6', 'all/forwarding'])
    run(`echo 0 >/proc/sys/net/ipv6/conf/${key}`)
})

async function added(pod: Netns, config: object): Promise<object> {
  const { exitCode, stdout, output } = await callFor(pod, 'ADD', config)
  expect(exitCode, stdout).toBe(0)
  return { ...config, prevResult: output }
}

const inPod = (command: string) => run(`ip netns exec pod-a sh -ec '${command}'`)

describe.each(CONFIGS)('a pod of mode %s', (_, config) => {
  it.each([
    ['default', 'echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'],
    ['all', 'echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6'],
  ])('reaches node and pods where IPv6 is off on the node (%s)', async (__, command) => {
    run(command)
    const first = await added(podA, config)
    await added(podB, config)
    expect(await ping('fd00:1::1', { from: podA })).toMatchObject({ answered: 1 })
    expect(await ping('fd00:1::3', { from: podA })).toMatchObject({ answered: 1 })
    expect(await callFor(podA, 'CHECK', first)).toMatchObject({ exitCode: 0, stdout: '' })
    // Only where we need it.
    expect(run('cat /proc/sys/net/ipv6/conf/default/disable_ipv6')).toBe('1')
  })

  it.each([
    ['all', 'for one in all default; do echo 1 >/proc/sys/net/ipv6/conf/$one/disable_ipv6; done'],
    ['lo', 'echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6'],
    ['lo, which is down', 'ip link set lo down; echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6'],
  ])('has ::1 where IPv6 was off in its namespace (%s)', async (__, command) => {
    inPod(command)
    const config1 = await added(podA, config)
    expect(await ping('::1', { from: podA })).toMatchObject({ answered: 1 })
    expect(await ping('fd00:1::1', { from: podA })).toMatchObject({ answered: 1 })
    inPod('echo 1 >/proc/sys/net/ipv6/conf/lo/disable_ipv6')
    const check = await callFor(podA, 'CHECK', config1)
    expect(check.output).toMatchObject({
      code: 102,
      msg: expect.stringContaining('IPv6 is switched off on lo in the pod'),
    })
    run(/\[run: ([^\]]*)\]/.exec(check.output.details ?? '')?.[1] ?? 'false')
    expect(await callFor(podA, 'CHECK', config1)).toMatchObject({ exitCode: 0, stdout: '' })
    expect(await ping('::1', { from: podA })).toMatchObject({ answered: 1 })
  })

  it('is refused where the kernel has no IPv6, and nothing is left', async () => {
    const wanted = {
      msg: expect.stringMatching(/has no IPv6/),
      details: expect.stringMatching(/ipv6\.disable=1/),
    }
    const answer = await callFor(podA, 'ADD', config, { inside: NO_IPV6_SYSCTLS })
    expect(answer.output).toMatchObject({ code: 7, ...wanted })
    expect(await residue()).toMatchObject({ ...NOTHING, nftTables: [] })
    const status = await callFor(podA, 'STATUS', config, { inside: NO_IPV6_SYSCTLS })
    expect(status.output).toMatchObject({ code: 50, ...wanted })
  })

  it('is refused, with the command that helps, where IPv6 is off and nothing can be written', async () => {
    run(`for one in 4/ip_forward 6/conf/all/forwarding 6/conf/default/disable_ipv6; do
      echo 1 >/proc/sys/net/ipv$one; done`)
    const details = expect.stringContaining('run on the node: sysctl -w net.ipv6.conf.default.disable_ipv6=0')
    const answer = await callFor(podA, 'ADD', config, { inside: READ_ONLY_SYSCTLS })
    expect(answer.output).toMatchObject({ code: 5, details })
    expect(await residue()).toEqual(NOTHING)
    const status = await callFor(podA, 'STATUS', config, { inside: READ_ONLY_SYSCTLS })
    expect(status.output).toMatchObject({ code: 50, details })
  })
})

it('a bridge that is made by the commands of CHECK has IPv6, where new links have none', async () => {
  run('echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6')
  const config = await added(podA, L2)
  run('ip link del br0')
  const { output } = await callFor(podA, 'CHECK', config)
  for (const [, command = ''] of (output.details ?? '').matchAll(/\[run: ([^\]]*)\]/g)) run(command)
  expect(await callFor(podA, 'CHECK', config)).toMatchObject({ exitCode: 0, stdout: '' })
  expect(await ping('fd00:1::1', { from: podA })).toMatchObject({ answered: 1 })
})

it.each([
  ['l3', L3],
  ['l2', L2],
])('a pod without IPv6 comes and goes where the kernel has none (%s)', async (_, config) => {
  const inside = NO_IPV6_SYSCTLS
  const four = { ...config, ...ONLY_FOUR }
  const { exitCode, output } = await callFor(podA, 'ADD', four, { inside })
  expect(exitCode).toBe(0)
  const withResult = { ...four, prevResult: output }
  expect(await callFor(podA, 'CHECK', withResult, { inside })).toMatchObject({ exitCode: 0, stdout: '' })
  expect(await callFor(podA, 'STATUS', four, { inside })).toMatchObject({ exitCode: 0, stdout: '' })
  expect(await callFor(podA, 'DEL', withResult, { inside })).toMatchObject({ exitCode: 0, stdout: '' })
})

it('a pod without IPv6 leaves it off, on the node and in itself', async () => {
  run('echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6')
  inPod('echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6')
  for (const [pod, config] of [
    [podA, L3],
    [podB, L2],
  ] as const) {
    await added(pod, { ...config, ...ONLY_FOUR })
    expect(await ping('10.1.0.1', { from: pod })).toMatchObject({ answered: 1 })
  }
  const values = 'grep -L 1 /proc/sys/net/ipv6/conf/*/disable_ipv6 || true'
  expect([run(values), inPod(values)]).toEqual(['', ''])
})

it('the bridge of somebody else has IPv6 off again when ADD fails', async () => {
  run('ip link add br0 type bridge; ip link set br0 up; echo 1 >/proc/sys/net/ipv6/conf/br0/disable_ipv6')
  const routes = [{ dst: '198.51.100.0/24', scope: 255 }]
  expect(await callFor(podA, 'ADD', { ...L2, ipam: { ...L2.ipam, routes } })).toMatchObject({ exitCode: 1 })
  expect(run('cat /proc/sys/net/ipv6/conf/br0/disable_ipv6; ip -6 address show dev br0')).toBe('1')
})

describe('where nothing below /proc/sys can be written', () => {
  beforeEach(() => {
    run('for one in 4/ip_forward 6/conf/all/forwarding; do echo 1 >/proc/sys/net/ipv$one; done')
  })

  it.each([
    ...CONFIGS,
    ['l3, IPv4 only, masqueraded', { ...L3, ...ONLY_FOUR, ipMasq: true }],
    ['l2, looking for duplicates', { ...L2, enabledad: true }],
  ])('pods come, are right and go on a node that forwards (%s)', async (_, config) => {
    const inside = READ_ONLY_SYSCTLS
    for (const pod of [podA, podB]) {
      const { exitCode, stdout, output } = await callFor(pod, 'ADD', config, { inside })
      expect(exitCode, stdout).toBe(0)
      const withResult = { ...config, prevResult: output }
      expect(await callFor(pod, 'CHECK', withResult, { inside })).toMatchObject({ exitCode: 0, stdout: '' })
    }
    expect(await callFor(podA, 'STATUS', config, { inside })).toMatchObject({ exitCode: 0, stdout: '' })
    for (const pod of [podA, podB])
      expect(await callFor(pod, 'DEL', config, { inside })).toMatchObject({ exitCode: 0 })
    expect((await residue()).leases).toEqual([])
  })

  it.each([
    [
      'a pod without IPv6 that could advertise itself',
      ONLY_FOUR,
      'net.ipv6.conf.default.accept_ra=0',
      'echo 0 >/proc/sys/net/ipv6/conf/all/forwarding',
    ],
    ['forwarding', {}, 'net.ipv4.ip_forward=1', 'echo 0 >/proc/sys/net/ipv4/ip_forward'],
    [
      'forwarding of IPv6',
      {},
      'net.ipv6.conf.all.forwarding=1',
      'echo 0 >/proc/sys/net/ipv6/conf/all/forwarding',
    ],
  ])('%s is refused, by ADD and STATUS, with the command that helps', async (_, more, setting, command) => {
    run(command)
    for (const config of [
      { ...L3, ...more },
      { ...L2, ...more },
    ]) {
      const details = expect.stringMatching(new RegExp(`sysctl -w ${setting}`))
      const add = await callFor(podA, 'ADD', config, { inside: READ_ONLY_SYSCTLS })
      expect(add.output).toMatchObject({ code: 5, details })
      expect(add.stdout).not.toMatch(/conf.(veth|br0)/)
      const status = await callFor(podA, 'STATUS', config, { inside: READ_ONLY_SYSCTLS })
      expect(status.output).toMatchObject({ code: 50, details })
      run(`sysctl -qw ${setting}`)
      expect(await callFor(podA, 'ADD', config, { inside: READ_ONLY_SYSCTLS })).toMatchObject({ exitCode: 0 })
      await callFor(podA, 'DEL', config)
      await clearNode()
      run(`echo 1 >/proc/sys/net/ipv6/conf/default/accept_ra; ${command}`)
    }
  })

  it('IPv6 that is off in the pod is named with the command for the pod', async () => {
    inPod('for one in lo default; do echo 1 >/proc/sys/net/ipv6/conf/$one/disable_ipv6; done')
    for (const config of [L3, L2]) {
      const { output } = await callFor(podA, 'ADD', config, { inside: READ_ONLY_SYSCTLS })
      expect(output).toMatchObject({
        code: 5,
        details: expect.stringContaining(
          "in the pod's network namespace: sysctl -w net.ipv6.conf.default.disable_ipv6=0",
        ),
      })
    }
  })
})
