import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { PluginOutput } from '../support/node/plugin.ts'
import type { LinkJson } from '../support/node/sandbox.ts'
import { useVms, type Vm } from '../support/vm/machine.ts'
import { callPluginIn, residueIn, vlansIn } from '../support/vm/node.ts'

/*
 * VLANs on a bridge, in the machine, since the kernel under the other tests may have none. The reference plugin does the
 * same there: what the ports of pods have in the end must be equal.
 */
const vms = useVms()
let vm: Vm

beforeAll(async () => {
  vm = await vms.boot()
})

const PODS = ['a', 'b', 'c']

afterEach(async () => {
  await vm.sh(`for pod in ${PODS.join(' ')}; do ip netns delete $pod 2>/dev/null || true; done
    for link in $(ip -o link show type bridge | cut -d: -f2) $(ip -o link show type veth | cut -d: -f2 | cut -d@ -f1)
    do ip link delete $link 2>/dev/null || true; done
    rm -rf /var/lib/cni`)
})

type Keys = Record<string, unknown>

type Plugin = 'bowline' | 'bridge'

function call(
  plugin: Plugin,
  command: 'ADD' | 'CHECK' | 'DEL',
  pod: string,
  keys: Keys,
): Promise<PluginOutput> {
  const type = plugin === 'bowline' ? 'bowline-ipam' : 'host-local'
  const ipam = { type, ranges: [[{ subnet: '10.6.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] }
  const config = { cniVersion: '1.0.0', name: 'vlans', type: plugin, ipam, ...keys }
  return callPluginIn(vm, { plugin, command, config, containerId: pod, netns: `/run/netns/${pod}` })
}

/** Makes the pod of this name, and gives it an interface. */
async function add(plugin: Plugin, pod: string, keys: Keys): Promise<PluginOutput> {
  await vm.sh(`ip netns add ${pod}`)
  return await call(plugin, 'ADD', pod, keys)
}

async function linkOf(
  name: string,
): Promise<LinkJson & { linkinfo: { info_data: Record<string, unknown> } }> {
  return JSON.parse(await vm.sh(`ip -j -d link show ${name}`))[0]
}

/** What a person sees of a pod's port and its bridge. */
async function portOf({ interfaces = [] }: PluginOutput): Promise<unknown> {
  const [bridge, port] = interfaces
  const { info_data } = (await linkOf(bridge?.name ?? '')).linkinfo
  return { filtering: info_data['vlan_filtering'], vlans: await vlansIn(vm, port?.name ?? '') }
}

async function canPing(pod: string, address: string): Promise<boolean> {
  return (await vm.run(`ip netns exec ${pod} ping -n -c 1 -w 3 ${address}`)).exitCode === 0
}

const OWN = 'PVID untagged'
const RANGE = Array.from({ length: 11 }, (_, i) => `${200 + i}`)

describe('the port of a pod has the VLANs that the reference plugin gives it', () => {
  it.each<[string, Keys, string[]]>([
    ['without a key', {}, [`1 ${OWN}`]],
    ['vlan 100', { vlan: 100 }, [`100 ${OWN}`]],
    ['vlan 4094', { vlan: 4094 }, [`4094 ${OWN}`]],
    ['vlan 1', { vlan: 1 }, [`1 ${OWN}`]],
    [
      'vlan 100 beside the default one',
      { vlan: 100, preserveDefaultVlan: true },
      ['1 untagged', `100 ${OWN}`],
    ],
    ['a trunk', { vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }] }, [`1 ${OWN}`, '101', ...RANGE]],
    [
      'a trunk and vlan 100',
      { vlan: 100, vlanTrunk: [{ id: 101 }, { minID: 200, maxID: 210 }] },
      [`100 ${OWN}`, '101', ...RANGE],
    ],
    [
      'a trunk, vlan 100 and the default one',
      { vlan: 100, vlanTrunk: [{ id: 7 }], preserveDefaultVlan: true },
      ['1 untagged', '7', `100 ${OWN}`],
    ],
    ['an empty trunk', { vlanTrunk: [] }, [`1 ${OWN}`]],
  ])('%s', async (_, keys, vlans) => {
    const theirs = await portOf(await add('bridge', 'a', { bridge: 'br-theirs', ...keys }))
    const ours = await portOf(await add('bowline', 'b', { bridge: 'br-ours', ...keys }))
    expect(ours).toEqual(theirs)
    expect(ours).toMatchObject({ vlans })
  })
})

describe('pods of a VLAN', () => {
  it('reach each other and no pod of another VLAN', async () => {
    for (const [pod, vlan] of [
      ['a', 100],
      ['b', 100],
      ['c', 200],
    ] as const)
      await add('bowline', pod, { vlan })
    expect(await canPing('a', '10.6.0.3')).toBe(true)
    expect(await canPing('a', '10.6.0.4')).toBe(false)
  })

  it('are reached from a trunk by a tagged interface', async () => {
    await add('bowline', 'a', { vlan: 200 })
    await add('bowline', 'b', { vlanTrunk: [{ minID: 100, maxID: 300 }] })
    expect(await canPing('b', '10.6.0.2')).toBe(false)
    await vm.sh(`ip -n b address flush dev eth0; ip -n b link add link eth0 name eth0.200 type vlan id 200
      ip -n b address add 10.6.0.99/24 dev eth0.200; ip -n b link set eth0.200 up`)
    expect(await canPing('b', '10.6.0.2')).toBe(true)
  })
})

describe('the gateway of a VLAN', () => {
  it.each(['bridge', 'bowline'] as const)('is an interface of its own, by %s', async (plugin) => {
    const { interfaces = [] } = await add(plugin, 'a', { isGateway: true, vlan: 100 })
    expect(interfaces.map(({ name }) => name).filter((name) => !name.startsWith('veth'))).toEqual([
      'cni0',
      'eth0',
      'cni0.100',
    ])
    expect(await vm.sh('ip -o address show dev cni0.100')).toContain('inet 10.6.0.1/24')
    expect(await canPing('a', '10.6.0.1')).toBe(true)
  })

  it('is not reached from another VLAN', async () => {
    await add('bowline', 'a', { isGateway: true, vlan: 100 })
    await add('bowline', 'b', { vlan: 200 })
    expect(await canPing('b', '10.6.0.1')).toBe(false)
  })

  it('is a VLAN link on the bridge, which carries the VLAN tagged', async () => {
    await add('bowline', 'a', { isGateway: true, vlan: 100 })
    const { linkinfo, flags } = await linkOf('cni0.100')
    expect(linkinfo).toMatchObject({ info_kind: 'vlan', info_data: { id: 100 } })
    expect(flags).toContain('UP')
    expect(await vlansIn(vm, 'cni0')).toEqual([`1 ${OWN}`, '100'])
  })
})

describe('an attachment with VLANs', () => {
  const keys = { isGateway: true, vlan: 100, vlanTrunk: [{ id: 101 }] }

  it('passes CHECK and is gone after DEL', async () => {
    const prevResult = await add('bowline', 'a', keys)
    await call('bowline', 'CHECK', 'a', { ...keys, prevResult })
    await call('bowline', 'DEL', 'a', keys)
    const { links, leases, records } = await residueIn(vm)
    expect({ links, leases, records }).toEqual({ links: ['cni0', 'cni0.100'], leases: [], records: [] })
  })
})

it('the gateway of a VLAN has its IPv6 address where IPv6 is off on new links, and CHECK agrees', async () => {
  await vm.sh('echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6; ip netns add a')
  const ipam = { type: 'bowline-ipam', ranges: [[{ subnet: 'fd00:6::/64' }]] }
  const config = { cniVersion: '1.0.0', name: 'vlans', type: 'bowline', isGateway: true, vlan: 100, ipam }
  const pod = { config, containerId: 'a', netns: '/run/netns/a' }
  const prevResult = await callPluginIn(vm, { ...pod, command: 'ADD' })
  await vm.sh('ip netns exec a ping -n -c 1 -w 20 fd00:6::1')
  await callPluginIn(vm, { ...pod, command: 'CHECK', config: { ...config, prevResult } })
  await vm.sh('echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6')
})
