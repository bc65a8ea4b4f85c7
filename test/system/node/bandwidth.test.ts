import { describe, expect, it } from 'vitest'
import {
  attach,
  call,
  check,
  expectGatewaysToAnswer,
  expectMended,
  MODES,
  useCheckedPod,
} from '../../support/node/checked_pod.ts'
import { bowline, CONF_DIR, writeNetworks } from '../../support/node/people.ts'
import { type PluginOutput, runPlugin } from '../../support/node/plugin.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { residue } from '../../support/node/sandbox.ts'
import { measureTransfer } from '../../support/node/transfer.ts'

/*
 * Bandwidth limits, as `tc` shows them and as traffic meets them. What containerd sends as burst, 2^32 - 1 bits, would let
 * half a gigabyte pass before there is any limit.
 */
const NO_BURST = 2 ** 32 - 1
const RATE = 8e6
const ASKED = { IngressRate: RATE, IngressBurst: NO_BURST, EgressRate: RATE, EgressBurst: NO_BURST }
const BOTH = { runtimeConfig: { bandwidth: ASKED } }
const GATEWAY = '10.1.0.1'
const POD = '10.1.0.2'
const pod = useCheckedPod()

describe.each(['l2', 'l3'] as const)('a pod in mode %s with a limit', (mode) => {
  it.each(['tcp', 'udp'] as const)(
    'receives and sends by %s as much as it may, and no more',
    async (protocol) => {
      await attach(pod, mode, BOTH)
      const how = { protocol, ms: 2000, offered: 3 * RATE }
      const received = await measureTransfer({ ...how, from: undefined, to: pod.netns, address: POD })
      const sent = await measureTransfer({ ...how, from: pod.netns, to: undefined, address: GATEWAY })
      // A measurement on a busy machine: the exact one is in scripts/bench.
      for (const bits of [received, sent]) {
        expect(bits).toBeGreaterThan(0.5 * RATE)
        expect(bits).toBeLessThan(1.3 * RATE)
      }
    },
  )

  it.each([
    [
      'its limit',
      'tc qdisc del dev $HOST root',
      /the limit of 8000000 bit\/s on what veth\w+ on the host sends is missing/,
    ],
    [
      'the rate of its limit',
      'tc qdisc change dev $HOST root handle 1: tbf rate 9mbit burst 16000 limit 40000',
      /the limit of 8000000 bit\/s on what veth\w+ on the host sends is wrong/,
    ],
    [
      'the way of what it sends',
      'tc filter del dev $HOST ingress',
      /the filter for ingress packets of veth\w+ on the host is missing/,
    ],
    [
      'the place of its filters',
      'tc qdisc del dev $HOST clsact',
      /the place of filters \(clsact\) of veth\w+ on the host is missing/,
    ],
    [
      'the limit of what it sends',
      'tc qdisc del dev $IFB root',
      /the limit of 8000000 bit\/s on what bwe\w+ on the host sends is missing/,
    ],
    ['the link that limits what it sends', 'ip link del $IFB', /link bwe\w+ is missing/],
    ['that link, which is down', 'ip link set $IFB down', /bwe\w+ on the host is down/],
  ])(
    'is told by CHECK when somebody has taken %s, and has it again by the command',
    async (_, damage, said) => {
      await attach(pod, mode, BOTH)
      expect(await check(pod, mode)).toEqual({})
      run(damage.replace('$HOST', pod.host).replace('$IFB', ifbOf(pod.result)))
      const answer = await check(pod, mode)
      expect(answer.details).toMatch(said)
      await expectMended(pod, answer, mode)
      await expectGatewaysToAnswer(pod)
    },
  )
})

