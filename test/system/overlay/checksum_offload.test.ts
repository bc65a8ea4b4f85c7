import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { run } from '../../support/node/private_namespaces.ts'
import { enterSandbox } from '../../support/node/sandbox.ts'
import { type MeshOfAgents, startMeshOfAgents } from '../../support/overlay/agents.ts'
import { insertUplinkDevice, type UplinkDevice } from '../../support/overlay/uplink_device.ts'
import { until } from '../../support/until.ts'

/*
 * Node 1 sends through a device that, when it is broken, does nothing about the checksums within VXLAN: packets that leave them to the device
 * arrive corrupted. The agents are those that were built, and judge by what they measure.
 */
let mesh: MeshOfAgents
let device: UplinkDevice
let server: ReturnType<typeof Bun.spawn>

beforeAll(async () => {
  enterSandbox()
  mesh = startMeshOfAgents()
  device = await insertUplinkDevice(1)
  server = Bun.spawn('ip netns exec p2 python3 -m http.server --bind 10.244.2.2 80'.split(' '), {
    stdout: 'ignore',
    stderr: 'ignore',
  })
  await until('a sound mesh', () => [1, 2, 3].every(isSound))
  await until('a response', () => fetched() === '200')
})
afterAll(async () => {
  server?.kill()
  device?.end()
  await mesh?.end()
})

const isSound = (n: number): boolean => {
  const { rows = [], findings } = mesh.view(n)
  return rows.flat().filter((cell) => cell >> 13 === 1).length === 24 && findings.length === 0
}
/** Node 1 and the others reach each other by way of their pods. */
const areReached = (): boolean =>
  [2, 3].every((n) =>
    ([4, 6] as const).every(
      (family) =>
        mesh.way(1, n, 'pods', family)?.state === 'ok' && mesh.way(n, 1, 'pods', family)?.state === 'ok',
    ),
  )
const offload = (n = 1): string =>
  run(`ip netns exec n${n} ethtool -k bowline-vxlan | sed -n 's/.*tx-checksum-ip-generic: //p'`)
const turn = (state: 'on' | 'off') =>
  run(`ip netns exec n1 ethtool -K bowline-vxlan tx-checksum-ip-generic ${state} >/dev/null`)
/** A request by TCP from a pod of node 1 to one of node 2. */
const fetched = (): string =>
  run(`ip netns exec p1 curl -s -m 1 -o /dev/null -w '%{http_code}' http://10.244.2.2/ || true`)
const pinged = (): boolean =>
  run('ip netns exec p1 ping -c 1 -W 1 10.244.2.2 >/dev/null && echo yes || true') === 'yes'
const findings = (n: number) => mesh.view(n).findings
const warning = () => findings(1).find(({ check }) => check === 'overlay')?.message
const metric = () =>
  run(
    `${mesh.on(1).join(' ')} curl -s 127.0.0.1:19474/metrics | grep ^bowline_agent_overlay_checksum_offload`,
  )
const sent = () => Number(run(`ip -n n1 -s -j link show bowline-vxlan | jq '.[0].stats64.tx.packets'`))

describe('the checksum offload of the VXLAN link', () => {
  it('is never touched on a path that carries it', async () => {
    const before = sent()
    const monitor = Bun.spawn('ip -n n1 monitor link dev bowline-vxlan'.split(' '), { stdout: 'pipe' })
    await until('probes', () => sent() > before + 40)
    monitor.kill()
    expect(await new Response(monitor.stdout).text()).toBe('')
    expect([offload(), fetched()]).toEqual(['on', '200'])
    expect(metric()).toMatch(/\{link="bowline-vxlan"\} 1$/)
  })

  it('stays on where the key says so, and what is wrong is named', async () => {
    mesh.configure({ checksumOffload: 'on' })
    device.become('broken')
    await until('the finding', () =>
      findings(1).some(({ message }) => message.includes('left to the device')),
    )
    expect([pinged(), fetched(), offload()]).toEqual([true, '000', 'on'])
    expect(mesh.bowline(1, 'doctor')).toMatch(
      /✗ mesh: pods of node node[23] are not reached by TCP and UDP, though by ping.*\n.*"checksumOffload"/,
    )
    expect(run('ip netns exec n2 nstat -asz UdpInCsumErrors | tail -1')).not.toMatch(/ 0 /)
  })

  it('is turned off by auto, and by no other node: TCP between pods works', async () => {
    mesh.configure({})
    await until('the offload turned off', () => offload() === 'off')
    await until('a response', () => fetched() === '200')
    await until('all ways', areReached)
    expect([2, 3].map(offload)).toEqual(['on', 'on'])
    expect(findings(1)).toContainEqual({
      level: 'warning',
      check: 'overlay',
      message: expect.stringContaining('the checksum offload of the VXLAN link is off since'),
      hint: expect.stringContaining('"checksumOffload"'),
    })
    expect(mesh.nodes[0]?.log()).toContain('the checksum offload of the VXLAN link is off since')
    expect(metric()).toMatch(/\{link="bowline-vxlan"\} 0$/)
  })

  it('is off again when somebody has turned it on', async () => {
    turn('on')
    await until('the repair', () => offload() === 'off')
    expect(fetched()).toBe('200')
  })

  it('stays off when the agent starts anew', async () => {
    const before = warning()
    await mesh.nodes[0]?.restart(() => turn('on'))
    await until('the repair', () => offload() === 'off')
    await until('the finding of before', () => warning() === before)
  })

  it('is off from the start where the key says so, and on when it says that', async () => {
    mesh.configure({ checksumOffload: 'off' })
    run('ip -n n2 link del bowline-vxlan')
    await until(
      'the link',
      () => run('ip -n n2 link show bowline-vxlan 2>/dev/null || true') !== '' && offload(2) === 'off',
    )
    await until('no warning', () => warning() === undefined)
    device.become('sound')
    mesh.configure({ checksumOffload: 'on' })
    await until('the offload', () => [1, 2, 3].every((n) => offload(n) === 'on'))
    mesh.configure({})
    await until('a sound mesh', () => [1, 2, 3].every(isSound))
    expect(offload()).toBe('on')
  })

  it('is turned off where the node translates its own tunnel: the kernel then leaves the outer checksum as it was', async () => {
    // Connections that have begun are not translated: so by a port that has none.
    run(`ip netns exec n1 nft 'table ip again { chain post { type nat hook postrouting priority 110
      udp dport 4790 masquerade to :20000-30000 fully-random; }; }'`)
    mesh.configure({ port: 4790 })
    await until('the offload turned off', () => offload() === 'off')
    await until('all ways', areReached)
    expect(fetched()).toBe('200')
  })
})
