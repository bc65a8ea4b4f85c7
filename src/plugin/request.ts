import type { AttachmentRecord } from '../attachment/record.ts'
import { type NetworkConfig, readableText } from '../cni/config.ts'
import { callDelegate, type PluginRunner } from '../cni/delegate.ts'
import type { Invocation } from '../cni/environment.ts'
import type { CniResult } from '../cni/result.ts'
import type { AttachmentId } from '../core/names.ts'

/** One call of the plugin, decoded. */
export type Request = {
  readonly invocation: Invocation
  readonly config: NetworkConfig
  /** The configuration as it came, for plugins that we delegate to. */
  readonly stdin: string
  /** The whole environment, for the same. */
  readonly env: Readonly<Record<string, string>>
  /** Hands the result of an ADD to the runtime. Throws a Fault if it cannot, so call it while all can still be undone. */
  readonly deliver: (result: CniResult) => void
  /** Decides, under the lock of an attachment, whether GC may tear it down. Absent: every one that is not valid. */
  readonly mayRemove?: ((record: AttachmentRecord) => boolean) | undefined
}

/** The IPAM plugin type that is answered in this process. */
export const OWN_IPAM = 'bowline-ipam'

export function attachmentIdOf({ invocation, config }: Request): AttachmentId {
  return { network: config.name, containerId: invocation.containerId, ifName: invocation.ifName }
}

/** Returns the type of the IPAM plugin, if it is another program. */
export function delegateOf({ ipam }: NetworkConfig): string | undefined {
  return ipam?.type && ipam.type !== OWN_IPAM ? ipam.type : undefined
}

/**
 * Runs the delegated IPAM plugin with our environment and configuration, and returns what it printed. A removal must
 * not fail there either for what is too large or too deep: Go reads 10,000 levels.
 */
export function runDelegate(request: Request, plugins: PluginRunner, type: string, command: string): string {
  const isRemoval = command === 'DEL' || command === 'GC'
  const stdin = isRemoval ? readableText(request.stdin) : request.stdin
  return callDelegate(plugins, { type, command, env: request.env, stdin })
}

/**
 * Lets another IPAM plugin free what it holds for a recorded attachment, whichever attachment the call is about. No
 * reference plugin answers GC, and a second ADD is an error to them: each gets a DEL (specification, section 4).
 */
export function releaseDelegated(request: Request, plugins: PluginRunner, record: AttachmentRecord): void {
  const { delegate, containerId, ifName } = record
  if (!delegate) return
  const env = { ...request.env, CNI_CONTAINERID: containerId, CNI_IFNAME: ifName, CNI_NETNS: '' }
  runDelegate({ ...request, env }, plugins, delegate, 'DEL')
}
