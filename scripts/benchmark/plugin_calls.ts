import type { PluginOutput } from '../../test/support/plugin.ts'
import type { Netns } from '../../test/support/sandbox.ts'
import type { NetworkShape, Subject } from './networks.ts'
import type { Node } from './nodes.ts'
import { type Ended, type Program, runProgram } from './processes.ts'

/** A network of one subject on one node. */
export type Network = {
  readonly subject: Subject
  readonly node: Node
  /** The name that leases and records are kept under. */
  readonly name: string
  readonly shape: NetworkShape
}

/** A pod that is on a network. */
export type Added = {
  readonly pod: Netns
  readonly containerId: string
  /** What ADD answered; DEL gets it back, as from a runtime. */
  readonly prevResult: PluginOutput
}

export type Verb = 'ADD' | 'DEL' | 'VERSION'

const CNI_VERSION = '1.0.0'
const ENVIRONMENT = { PATH: process.env['PATH'] ?? '/usr/sbin:/usr/bin:/sbin:/bin' }

let serial = 0

/** Attaches the pod under a container id that was not there before. */
export function addPod(network: Network, pod: Netns): { readonly ended: Ended; readonly added: Added } {
  const containerId = nextContainerId()
  const { output, ...ended } = call(network, 'ADD', { containerId, pod })
  return { ended, added: { containerId, pod, prevResult: output } }
}

/** Detaches a pod. */
export function deletePod(network: Network, added: Added): Ended {
  return call(network, 'DEL', added)
}

/** Calls the plugin on its node, and waits for its end. Throws with its answer when it fails. */
export function call(
  network: Network,
  verb: Verb,
  pod?: Partial<Added>,
): Ended & { readonly output: PluginOutput } {
  const program = callOf(network, verb, pod)
  const ended = network.node.enter(() => runProgram(program))
  return { ...ended, output: checkedOutput(network, verb, ended) }
}

/** The call as a runtime makes it. */
export function callOf({ subject, name, shape }: Network, verb: Verb, pod: Partial<Added> = {}): Program {
  const { containerId = '', prevResult } = pod
  const config = {
    cniVersion: CNI_VERSION,
    name,
    ...subject.configOf(shape),
    ...(prevResult && { prevResult }),
  }
  const env = {
    ...ENVIRONMENT,
    CNI_COMMAND: verb,
    CNI_CONTAINERID: containerId,
    CNI_NETNS: pod.pod?.path ?? '',
    CNI_IFNAME: 'eth0',
    CNI_ARGS: '',
    CNI_PATH: subject.cniPath,
  }
  return { path: subject.program, env, input: JSON.stringify(config) }
}

/** A container id as runtimes make them: 64 hex digits. */
export function nextContainerId(): string {
  serial += 1
  return serial.toString(16).padStart(64, 'c')
}

/** What a call has answered. Throws when it has failed: a failed call would be a fast one. */
export function checkedOutput({ subject, name }: Network, verb: Verb, ended: Ended): PluginOutput {
  const { exitCode, stdout, stderr } = ended
  if (exitCode === 0) return JSON.parse(stdout.trim() || '{}') as PluginOutput
  throw new Error(
    `${subject.name}: ${verb} on network ${name} failed with exit code ${exitCode}: ${stdout.trim()} ${stderr.trim()}`,
  )
}
