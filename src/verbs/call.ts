import type { NetworkConfig } from '../cni/config.ts'
import { callDelegate } from '../cni/delegate.ts'
import type { Invocation } from '../cni/environment.ts'
import type { AttachmentId } from '../core/names.ts'
import type { Ports } from './ports.ts'

/** One call of the plugin, decoded. */
export type Call = {
  readonly invocation: Invocation
  readonly config: NetworkConfig
  /** The configuration as it came, for plugins that we delegate to. */
  readonly stdin: string
  /** The whole environment, for the same. */
  readonly env: Readonly<Record<string, string>>
}

/** The IPAM plugin type that is answered in this process. */
export const OWN_IPAM = 'bowline-ipam'

export function attachmentIdOf({ invocation, config }: Call): AttachmentId {
  return { network: config.name, containerId: invocation.containerId, ifName: invocation.ifName }
}

/** The type of the IPAM plugin that is another program, or undefined. */
export function delegateOf({ ipam }: NetworkConfig): string | undefined {
  return ipam?.type && ipam.type !== OWN_IPAM ? ipam.type : undefined
}

/** Runs the delegated IPAM plugin with our environment and configuration, and returns what it printed. */
export function runDelegate(call: Call, ports: Ports, type: string, command: string): string {
  return callDelegate(ports.plugins, { type, command, env: call.env, stdin: call.stdin })
}
