import { afterEach, beforeAll, describe, expect, it } from 'vitest'
import type { PluginOutput } from '../support/node/plugin.ts'
import { useVms, type Vm } from '../support/vm/machine.ts'
import { runPluginIn, type VmPluginAnswer, vlansIn } from '../support/vm/node.ts'

/*
 * VLANs that somebody has taken away: CHECK names them, and the command that it prints brings them back. An ADD that
 * fails leaves the VLANs of the node as they were. In the machine, since the kernel under the other tests may have none.
 * What the reference plugin does as well is in test/conformance/vlan.test.ts, which test/vm/suites.test.ts runs.
 */
const CONFIG = {
  cniVersion: '1.1.0',
  name: 'vlans',
  type: 'bowline',
  bridge: 'br0',
  isGateway: true,
  vlan: 100,
  vlanTrunk: [{ id: 200 }, { minID: 300, maxID: 310 }],
  ipam: { type: 'bowline-ipam', ranges: [[{ subnet: '10.6.0.0/24' }]], routes: [{ dst: '0.0.0.0/0' }] },
}

const vms = useVms()
let vm: Vm

beforeAll(async () => {
  vm = await vms.boot()
})

afterEach(async () => {
  await vm.sh(`ip netns delete a 2>/dev/null || true; ip link delete br0 2>/dev/null || true
    for link in $(ip -o link show type veth | cut -d: -f2 | cut -d@ -f1); do ip link delete $link; done
    nft flush ruleset; rm -rf /var/lib/cni`)
})

describe('CHECK of a pod with VLANs names what is lost, and the command that mends it:', () => {
  it.each<[string, string, RegExp]>([
    ['its own VLAN', 'bridge vlan del dev $HOST vid 100', /VLAN 100 is missing or wrong on veth/],
    [
      'its own VLAN as the untagged one',
      'bridge vlan add dev $HOST vid 100',
      /VLAN 100 is missing or wrong on veth/,
    ],
    ['a VLAN of its trunk', 'bridge vlan del dev $HOST vid 200', /VLAN 200 is missing or wrong on veth/],
    ['one of a range', 'bridge vlan del dev $HOST vid 305', /VLAN 300-310 is missing or wrong on veth/],
    ['that it is not in VLAN 1', 'bridge vlan add dev $HOST vid 1 untagged', /veth\w+ is in VLAN 1 as well/],
    [
      'the bridge, of which it is no port any more',
      'ip link set $HOST nomaster',
      /is not a port of bridge br0/,
    ],
    ['the filter', 'ip link set br0 type bridge vlan_filtering 0', /bridge br0 does not filter VLANs/],
    [
      'the bridge as a member of the VLAN',
      'bridge vlan del dev br0 vid 100 self',
      /bridge br0 is not in VLAN 100 itself/,
    ],
    ['the link of the gateway', 'ip link del br0.100', /link br0\.100 is missing/],
    [
      'the link of the gateway, in whose place is another',
      'ip link del br0.100; ip link add link br0 name br0.100 type vlan id 200; ip link set br0.100 up',
      /link br0\.100 is not VLAN 100 of bridge br0/,
    ],
    ['the link of the gateway, which is down', 'ip link set br0.100 down', /br0\.100 on the host is down/],
    [
      'its deafness to router advertisements',
      'echo 1 >/proc/sys/net/ipv6/conf/br0.100/accept_ra',
      /br0\.100 on the host believes router advertisements/,
    ],
    ['the gateway address', 'ip addr flush dev br0.100', /address 10\.6\.0\.1\/24 is missing on br0\.100/],
    ['the bridge, which is gone', 'ip link del br0', /bridge br0 is missing/],
  ])('%s', async (_, takeAway, complaint) => {
    const { host, prevResult } = await attach()
    await vm.sh(takeAway.replaceAll('$HOST', host))
    const { output } = await call('CHECK', { prevResult })
    expect(output).toMatchObject({ code: 102 })
    expect(output.details).toMatch(complaint)
    for (const command of commandsIn(output)) await vm.sh(command)
    expect((await call('CHECK', { prevResult })).output).toEqual({})
    expect(await vm.sh('ip netns exec a ping -n -c 1 -w 5 10.6.0.1')).toContain('1 received')
  })

  it('and nothing when somebody has added a VLAN', async () => {
    const { host, prevResult } = await attach()
    await vm.sh(`bridge vlan add dev ${host} vid 999; bridge vlan add dev br0 vid 999 self`)
    expect((await call('CHECK', { prevResult })).output).toEqual({})
  })
})

describe('the port of a pod', () => {
  it.each<[string, object, string[]]>([
    [
      'leaves the default VLAN of its bridge, whatever it is',
      { vlan: 100, vlanTrunk: [] },
      ['100 PVID untagged'],
    ],
    [
      'stays in it with preserveDefaultVlan',
      { vlan: 100, vlanTrunk: [], preserveDefaultVlan: true },
      ['5 untagged', '100 PVID untagged'],
    ],
    ['has the highest VLAN', { vlan: 4094, vlanTrunk: [] }, ['4094 PVID untagged']],
    ['has VLAN 1, which is not the default here', { vlan: 1, vlanTrunk: [] }, ['1 PVID untagged']],
    [
      'has its own, the default one and those of its trunk',
      { vlan: 100, vlanTrunk: [{ id: 7 }], preserveDefaultVlan: true },
      ['5 untagged', '7', '100 PVID untagged'],
    ],
    ['stays in it with an empty trunk', { vlan: 0, vlanTrunk: [] }, ['5 PVID untagged']],
    [
      'has VLAN 1 as its own beside a trunk that has it too',
      { vlan: 0, vlanTrunk: [{ id: 1 }, { id: 7 }] },
      ['1 PVID untagged', '7'],
    ],
    [
      'has both VLANs of an item that names one and a range',
      { vlan: 9, vlanTrunk: [{ id: 7, minID: 11, maxID: 12 }] },
      ['7', '9 PVID untagged', '11', '12'],
    ],
  ])('%s', async (_, keys, vlans) => {
    await vm.sh('ip link add br0 address 02:00:00:00:00:99 type bridge vlan_default_pvid 5')
    const { host } = await attach({ isGateway: false, ...keys })
    expect(await vlansIn(vm, host)).toEqual(vlans)
  })
})

