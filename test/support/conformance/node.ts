import { writeFileSync } from 'node:fs'
import { beforeAll, beforeEach, expect } from 'vitest'
import {
  type Conflist,
  fillPluginDirectory,
  type PluginAnswer,
  type PluginCall,
  type PluginConfig,
  type PluginOutput,
  runPlugin,
} from '../node/plugin.ts'
import { enterFreshNetwork, run } from '../node/private_namespaces.ts'
import { createNetns, enterSandbox, type Netns, residue, runIn } from '../node/sandbox.ts'
import type { Subject, Version } from './cases.ts'
import { recordedOutcome } from './record.ts'

/*
 * The node that conformance cases run on: a new network, an empty /var/lib and no namespace before each test, and a
 * runtime's way of calling plugins.
 */

/** Our plugins and those of the reference, as in /opt/cni/bin, and what a case adds. */
export const PLUGINS = '/run/cni-conformance'

/** A namespace with the id of its container. */
export type Pod = Netns & { readonly containerId: string }

type Command = PluginCall['command']
/** What differs from a plain call for `eth0` of a pod. */
export type How = Partial<Omit<PluginCall, 'command' | 'config'>>
export type Config = Record<string, unknown> & { readonly type: string }

/** Gives each test of the file a node of its own. */
export function useNode(): void {
  beforeAll(() => {
    enterSandbox()
    run(`mkdir -p ${PLUGINS}; mount -t tmpfs tmpfs ${PLUGINS}`)
    fillPluginDirectory(PLUGINS)
  })
  beforeEach(({ task }) => {
    if (recordedOutcome(task.file.filepath, task.name) === undefined) freshNode()
  })
}

/**
 * A node that has just started: no link but lo, no rule, no state. Namespaces made before are gone. IPv6 does not look
 * for duplicates on new links of the node, which takes a second or two: a case of its own switches it on.
 */
export function freshNode(): void {
  enterFreshNetwork()
  run(`${detectDuplicates(false)}
    for file in /run/netns/*; do [ ! -e $file ] || { umount -l $file || true; rm $file; }; done
    umount /var/lib; mount -t tmpfs tmpfs /var/lib; mkdir -p /var/lib/cni`)
}

/** The line of shell that says whether new links look for duplicates of their IPv6 addresses. */
export function detectDuplicates(on: boolean): string {
  return `echo ${Number(on)} >/proc/sys/net/ipv6/conf/default/accept_dad`
}

/** Makes the namespace of a container, which does as `detectDuplicates` says of the node. */
export function createPod(name = 'pod'): Pod {
  const netns = createNetns(name)
  const file = '/proc/sys/net/ipv6/conf/default/accept_dad'
  run(`value=$(cat ${file}); ip netns exec ${name} sh -c "echo $value >${file}"`)
  return { ...netns, containerId: `${name}-container` }
}

