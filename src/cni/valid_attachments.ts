import { Code, Fault } from '../core/errors.ts'
import type { NetworkConfig } from './schema.ts'

const KEY = 'cni.dev/valid-attachments'
/** The name of the key before the specification was final. libcni sends both. */
const OLD_KEY = 'cni.dev/attachments'

/** The attachments that GC must leave alone. */
export type ValidAttachments = {
  readonly all: readonly { readonly containerId: string; readonly ifName: string }[]
  /** Without an interface (a lease of an old host-local names none) the container alone decides. */
  has(containerId: string, ifName?: string): boolean
}

/**
 * Returns the attachments that GC must leave alone; null and [] both mean none. Throws a Fault (code 7) if the key is
 * absent: an empty list instead would remove the network of every running pod.
 */
export function validAttachments(config: NetworkConfig): ValidAttachments {
  const attachments = config[KEY] === undefined ? config[OLD_KEY] : config[KEY]
  if (attachments === undefined) {
    throw new Fault(`key "${KEY}" is missing: nothing was removed`, {
      code: Code.invalidConfig,
      hint: 'Call GC with the list of the attachments that are still valid, or [] for none.',
    })
  }
  const all = (attachments ?? []).map(({ containerID, ifname }) => ({
    containerId: containerID,
    ifName: ifname,
  }))
  const containers = new Set(all.map(({ containerId }) => containerId))
  const both = new Set(all.map(({ containerId, ifName }) => `${containerId}\0${ifName}`))
  return {
    all,
    has: (containerId, ifName) =>
      ifName === undefined ? containers.has(containerId) : both.has(`${containerId}\0${ifName}`),
  }
}
