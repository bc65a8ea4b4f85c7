import { execa } from 'execa'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { callFor, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { sendRouterAdvertisement } from '../../support/node/raw_frames.ts'
import { link, type Netns, NOTHING, ping, residue } from '../../support/node/sandbox.ts'

/* What the pods of a node have in common: the bridge with its gateway, and the node's own routes. */
const L2 = {
  cniVersion: '1.1.0',
  name: 'shared',
  type: 'bowline',
  bridge: 'br0',
  isGateway: true,
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.1.0.0/24' }]] },
}
/** Fails in the pod, long after its bridge is made: no route leads to that gateway. */
const FAILING = { ...L2, ipam: { ...L2.ipam, routes: [{ dst: '10.9.0.0/24', gw: '192.0.2.1' }] } }
const L3 = { cniVersion: '1.1.0', name: 'routed', type: 'bowline', mode: 'l3', ipam: L2.ipam }
const ROUNDS = 15

const [podA, podB] = usePods('pod-a', 'pod-b')

beforeEach(() => void run('sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0'))

describe('an ADD that fails', () => {
  it('takes its bridge with it, and turns forwarding off again', async () => {
    expect(await callFor(podA, 'ADD', FAILING)).toMatchObject({ exitCode: 1 })
    expect(await residue()).toEqual(NOTHING)
    expect(run('sysctl -n net.ipv4.ip_forward')).toBe('0')
  })

  it('leaves a bridge that was there as it was: down, with its address', async () => {
    run('ip link add br0 address 02:00:00:00:00:99 type bridge; ip addr add 192.168.7.1/24 brd + dev br0')
    const shown = 'ip -br link show br0; ip addr show br0 | grep inet'
    const before = run(shown)
    expect(await callFor(podA, 'ADD', { ...FAILING, forceAddress: true })).toMatchObject({ exitCode: 1 })
    expect(run(shown)).toBe(before)
  })

  it('never takes the bridge from a pod that comes at the same time', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const [bad, good] = await Promise.all([callFor(podA, 'ADD', FAILING), callFor(podB, 'ADD', L2)])
      expect([bad.exitCode, good.exitCode], `${good.stdout}`).toEqual([1, 0])
      expect((await ping('10.1.0.1', { from: podB })).answered, `round ${round}`).toBe(1)
      expect(await callFor(podB, 'CHECK', { ...L2, prevResult: good.output })).toMatchObject({ exitCode: 0 })
      await callFor(podB, 'DEL', L2)
      run('ip link delete br0')
    }
  })
})

describe('on a node whose uplink takes packets of 1400 bytes', () => {
  const mtuOf = async (name: string, netns?: Netns) => (await link(name, netns))?.mtu

  beforeEach(() => {
    run(`ip link add up0 mtu 1400 type veth peer name up1 mtu 1400
      ip link set up1 up; ip link set up0 up; ip addr add 192.168.9.2/24 dev up0
      ip route add default via 192.168.9.1`)
  })
  afterEach(() => run('ip link del up0'))

  it('a pod gets that MTU, also when the bridge has been empty', async () => {
    expect(await callFor(podA, 'ADD', L2)).toMatchObject({ exitCode: 0 })
    expect([await mtuOf('br0'), await mtuOf('eth0', podA)]).toEqual([1400, 1400])
    await callFor(podA, 'DEL', L2)
    expect(await mtuOf('br0')).toBe(1400)
    expect(await callFor(podB, 'ADD', L2)).toMatchObject({ exitCode: 0 })
    expect(await mtuOf('eth0', podB)).toBe(1400)
  })

  it('a pod gets that MTU on a bridge that somebody else made with 1500', async () => {
    run('ip link add br0 mtu 1500 type bridge')
    expect(await callFor(podA, 'ADD', L2)).toMatchObject({ exitCode: 0 })
    expect([await mtuOf('br0'), await mtuOf('eth0', podA)]).toEqual([1400, 1400])
  })
})

it('"promiscMode" holds beyond the end of a capture during which the pod came', async () => {
  run('ip link add br0 type bridge; ip link set br0 up')
  const flags = async () => (await link('br0'))?.flags ?? []
  const capture = execa('tcpdump', ['-i', 'br0', '-w', '/dev/null'], { reject: false, timeout: 30_000 })
  try {
    run(
      'for i in $(seq 100); do ip -d link show br0 | grep -q "promiscuity 1" && exit 0; sleep 0.1; done; exit 1',
    )
    expect(await flags()).not.toContain('PROMISC')
    expect(await callFor(podA, 'ADD', { ...L2, promiscMode: true })).toMatchObject({ exitCode: 0 })
  } finally {
    capture.kill('SIGTERM')
    await capture
  }
  expect(await flags()).toContain('PROMISC')
})

describe('a router advertisement', () => {
  it.each([
    ['l2', L2],
    ['l3', L3],
  ])('of a pod is not believed by the node (mode %s)', async (_, config) => {
    await callFor(podA, 'ADD', config)
    await sendRouterAdvertisement(podA, 'eth0')
    expect((await ping('10.1.0.1', { from: podA })).answered).toBe(1)
    expect(run('ip -6 route show default')).toBe('')
    await callFor(podA, 'DEL', config)
  })

  it.each([
    ['1', 'nobody has said anything about'],
    ['2', 'somebody told to believe it'],
  ])('of a pod is not believed on a bridge that was there (accept_ra %s, which %s)', async (value) => {
    run(`ip link add br0 type bridge; sysctl -qw net.ipv6.conf.br0.accept_ra=${value}; ip link set br0 up`)
    await callFor(podA, 'ADD', L2)
    await sendRouterAdvertisement(podA, 'eth0')
    expect((await ping('10.1.0.1', { from: podA })).answered).toBe(1)
    expect(run('ip -6 route show default')).toBe('')
    expect(run('sysctl -n net.ipv6.conf.br0.accept_ra')).toBe('0')
  })

  it('would be, on a link that is not ours: so the two tests before this one say something', async () => {
    run(
      'ip link add probe type veth peer name eth0 netns pod-a; ip link set probe up; ip -n pod-a link set eth0 up',
    )
    await sendRouterAdvertisement(podA, 'eth0')
    run(
      'for i in $(seq 50); do ip -6 route show default | grep -q fe80::bad && exit 0; sleep 0.1; done; exit 1',
    )
  })
})
