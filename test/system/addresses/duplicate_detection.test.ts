import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { callFor, usePods } from '../../support/node/pods.ts'
import { run } from '../../support/node/private_namespaces.ts'
import { link, NOTHING, ping, residue } from '../../support/node/sandbox.ts'

/* The key enabledad: IPv6 looks on the bridge whether another machine has the pod's address, and ADD waits for it. */
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'careful',
  type: 'bowline',
  bridge: 'br0',
  enabledad: true,
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: 'fd00:1::/64' }]] },
}
/** The first address that the pool gives. */
const FIRST = 'fd00:1::2'

/** The kernel says a moment later that a bridge is up, and has its own address only once no other machine has it. */
const untilReady = `for _ in $(seq 500); do
    ip -6 -br addr show br0 up scope link -tentative | grep -q 'UP.*fe80' && exit; sleep 0.02
  done; exit 1`

const [pod] = usePods('pod', 'machine')

beforeEach(() => {
  run(`ip link add br0 address 02:00:00:00:00:99 type bridge; ip link set br0 up
    ip link add port type veth peer name eth0 netns machine; ip link set port master br0 up
    ip -n machine link set eth0 up
    ${untilReady}`)
})

afterEach(async () => {
  await call('DEL')
  run('ip link delete port')
  expect(await residue()).toEqual({ ...NOTHING, links: ['br0'] })
})

describe('with enabledad', () => {
  it('the address is ready when ADD returns', async () => {
    expect(await call('ADD')).toMatchObject({ exitCode: 0 })
    const states = run('ip -n pod -6 addr show dev eth0')
    expect(states).toContain(`inet6 ${FIRST}/64`)
    expect(states).not.toMatch(/tentative|dadfailed/)
    const settings = 'net.ipv6.conf.eth0.accept_dad net.ipv6.conf.eth0.enhanced_dad'
    expect(run(`ip netns exec pod sysctl -n ${settings}`)).toBe('1\n1')
  })

  it('ADD fails and leaves nothing when a machine on the bridge has the address', async () => {
    run('ip -n machine addr add fd00:1::2/64 dev eth0 nodad')
    const before = [await residue(), run('ip -br addr show br0')]
    const { exitCode, output } = await call('ADD')
    expect({ exitCode, ...output }).toMatchObject({ exitCode: 1, code: 101 })
    expect(output.msg).toContain(`${FIRST} is in use`)
    expect([await residue(), run('ip -br addr show br0')]).toEqual(before)
    expect(await link('eth0', pod)).toBeUndefined()
    // Nothing has happened to the one who had it first.
    expect(run('ip -n machine -6 addr')).not.toContain('dadfailed')
  })

  it('the next ADD gets another address', async () => {
    run('ip -n machine addr add fd00:1::2/64 dev eth0 nodad')
    await call('ADD')
    const { output } = await call('ADD')
    expect(output.ips?.map(({ address }) => address)).toEqual(['fd00:1::3/64'])
    expect((await ping(FIRST, { from: pod })).answered).toBe(1)
  })

  it('ADD gives up on a detection without an end, and leaves nothing', async () => {
    run('ip netns exec pod sysctl -qw net.ipv6.conf.default.dad_transmits=1000')
    const before = await residue()
    const { output } = await call('ADD')
    expect(output).toMatchObject({ code: 11 })
    expect(output.msg).toContain(FIRST)
    expect(await residue()).toEqual(before)
  })
})

function call(command: 'ADD' | 'DEL') {
  return callFor(pod, command, CONFIG)
}
