import { beforeAll, describe, expect, it } from 'vitest'
import { NOTHING } from '../support/node/sandbox.ts'
import { useVms, type Vm } from '../support/vm/machine.ts'
import { callPluginIn, residueIn, runPluginIn } from '../support/vm/node.ts'

/*
 * A kernel that has no nftables holds no rule of ours: pods that need none come and go, and ADD refuses those that do. Some
 * kernels lack all of netfilter, others its nftables only: the answers of the two differ.
 */
const vms = useVms()
let vm: Vm

beforeAll(async () => {
  vm = await vms.boot()
  await vm.sh(
    'cd /lib/modules/*/kernel/net/netfilter; mkdir /run/modules; mv nfnetlink.ko* nf_tables.ko* /run/modules',
  )
})

const IPAM = {
  type: 'bowline-ipam',
  ranges: [[{ subnet: '10.7.0.0/24' }]],
  routes: [{ dst: '0.0.0.0/0' }],
}
const NETWORK = { cniVersion: '1.1.0', name: 'plain', type: 'bowline', ipam: IPAM }
const MODES = [
  { config: { ...NETWORK, mode: 'l3' }, bridges: [] },
  { config: { ...NETWORK, mode: 'l2', isGateway: true }, bridges: ['cni0'] },
]

// In this order: what is loaded stays.
describe.each([
  { lack: 'netfilter', prepare: 'true' },
  { lack: 'nftables', prepare: 'mv /run/modules/nfnetlink.ko* /lib/modules/*/kernel/net/netfilter' },
])('a kernel without $lack', ({ prepare }) => {
  beforeAll(async () => {
    await vm.sh(prepare)
    expect((await vm.run('nft list ruleset')).exitCode).not.toBe(0)
  })

  describe.each(MODES)('in mode $config.mode', ({ config, bridges }) => {
    const pod = { config, containerId: 'a', netns: '/run/netns/a' }

    it('has pods that come, pass CHECK and go, and a DEL may come again', async () => {
      await vm.sh('ip netns add a')
      await callPluginIn(vm, { command: 'STATUS', config })
      const prevResult = await callPluginIn(vm, { ...pod, command: 'ADD' })
      await vm.sh('ip netns exec a ping -n -c 1 -w 20 10.7.0.1')
      await callPluginIn(vm, { ...pod, command: 'CHECK', config: { ...config, prevResult } })
      await callPluginIn(vm, { ...pod, command: 'DEL' })
      await vm.sh('ip netns delete a')
      await callPluginIn(vm, { ...pod, command: 'DEL', netns: '' })
      await callPluginIn(vm, { command: 'GC', config: { ...config, 'cni.dev/valid-attachments': [] } })
      expect(await residueIn(vm, { nftables: false })).toEqual({ ...NOTHING, links: bridges })
    })

    it('refuses ipMasq, says what it lacks, and is left as it was', async () => {
      await vm.sh('ip netns add a; ip link delete cni0 2>/dev/null || true')
      const masquerading = { ...config, ipMasq: true }
      const { exitCode, output } = await runPluginIn(vm, { ...pod, command: 'ADD', config: masquerading })
      expect([exitCode, output.details]).toEqual([
        1,
        expect.stringMatching(/EOPNOTSUPP. .*modprobe nf_tables/),
      ])
      expect(await residueIn(vm, { nftables: false })).toEqual(NOTHING)
      expect((await runPluginIn(vm, { command: 'STATUS', config: masquerading })).output).toMatchObject({
        code: 50,
        msg: expect.stringContaining('the key "ipMasq" needs'),
      })
      await callPluginIn(vm, { ...pod, command: 'DEL', config: masquerading })
      await vm.sh('ip netns delete a')
    })
  })
})
