import { Code, Fault } from '../core/errors.ts'
import type { NetworkConfig } from './schema.ts'

const KEY = 'cni.dev/valid-attachments'

/**
 * The attachments that GC must leave alone; null and [] both mean that none is valid. Throws a Fault (code 7) if the
 * key is absent or was not readable: to take that for an empty list would remove every live pod's network.
 */
export function validAttachments(config: NetworkConfig): { containerId: string; ifName: string }[] {
  const attachments = config[KEY]
  if (attachments === undefined) {
    throw new Fault(`key "${KEY}" is missing or invalid: nothing was removed`, {
      code: Code.invalidConfig,
      cure: 'Call GC with the list of the attachments that are still valid, or [] for none.',
    })
  }
  return (attachments ?? []).map(({ containerID, ifname }) => ({ containerId: containerID, ifName: ifname }))
}
