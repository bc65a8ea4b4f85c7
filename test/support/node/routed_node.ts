import { afterEach, beforeAll, beforeEach, expect } from 'vitest'
import type { PluginAnswer, PluginCall } from './plugin.ts'
import { callFor } from './pods.ts'
import { enterFreshNetwork, run } from './private_namespaces.ts'
import { createNetns, enterSandbox, ping, removeNetns, residue } from './sandbox.ts'

/*
 * A node with an uplink `up0` to its router, and with routes of its own; pods `pod-a` and `pod-b`. Each of IPv4 and IPv6
 * with the same numbers, so that a test is written once.
 */
export const FAMILIES = [
  {
    family: 4,
    lan: '198.18.0.0/24',
    node: '198.18.0.10',
    router: '198.18.0.1',
    subnet: '10.77.0.0/24',
    half: '10.77.0.0/25',
    wide: '10.0.0.0/8',
    gateway: '10.77.0.1',
    first: '10.77.0.2',
    second: '10.77.0.3',
    length: 32,
  },
  {
    family: 6,
    lan: 'fd12::/64',
    node: 'fd12::10',
    router: 'fd12::1',
    subnet: 'fd77::/64',
    half: 'fd77::/65',
    wide: 'fd00::/8',
    gateway: 'fd77::1',
    first: 'fd77::2',
    second: 'fd77::3',
    length: 128,
  },
] as const
export type NodeFamily = (typeof FAMILIES)[number]

export const MODES = ['l2', 'l3'] as const
export type Mode = (typeof MODES)[number]

/** Every mode with every family. */
export const EVERY: readonly [Mode, NodeFamily][] = MODES.flatMap((mode) =>
  FAMILIES.map((family): [Mode, NodeFamily] => [mode, family]),
)

const PODS = ['pod-a', 'pod-b'] as const
type Pod = (typeof PODS)[number]

/**
 * Makes a new node for each test of a file. The kernel enters an IPv6 address into the local table some time later, also
 * without duplicate detection. `old0` is a link of somebody else, with somebody at its other end.
 */
export function useRoutedNode(): void {
  beforeAll(enterSandbox)
  beforeEach(() => {
    enterFreshNetwork()
    run(`rm -rf /var/lib/cni; mkdir -p /var/lib/cni
      ip netns add router; ip netns exec router sysctl -qw net.ipv6.conf.default.accept_dad=0
      sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
      ip link add up0 type veth peer name eth0 netns router; ip link add old0 type veth peer name old1
      for link in up0 old0 old1; do ip link set $link up; done; ip -n router link set eth0 up`)
    for (const { node, router, lan } of FAMILIES) {
      const length = lan.split('/')[1]
      run(`ip -n router addr add ${router}/${length} dev eth0; ip addr add ${node}/${length} dev up0 ${node.includes(':') ? 'nodad' : ''}
        ip route add default via ${router}
        for i in $(seq 500); do ip route get ${node} | grep -q ^local && break; sleep 0.01; done`)
    }
    // The kernel makes the local routes of IPv6 addresses in its own time.
    run(
      `for i in $(seq 1000); do ip -6 route show table local | grep -q 'local fd12::10 ' && exit; sleep 0.01; done; exit 1`,
    )
    for (const pod of PODS) createNetns(pod)
  })
  afterEach(() => {
    for (const name of [...PODS, 'router']) removeNetns(name)
  })
}

/** One configuration with one range. */
export function network(mode: Mode, range: object, more: object = {}): object {
  return {
    cniVersion: '1.1.0',
    name: 'net',
    type: 'bowline',
    mode,
    ...(mode === 'l2' && { bridge: 'br0', isGateway: true }),
    ipam: { type: 'bowline-ipam', ranges: [[range]], routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }] },
    ...more,
  }
}

/** Calls the plugin for a pod. */
export function call(
  command: PluginCall['command'],
  config: object,
  pod: Pod = 'pod-a',
  more: Partial<PluginCall> = {},
): Promise<PluginAnswer> {
  return callFor({ name: pod, path: `/run/netns/${pod}` }, command, config, more)
}

/** Expects an ADD that gives this address, with which the pod reaches its gateway and is reached; and a CHECK that agrees. */
export async function expectWorkingPod(
  config: object,
  { gateway }: { gateway: string },
  address: string,
  pod: Pod = 'pod-a',
): Promise<object> {
  const { output, exitCode, stdout } = await call('ADD', config, pod)
  expect(exitCode, stdout).toBe(0)
  expect(output.ips?.map((ip) => ip.address.split('/')[0])).toEqual([address])
  await expectReachable({ gateway }, address, pod)
  const checked = { ...config, prevResult: output }
  expect((await call('CHECK', checked, pod)).stdout).toBe('')
  return checked
}

export async function expectReachable(
  { gateway }: { gateway: string },
  address: string,
  pod: Pod = 'pod-a',
): Promise<void> {
  const netns = { name: pod, path: `/run/netns/${pod}` }
  expect((await ping(gateway, { from: netns })).answered, `${pod} to ${gateway}`).toBe(1)
  expect((await ping(address)).answered, `node to ${address}`).toBe(1)
}

/** Expects a refusal with this code, whose text has all of `words`, and which leaves the node as it was. */
export async function expectRefusal(
  config: object,
  code: number,
  words: readonly string[],
  more: Partial<PluginCall> = {},
): Promise<PluginAnswer['output']> {
  const before = await nodeState()
  const { output, stdout } = await call('ADD', config, 'pod-a', more)
  expect(output.code, stdout).toBe(code)
  for (const word of words) expect(`${output.msg}: ${output.details}`).toContain(word)
  expect(await nodeState()).toEqual(before)
  return output
}

/** The routes of the node, and what of ours is there. */
async function nodeState(): Promise<object> {
  return { residue: await residue(), routes: routesOfNode() }
}

/** As `ip route` shows them, without those of link-local and multicast addresses. */
export function routesOfNode(): string[] {
  run(UNTIL_LOCAL_ROUTES)
  const shown = ['-4', '-6'].map((family) => run(`ip ${family} route show table all`))
  return shown.flatMap((text) => text.split('\n')).filter((line) => !/fe80|ff00|^multicast/.test(line))
}

/** The kernel makes the local route of an IPv6 address in its own time. */
const UNTIL_LOCAL_ROUTES = `for i in $(seq 1000); do
    local=$(ip -6 route show table local) missing=
    for address in $(ip -6 -o address show up scope global -tentative | sed 's/.*inet6 //; s/[ /].*//'); do
      case $local in *"local $address "*) ;; *) missing=$address ;; esac
    done
    [ "$missing" ] || exit 0
    sleep 0.01
  done; echo "no local route of $missing" >&2; exit 1`
