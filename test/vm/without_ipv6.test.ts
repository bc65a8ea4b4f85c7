import { beforeAll, describe, expect, it } from 'vitest'
import { NOTHING } from '../support/node/sandbox.ts'
import { useVms, type Vm } from '../support/vm/machine.ts'
import { callPluginIn, residueIn, runPluginIn } from '../support/vm/node.ts'

/* A kernel that was booted with ipv6.disable=1: pods without IPv6 come and go, and others are refused by name. */
const vms = useVms()
let vm: Vm

beforeAll(async () => {
  vm = await vms.boot({ parameters: ['ipv6.disable=1'] })
  await vm.sh('ip netns add a')
})

const FOUR = { type: 'bowline-ipam', ranges: [[{ subnet: '10.7.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] }
const BOTH = { ...FOUR, ranges: [...FOUR.ranges, [{ subnet: 'fd00:7::/64' }]] }
const NETWORK = { cniVersion: '1.1.0', name: 'plain', type: 'bowline' }

describe.each([
  { config: { ...NETWORK, mode: 'l3' }, bridges: [] },
  { config: { ...NETWORK, mode: 'l2', isGateway: true }, bridges: ['cni0'] },
  { config: { ...NETWORK, mode: 'l2' }, bridges: ['cni0'] },
])('in $config', ({ config, bridges }) => {
  const pod = { containerId: 'a', netns: '/run/netns/a' }

  it('a pod with an IPv6 address is refused, says why, and the node is as it was', async () => {
    await vm.sh('ip link delete cni0 2>/dev/null || true')
    const { output } = await runPluginIn(vm, { ...pod, command: 'ADD', config: { ...config, ipam: BOTH } })
    expect(output).toMatchObject({
      code: 7,
      msg: expect.stringContaining('the kernel of this node has no IPv6'),
      details: expect.stringContaining('ipv6.disable=1'),
    })
    expect(await residueIn(vm)).toEqual(NOTHING)
  })

  it('a pod without one comes, passes CHECK and goes', async () => {
    const four = { ...config, ipam: FOUR }
    await callPluginIn(vm, { command: 'STATUS', config: four })
    const prevResult = await callPluginIn(vm, { ...pod, command: 'ADD', config: four })
    await callPluginIn(vm, { ...pod, command: 'CHECK', config: { ...four, prevResult } })
    await callPluginIn(vm, { ...pod, command: 'DEL', config: four })
    expect(await residueIn(vm)).toEqual({ ...NOTHING, links: bridges })
  })
})
