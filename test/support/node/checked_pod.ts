import { afterEach, beforeAll, beforeEach, expect } from 'vitest'
import { type PluginAnswer, type PluginCall, type PluginOutput, runPlugin } from './plugin.ts'
import { run } from './private_namespaces.ts'
import {
  clearNode,
  createNetns,
  enterSandbox,
  type Netns,
  NOTHING,
  ping,
  removeNetns,
  residue,
} from './sandbox.ts'

/*
 * A pod in either mode with all that CHECK looks at, for tests that take something away. Every command that CHECK prints
 * is typed into a shell.
 */
const COMMON = {
  cniVersion: '1.1.0',
  name: 'net',
  type: 'bowline',
  ipMasq: true,
  mtu: 1400,
  txQueueLen: 3000,
  ipam: {
    type: 'bowline-ipam',
    ranges: [[{ subnet: '10.1.0.0/24' }], [{ subnet: 'fd00:1::/64' }]],
    routes: [
      { dst: '0.0.0.0/0' },
      { dst: '::/0' },
      { dst: '10.9.0.0/24', mtu: 1300, advmss: 1200, priority: 50 },
      { dst: 'fd09::/64', mtu: 1300, advmss: 1200, priority: 50 },
      { dst: '10.8.0.0/24', table: 1000 },
    ],
  },
}

export const MODES = {
  l2: { ...COMMON, bridge: 'br0', isGateway: true, hairpinMode: true, macspoofchk: true },
  l3: { ...COMMON, mode: 'l3' },
}
export type Mode = keyof typeof MODES

const GATEWAYS = ['10.1.0.1', 'fd00:1::1']

export type CheckedPod = {
  /** What ADD printed. */
  result: PluginOutput
  /** The name of its host interface. */
  host: string
  readonly netns: Netns
}

/** Prepares a node for each test of a file, with a namespace `pod-a`; and proves after each that nothing is left. */
export function useCheckedPod(): CheckedPod {
  const pod = { result: {}, host: '', netns: { name: 'pod-a', path: '/run/netns/pod-a' } }
  beforeAll(enterSandbox)
  beforeEach(async () => {
    await clearNode()
    run('sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0')
    createNetns(pod.netns.name)
  })
  afterEach(async () => {
    for (const mode of ['l2', 'l3'] as const) await call('DEL', mode, pod)
    removeNetns(pod.netns.name)
    const { links, ...rest } = await residue()
    expect({ ...rest, links: links.filter((name) => name !== 'br0') }).toEqual(NOTHING)
  })
  return pod
}

/** `more` goes into the configuration. */
export async function attach(pod: CheckedPod, mode: Mode, more: object = {}): Promise<void> {
  const { output, stdout } = await call('ADD', mode, pod, more)
  pod.result = output
  pod.host =
    output.interfaces?.find(({ name }) => name.startsWith('veth'))?.name ?? `no host interface: ${stdout}`
}

/** What CHECK says; an empty object when it passes. */
export async function check(pod: CheckedPod, mode: Mode, more: object = {}): Promise<PluginOutput> {
  return (await call('CHECK', mode, pod, { prevResult: pod.result, ...more })).output
}

export function call(
  command: PluginCall['command'],
  mode: Mode,
  { netns }: CheckedPod,
  more: object = {},
  options: Partial<PluginCall> = {},
): Promise<PluginAnswer> {
  const config = { ...MODES[mode], ...more }
  return runPlugin({ command, config, containerId: netns.name, netns: netns.path, ...options })
}

/** Runs every command that CHECK printed in a shell, in their order; returns how many there were. */
export function runCommandsOf({ details = '' }: PluginOutput): number {
  const commands = [...details.matchAll(/\[run: (.*?)\](?=[;.])/g)].map(([, command = '']) => command)
  for (const command of commands) run(command)
  return commands.length
}

/** Types the commands that CHECK printed; CHECK then passes. */
export async function expectMended(
  pod: CheckedPod,
  said: PluginOutput,
  mode: Mode,
  more: object = {},
): Promise<void> {
  expect(runCommandsOf(said)).toBeGreaterThan(0)
  expect(await check(pod, mode, more)).toEqual({})
}

export async function expectGatewaysToAnswer({ netns }: CheckedPod): Promise<void> {
  for (const gateway of GATEWAYS)
    expect([gateway, (await ping(gateway, { from: netns })).answered]).toEqual([gateway, 1])
}