describe('the limits of a pod', () => {
  it('are a token bucket at its host end, and one on a link of its own for what it sends', async () => {
    await attach(pod, 'l3', BOTH)
    const ifb = ifbOf(pod.result)
    expect(ifb).toMatch(/^bwe[0-9a-f]{12}$/)
    expect(run(`ip -o link show ${ifb}`)).toContain('alias bowline net pod-a eth0')
    for (const link of [pod.host, ifb])
      expect(run(`tc qdisc show dev ${link} root`)).toMatch(/rate 8Mbit burst 141[34]\db/)
    expect(run(`tc filter show dev ${pod.host} ingress`)).toContain(`(Egress Redirect to device ${ifb})`)
  })

  it('are those of the config, where it names any, and are as wide as it says', async () => {
    await attach(pod, 'l2', { ...BOTH, ingressRate: 16e6, ingressBurst: 800_000 })
    expect(run(`tc qdisc show dev ${pod.host} root`)).toMatch(/rate 16Mbit burst (100000|999\d\d)b/)
    expect(run('tc qdisc show')).not.toContain('clsact')
    expect((await residue()).links).not.toContainEqual(expect.stringContaining('bw'))
  })

  it('hold only for the traffic with shapedSubnets', async () => {
    await attach(pod, 'l3', { ...BOTH, shapedSubnets: ['10.1.0.0/28', 'fd00:1::/64'] })
    expect(await limitedBytes(['10.1.0.1', 'fd00:1::1'])).toEqual([true, true])
    run('ip addr replace 10.77.0.1/32 dev lo')
    expect(await limitedBytes(['10.77.0.1'])).toEqual([false, false])
    await expectCheckToPass()
  })

  it('hold for all but the traffic with unshapedSubnets', async () => {
    await attach(pod, 'l3', { ...BOTH, unshapedSubnets: ['10.77.0.0/16', 'fd77::/64'] })
    run('ip addr replace 10.77.0.1/32 dev lo; ip -6 addr replace fd77::1/128 dev lo')
    expect(await limitedBytes(['10.77.0.1', 'fd77::1'])).toEqual([false, false])
    expect(await limitedBytes(['10.1.0.1', 'fd00:1::1'])).toEqual([true, true])
    await expectCheckToPass()
  })

  it('come back by `bowline repair`, though nobody says again what they were', async () => {
    writeNetworks({ '10.conflist': { cniVersion: '1.1.0', name: 'net', plugins: [MODES.l3] } })
    await attach(pod, 'l3', BOTH)
    run(`tc qdisc del dev ${pod.host} root; ip link del ${ifbOf(pod.result)}`)
    expect(await bowline('repair', '--conf-dir', CONF_DIR, '--yes')).toMatchObject({ exitCode: 0 })
    expect(await check(pod, 'l3')).toEqual({})
    expect(run(`ip -o link show ${ifbOf(pod.result)}`)).toContain('alias bowline net pod-a eth0')
  })

  it.each([
    ['', 'true'],
    [', whose namespace is gone', 'ip netns del pod-a'],
    [', whose record is lost', 'rm /var/lib/cni/bowline/net/????????????????????????????????'],
    [', whose link has lost its alias', 'ip link set $IFB alias ""'],
  ])('go with the pod%s', async (_, damage) => {
    await attach(pod, 'l3', BOTH)
    run(damage.replace('$IFB', ifbOf(pod.result)))
    expect(await call('DEL', 'l3', pod)).toMatchObject({ exitCode: 0 })
    expect((await residue()).links).toEqual([])
  })

  it('are found by GC when nothing else of the pod is left, and those of other networks stay', async () => {
    await attach(pod, 'l3', BOTH)
    const ifb = ifbOf(pod.result)
    run(`rm -r /var/lib/cni/bowline/net; ip link del ${pod.host}`)
    run('ip link add bwe000000000000 type ifb; ip link set bwe000000000000 alias "bowline other pod-a eth0"')
    const gc = await call('GC', 'l3', pod, { 'cni.dev/valid-attachments': [] })
    expect(gc).toMatchObject({ exitCode: 0 })
    expect((await residue()).links).toEqual(['bwe000000000000'])
    run('ip link del bwe000000000000')
    expect(run('ip link')).not.toContain(ifb)
  })

  it('are on the link of another plugin in mode chained, and taken off it by DEL, which leaves the link', async () => {
    run(
      'ip link add veth0 type veth peer name eth0 netns pod-a; ip link set veth0 up; ip addr add 10.1.0.1/24 dev veth0; ip -n pod-a addr add 10.1.0.2/24 dev eth0; ip -n pod-a link set eth0 up',
    )
    const sandbox = pod.netns.path
    const prevResult = {
      cniVersion: '1.1.0',
      interfaces: [{ name: 'veth0' }, { name: 'eth0', sandbox }],
      ips: [{ address: '10.1.0.2/24', interface: 1 }],
    }
    const config = { cniVersion: '1.1.0', name: 'net', type: 'bowline', mode: 'chained', ...BOTH }
    const on = { containerId: 'pod-a', netns: sandbox }
    const added = await runPlugin({ command: 'ADD', config: { ...config, prevResult }, ...on })
    expect(added.exitCode, added.stdout).toBe(0)
    expect(ifbOf(added.output)).toMatch(/^bwe/)
    const sent = await measureTransfer({
      protocol: 'tcp',
      ms: 1000,
      offered: 0,
      from: pod.netns,
      to: undefined,
      address: GATEWAY,
    })
    expect(sent).toBeLessThan(1.3 * RATE)
    const check = await runPlugin({
      command: 'CHECK',
      config: { ...config, prevResult: added.output },
      ...on,
    })
    expect(check.exitCode, check.stdout).toBe(0)
    const deleted = await runPlugin({
      command: 'DEL',
      config: { ...config, prevResult: added.output },
      ...on,
    })
    expect(deleted.exitCode, deleted.stdout).toBe(0)
    expect(run('tc qdisc show dev veth0')).toMatch(/^qdisc noqueue 0: root refcnt 2 *$/)
    // What somebody has there is named, and stays as it is.
    run('tc qdisc add dev veth0 clsact')
    const before = run('tc qdisc show dev veth0')
    const refused = await runPlugin({ command: 'ADD', config: { ...config, prevResult }, ...on })
    expect(refused.output.details).toMatch(/clsact .*EEXIST.* Look at "tc qdisc show dev veth0"/)
    expect(run('tc qdisc show dev veth0')).toBe(before)
    // Also by the DEL of an ADD that was killed before it had made anything: its record is all there is.
    run('tc qdisc del dev veth0 clsact')
    expect((await runPlugin({ command: 'ADD', config: { ...config, prevResult }, ...on })).exitCode).toBe(0)
    run(
      `for link in $(ls /sys/class/net | grep ^bwe); do ip link del $link; done; tc qdisc del dev veth0 clsact; tc qdisc replace dev veth0 root tbf rate 5mbit burst 9k limit 9k; tc qdisc add dev veth0 clsact`,
    )
    const others = run('tc qdisc show dev veth0')
    expect((await runPlugin({ command: 'DEL', config, ...on })).exitCode).toBe(0)
    expect(run('tc qdisc show dev veth0')).toBe(others)
    expect((await residue()).links).toEqual(['veth0'])
    run('ip link del veth0')
  })

  it('leave nothing behind when they can not be made', async () => {
    await call('DEL', 'l3', pod)
    run('ip link add taken type ifb')
    const first = await call('ADD', 'l3', pod, { ...BOTH, egressRate: 1, egressBurst: 8 })
    const name = ifbOf(first.output)
    await call('DEL', 'l3', pod)
    run(`ip link set taken name ${name}; ip link set ${name} alias "bowline other"`)
    const refused = await call('ADD', 'l3', pod, BOTH)
    expect(refused.output.msg).toContain('limit the bandwidth of the pod')
    expect(refused.output.details).toMatch(/create ifb link bwe\w+: EEXIST/)
    expect((await residue()).links).toEqual([name])
    run(`ip link del ${name}`)
  })
})

function ifbOf({ interfaces = [] }: PluginOutput): string {
  return interfaces.find(({ name }) => name.startsWith('bwe'))?.name ?? 'none'
}

async function expectCheckToPass(): Promise<void> {
  expect(await check(pod, 'l3')).toEqual({})
}

/** Returns whether packets to these addresses, and their answers, pass the limits of what the pod sends and receives. */
async function limitedBytes(addresses: readonly string[]): Promise<boolean[]> {
  const ifbs = (pod.result.interfaces ?? []).map(({ name }) => name).filter((name) => /^bw[ie]/.test(name))
  const sent = () =>
    ifbs.toSorted().map((name) => Number(/Sent (\d+)/.exec(run(`tc -s qdisc show dev ${name}`))?.[1]))
  const before = sent()
  for (const address of addresses) run(`ip netns exec pod-a ping -n -c 1 -W 2 ${address}`)
  const size = addresses.length * 84
  return sent().map((bytes, i) => bytes - (before[i] ?? 0) >= size)
}
