import type { UndoStack } from '../core/undo.ts'
import type { Kernel, Link } from '../kernel/kernel.ts'
import { checkMac, joinBridge, masquerade } from './attach.ts'
import { type ReadyBridge, withBridge } from './bridge.ts'
import { leaveBridge } from './detach.ts'
import { ensureForwarding } from './forwarding.ts'
import type { Others } from './others.ts'
import { planPod } from './plan.ts'
import type { BridgeSpec, PodSpec } from './spec.ts'

export type ChainedSpec = PodSpec & { readonly bridge: BridgeSpec }

/**
 * Connects the host's end of a pod's link to the bridge of the spec, with all that the bridge does for its pods. The
 * pod itself is not touched.
 */
export function attachChained(
  kernel: Kernel,
  spec: ChainedSpec,
  port: Link,
  others: Others,
  undo: UndoStack,
): ReadyBridge {
  const host = kernel.host()
  if (spec.bridge.checkMac) checkMac(kernel, spec, undo)
  const wanted = { spec: spec.bridge, plan: planPod(spec), mtu: () => spec.mtu }
  const ready = withBridge(host, wanted, others, undo, (there) => {
    if (port.master === undefined) undo.push(() => leaveBridge(host, port.index, spec.bridge.name))
    joinBridge(host, spec.bridge, there.bridge, port)
    return there
  })
  if (spec.masquerade && spec.ips.length > 0) masquerade(kernel, spec, others, undo)
  ensureForwarding(host, spec, others, undo)
  return ready
}
