import type { Family } from '../core/address.ts'
import { during } from '../core/errors.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Netns } from '../kernel/kernel.ts'
import type { Others } from './others.ts'
import { familiesOf, type PodSpec } from './spec.ts'

/** What switches forwarding on for the whole node. */
export const FORWARDING = { 4: 'ipv4/ip_forward', 6: 'ipv6/conf/all/forwarding' }

/**
 * Lets the node forward what the pod sends, as far as it has to. An ADD that turned this on and fails later turns it off
 * again, unless there is another pod by then, which may rely on it. DEL leaves it: it is the node's.
 */
export function ensureForwarding(host: Netns, spec: PodSpec, others: Others, undo: UndoStack): void {
  for (const family of forwardedFamilies(spec)) {
    const key = FORWARDING[family]
    const before = host.readSysctl(key)
    if (before === '1') continue
    undo.push(() => before !== undefined && others.isOnlyPod() && host.writeSysctl(key, before))
    during(`let the node forward IPv${family}`, () => host.writeSysctl(key, '1'))
  }
}

/** The families that the node must forward for this pod. */
export function forwardedFamilies(spec: PodSpec): Family[] {
  return spec.mode === 'l3' || spec.bridge?.isGateway || spec.masquerade ? familiesOf(spec.ips) : []
}
