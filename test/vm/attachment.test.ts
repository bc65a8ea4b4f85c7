import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { PluginOutput } from '../support/node/plugin.ts'
import { NOTHING } from '../support/node/sandbox.ts'
import { AMD64, ARM64 } from '../support/vm/architecture.ts'
import { useVms, type Vm } from '../support/vm/machine.ts'
import { callPluginIn, residueIn } from '../support/vm/node.ts'

const PODS = ['a', 'b'] as const

const NETWORK = {
  cniVersion: '1.1.0',
  name: 'dual',
  type: 'bowline',
  ipMasq: true,
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.5.0.0/24' }], [{ subnet: 'fd00:5::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  },
}

/*
 * Pods on the distribution's own kernel, which is years older than that of most machines that the other tests run on, and
 * of which no module is loaded when the first pod comes; on each processor that there is an executable for.
 */
describe.each([AMD64, ARM64])('on $name', (architecture) => {
  const vms = useVms({ architecture })
  let vm: Vm

  beforeAll(async () => {
    vm = await vms.boot()
    expect(vm.release).toContain(architecture.name)
    await vm.sh(`ip netns add outside
      ip link add up0 type veth peer name eth0 netns outside
      ip address add 192.0.2.1/24 dev up0; ip -6 address add 2001:db8::1/64 dev up0 nodad
      ip -n outside address add 192.0.2.2/24 dev eth0; ip -n outside -6 address add 2001:db8::2/64 dev eth0 nodad
      ip link set up0 up; ip -n outside link set eth0 up
      ip route add default via 192.0.2.2; ip -6 route add default via 2001:db8::2`)
  })

  beforeEach(async () => {
    await vm.sh(PODS.map((pod) => `ip netns add ${pod}; ip -n ${pod} link set lo up`).join('\n'))
  })

  afterEach(async () => {
    await vm.sh(`${PODS.map((pod) => `ip netns delete ${pod}`).join('\n')}
      ip link delete cni0 2>/dev/null || true; rm -rf /var/lib/cni`)
  })

  describe.each([
    ['l2', { ...NETWORK, mode: 'l2', isGateway: true, hairpinMode: true }, ['cni0']],
    ['l3', { ...NETWORK, mode: 'l3' }, []],
  ] as const)('mode %s on the kernel of the distribution', (_, config, shared) => {
    const call = (command: 'ADD' | 'CHECK' | 'DEL', pod: string, more: object = {}): Promise<PluginOutput> =>
      callPluginIn(vm, {
        command,
        config: { ...config, ...more },
        containerId: pod,
        netns: `/run/netns/${pod}`,
      })

    it('answers VERSION, and STATUS that it is ready', async () => {
      const { supportedVersions } = await callPluginIn(vm, { command: 'VERSION', config })
      expect(supportedVersions).toContain('1.1.0')
      expect(await callPluginIn(vm, { command: 'STATUS', config })).toEqual({})
    })

    it('connects two pods with each other, the node and the outside, in both families', async () => {
      for (const pod of PODS) await call('ADD', pod)
      for (const address of ['10.5.0.3', 'fd00:5::3', '10.5.0.1', 'fd00:5::1', '192.0.2.2', '2001:db8::2'])
        expect(await vm.run(`ip netns exec a ping -n -c 1 -w 10 ${address}`), address).toMatchObject({
          exitCode: 0,
        })
    })

    it('passes CHECK, which fails when the address of the pod is taken away', async () => {
      const prevResult = await call('ADD', 'a')
      await call('CHECK', 'a', { prevResult })
      await vm.sh('ip -n a address delete 10.5.0.2 dev eth0 2>/dev/null || ip -n a address flush dev eth0')
      await expect(call('CHECK', 'a', { prevResult })).rejects.toThrow('10.5.0.2')
    })

    it('is gone after DEL', async () => {
      for (const pod of PODS) await call('ADD', pod)
      const { links, leases, records, nftElements } = await residueIn(vm)
      expect([links.length, leases.length, records.length, nftElements.length]).toEqual([
        2 + shared.length,
        4,
        2,
        2,
      ])
      for (const pod of PODS) await call('DEL', pod)
      expect(await residueIn(vm)).toEqual({ ...NOTHING, links: [...shared] })
    })
  })
})