/** Makes an IPAM plugin of this name out of lines of shell; returns the name. It goes when the file's tests end. */
export function writeDelegate(name: string, script: string): string {
  writeFileSync(`${PLUGINS}/${name}`, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return name
}

/** The subnets that configurations take addresses from unless a case says otherwise. */
export const SUBNET4 = '10.1.0.0/24'
export const SUBNET6 = 'fd00:1::/64'
const ROUTES = { 4: { dst: '0.0.0.0/0' }, 6: { dst: '::/0' } }

/** The section `ipam` that gives one address of each subnet, with default routes of these families. */
export function ipamOf(subject: Subject, subnets: readonly string[] = [SUBNET4]): Record<string, unknown> {
  const families = new Set(subnets.map((subnet) => (subnet.includes(':') ? 6 : 4)))
  return {
    type: subject.ipam,
    ranges: subnets.map((subnet) => [{ subnet }]),
    routes: [...families].map((family) => ROUTES[family]),
  }
}

/** A bridged network with the bridge as gateway. */
export function bridged(subject: Subject, cniVersion: Version, more: Record<string, unknown> = {}): Config {
  const base = { cniVersion, name: 'net', ...subject.bridged, bridge: 'cni0', isGateway: true }
  return { ...base, ipam: ipamOf(subject), ...more }
}

/** A network of point-to-point links. */
export function routed(subject: Subject, cniVersion: Version, more: Record<string, unknown> = {}): Config {
  return { cniVersion, name: 'net', ...subject.routed, ipam: ipamOf(subject), ...more }
}

/** The list of plugins for a runtime that begins with this one, and has its name and version. */
export function listOf(
  { cniVersion, name, ...first }: Config,
  others: readonly PluginConfig[] = [],
): Conflist {
  return { cniVersion: `${cniVersion}`, name: `${name}`, plugins: [first as Config, ...others] }
}

/** Calls the plugin that `config.type` names, or `how.program`. */
export function invoke(command: Command, config: Config, pod?: Pod, how: How = {}): Promise<PluginAnswer> {
  return runPlugin({
    command,
    config,
    program: `${PLUGINS}/${config.type}`,
    cniPath: PLUGINS,
    ...(pod && { containerId: pod.containerId, netns: pod.path }),
    ...how,
  })
}

/** Calls the subject's IPAM plugin itself, as a plugin that delegates to it does. */
export function asIpam(subject: Subject): How {
  return { program: `${PLUGINS}/${subject.ipam}` }
}

/** ADD that must succeed; returns the result. */
export async function add(config: Config, pod: Pod, how: How = {}): Promise<PluginOutput> {
  const answer = await invoke('ADD', config, pod, how)
  expect(answer.exitCode, `ADD succeeds: ${answer.stdout}${answer.stderr}`).toBe(0)
  return answer.output
}

/** A call that must succeed and print nothing. */
export async function done(command: Command, config: Config, pod?: Pod, how: How = {}): Promise<void> {
  const answer = await invoke(command, config, pod, how)
  expect(answer.exitCode, `${command} succeeds: ${answer.stdout}${answer.stderr}`).toBe(0)
  expect(answer.stdout, `${command} prints nothing`).toBe('')
}

/** A call that must fail with an error object on standard output; returns the object, and its two texts as one. */
export async function refused(
  command: Command,
  config: Config,
  pod?: Pod,
  how: How = {},
): Promise<{ code: number; text: string }> {
  const { exitCode, output, stdout } = await invoke(command, config, pod, how)
  const { code = 0, msg = '', details = '' } = output
  expect(exitCode, `${command} is refused`).not.toBe(0)
  expect(code, `the error has a code: ${stdout}`).toBeGreaterThan(0)
  expect(msg, 'the error has a message').not.toBe('')
  return { code, text: `${msg} ${details}` }
}

/** Whether an address answers within 5 s; a packet is sent every 200 ms until one is answered. */
export async function reaches(address: string, from?: Netns): Promise<boolean> {
  try {
    await runIn(from, 'ping', '-n', '-c', '1', '-w', '5', '-i', '0.2', address)
    return true
  } catch {
    return false
  }
}

/** Whether an address answers the first packet, before a neighbour that did not answer would be asked again. */
export async function answersAtOnce(address: string, from?: Netns): Promise<boolean> {
  try {
    await runIn(from, 'ping', '-n', '-c', '1', '-W', '0.9', address)
    return true
  } catch {
    return false
  }
}

/** What is left of pods: their links, leases, and lines of any packet filter that name one of their addresses. */
export type Leftovers = { readonly links: string[]; readonly leases: string[]; readonly rules: string[] }

export const NO_LEFTOVERS: Leftovers = { links: [], leases: [], rules: [] }

/** Lists what is on the node beside bridges. `marks` are what rules are looked through for, such as addresses. */
export async function leftovers(...marks: readonly string[]): Promise<Leftovers> {
  const { links, leases } = await residue()
  const bridges = run(`ip -o link show type bridge`).split('\n')
  const isBridge = (name: string): boolean => bridges.some((line) => line.includes(` ${name}: `))
  return {
    links: links.filter((name) => !isBridge(name)),
    leases,
    rules: marks.length > 0 ? rulesNaming(marks) : [],
  }
}

/** The lines of the whole packet filter, by nft and iptables, that name one of these as a whole word. */
export function rulesNaming(marks: readonly string[]): string[] {
  const lines = run('nft list ruleset; iptables-save; ip6tables-save').split('\n')
  const words = marks.map((mark) => new RegExp(`(?<![\\w.:])${RegExp.escape(mark)}(?![\\w.:])`))
  return lines.filter((line) => words.some((word) => word.test(line))).map((line) => line.trim())
}

/** The addresses of a result without their prefix lengths. */
export function plainAddresses({ ips = [] }: PluginOutput): string[] {
  return ips.map(({ address }) => address.replace(/\/.*/, ''))
}

/**
 * Calls the plugin under strace with these options, such as `-e inject=unlink:error=EIO`. What it traces goes to `log`.
 * Its children and threads are traced too.
 */
export function invokeTraced(
  command: Command,
  config: Config,
  pod: Pod,
  options: string,
  log = '/dev/null',
): Promise<PluginAnswer> {
  const program = `${PLUGINS}/${config.type}`
  const traced = writeDelegate('traced', `exec strace -f -qq -o ${log} ${options} ${program}`)
  return invoke(command, config, pod, { program: `${PLUGINS}/${traced}` })
}