describe('an ADD that fails', () => {
  const failing = { ipam: { ...CONFIG.ipam, routes: [{ dst: '10.9.0.0/24', gw: '192.0.2.1' }] } }
  const look = () =>
    vm.sh('ip -d link show br0 | grep -o "vlan_filtering ."; bridge vlan show; ip -br link show type vlan')

  it('leaves a bridge that was there without its VLANs', async () => {
    await vm.sh('ip link add br0 address 02:00:00:00:00:99 type bridge; ip netns add a')
    const before = await look()
    expect((await call('ADD', failing)).exitCode).toBe(1)
    expect(await look()).toBe(before)
  })

  it('leaves the VLANs of pods that were there before', async () => {
    await attach()
    await vm.sh('ip netns add b')
    const before = await look()
    const { exitCode } = await call('ADD', { ...failing, vlan: 400, vlanTrunk: [] }, 'b')
    expect(exitCode).toBe(1)
    expect(await look()).toBe(before)
    await vm.sh('ip netns delete b')
  })

  it('takes the bridge that it made', async () => {
    await vm.sh('ip netns add a')
    expect((await call('ADD', failing)).exitCode).toBe(1)
    expect(await vm.sh('ip -br link show type bridge; ip -br link show type vlan')).toBe('')
  })
})

describe('the gateway of a VLAN', () => {
  it('is not reached from another VLAN', async () => {
    await attach()
    await vm.sh('ip netns add b')
    expect((await call('ADD', { vlan: 200, vlanTrunk: [], isGateway: false }, 'b')).exitCode).toBe(0)
    expect((await vm.run('ip netns exec b ping -n -c 1 -w 3 10.6.0.1')).exitCode).not.toBe(0)
    await vm.sh('ip netns delete b')
  })

  it('has its IPv6 address where IPv6 is off on new links, and CHECK agrees', async () => {
    await vm.sh('echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6')
    const ipam = { type: 'bowline-ipam', ranges: [[{ subnet: 'fd00:6::/64' }]] }
    const { prevResult } = await attach({ ipam })
    await vm.sh('ip netns exec a ping -n -c 1 -w 20 fd00:6::1')
    expect((await call('CHECK', { ipam, prevResult })).output).toEqual({})
    await vm.sh('echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6')
  })

  it('stays when the last pod goes, and is used again by the next one', async () => {
    await attach()
    await call('DEL')
    const [before] = (await vm.sh('ip -o link show br0.100')).split(':')
    await vm.sh('ip netns delete a')
    await attach()
    const [after] = (await vm.sh('ip -o link show br0.100')).split(':')
    expect(after).toBe(before)
    expect(await vm.sh('ip netns exec a ping -n -c 1 -w 5 10.6.0.1')).toContain('1 received')
  })
})

describe('an ADD that finds the link of the gateway', () => {
  it('puts the bridge into the VLAN again, without which the pod would not reach the gateway', async () => {
    await attach()
    await call('DEL')
    await vm.sh('bridge vlan del dev br0 vid 100 self; ip netns delete a')
    await attach()
    expect(await vm.sh('ip netns exec a ping -n -c 1 -w 5 10.6.0.1')).toContain('1 received')
  })

  it.each([
    ['of another number', 'ip link add link br0 name br0.100 type vlan id 200'],
    [
      'on a link of another namespace, which has the index of the bridge',
      `ip netns add b; index=$(cat /sys/class/net/br0/ifindex)
       ip -n b link add foreign index $index type bridge
       ip -n b link add link foreign name br0.100 type vlan id 100; ip -n b link set br0.100 netns 1`,
    ],
  ])('refuses one %s', async (_, command) => {
    await vm.sh(`ip netns add a; ip link add br0 type bridge; ${command}`)
    const { exitCode, output } = await call('ADD')
    await vm.sh('ip netns delete b 2>/dev/null || true')
    expect(exitCode).toBe(1)
    expect(output.msg).toContain(
      'br0.100 is to carry the gateway of its VLAN, but is not VLAN 100 of bridge br0',
    )
  })
})

async function attach(keys: object = {}): Promise<{ host: string; prevResult: PluginOutput }> {
  await vm.sh('ip netns add a; ip -n a link set lo up')
  const { exitCode, stdout, output } = await call('ADD', keys)
  expect(exitCode, stdout).toBe(0)
  const host = output.interfaces?.find(({ name }) => name.startsWith('veth'))?.name ?? ''
  return { host, prevResult: output }
}

function call(command: 'ADD' | 'CHECK' | 'DEL', keys: object = {}, pod = 'a'): Promise<VmPluginAnswer> {
  const config = { ...CONFIG, ...keys }
  return runPluginIn(vm, { command, config, containerId: pod, netns: `/run/netns/${pod}` })
}

/** In the order in which they are to be run. */
function commandsIn({ details = '' }: PluginOutput): string[] {
  return [...details.matchAll(/\[run: (.*?)\](?=[;.])/g)].map(([, command = '']) => command)
}
