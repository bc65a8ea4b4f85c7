import type { Family } from '../core/address.ts'
import { Code, Fault } from '../core/errors.ts'
import { type Sysctl, sysctlName } from '../core/shell.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { noIpv6 } from './ipv6.ts'
import type { NodeState } from './node_state.ts'
import { acceptRaKey, advertisementListeners } from './router_advertisements.ts'
import { familiesOf, type PodSpec } from './spec.ts'
import { isWritable, restoreSysctl, writingSysctls } from './sysctls.ts'

/** What switches forwarding on for the whole node. */
export const FORWARDING = { 4: 'ipv4/ip_forward', 6: 'ipv6/conf/all/forwarding' }

/**
 * Lets the node forward what the pod sends, as far as it has to. An ADD that turned this on and fails later turns it off
 * again, unless there is another pod by then, which may rely on it. DEL leaves it: it is the node's.
 */
export function ensureForwarding(host: Netns, spec: PodSpec, others: NodeState, undo: UndoStack): void {
  const families = forwardedFamilies(spec).filter((family) => !forwards(host, family))
  if (families.length === 0) return
  const settings = families.flatMap((family) => forwardingSettings(host, family))
  const before = families.flatMap((family) => settingsBefore(host, family, settings))
  undo.push(() => {
    if (others.isOnlyPod()) for (const [key, value] of before) restoreSysctl(host, key, value)
  })
  forwarding(families, settings, () => {
    for (const [key, value] of settings) host.writeSysctl(key, value)
  })
}

/** Returns the families that the node must forward for this pod. */
export function forwardedFamilies(spec: PodSpec): Family[] {
  return spec.mode === 'l3' || spec.bridge?.isGateway || spec.masquerade ? familiesOf(spec.ips) : []
}

/** Whether the node forwards a family. Throws a Fault on a node that can't. */
export function forwards(host: Netns, family: Family): boolean {
  const value = host.readSysctl(FORWARDING[family])
  if (value !== undefined) return value !== '0'
  if (family === 6) throw noIpv6(Number.POSITIVE_INFINITY)
  throw new Fault(`${sysctlName(FORWARDING[family])} is missing`, {
    code: Code.io,
    hint: 'Mount /proc for the container runtime.',
  })
}

/**
 * Returns the settings that make the node forward a family, in the order of writing. What the node itself has by router
 * advertisements it must not lose: links that live by them believe them also where the node forwards.
 */
export function forwardingSettings(host: Netns, family: Family): Sysctl[] {
  const listeners = family === 6 ? advertisementListeners(host) : []
  return [...listeners.map(({ name }): Sysctl => [acceptRaKey(name), '2']), [FORWARDING[family], '1']]
}

/** Throws a Fault when forwarding of one of these is off and can't be switched on. */
export function assertForwardable(host: Netns, families: readonly Family[]): void {
  const off = families.filter((family) => !forwards(host, family))
  const fixed = off.find((family) => !isWritable(host, FORWARDING[family]))
  if (fixed === undefined) return
  const settings = off.flatMap((family) => forwardingSettings(host, family))
  forwarding(off, settings, () => host.probeSysctl(FORWARDING[fixed]))
}

function forwarding(families: readonly Family[], settings: readonly Sysctl[], work: () => void): void {
  const names = families.map((family) => `IPv${family}`).join(' and ')
  writingSysctls(`let the node forward ${names}`, 'on the node', settings, work)
}

/**
 * Returns the values that the settings change, in the order of restoring. The switch of the node sets that of every link and of new links,
 * and in family 4 `accept_redirects`; links that believe advertisements do so until the node forwards no more.
 */
function settingsBefore(host: Netns, family: Family, settings: readonly Sysctl[]): Sysctl[] {
  const keys = [
    FORWARDING[family],
    ...(family === 4 ? ['ipv4/conf/all/accept_redirects'] : []),
    ...['default', ...host.links().map(({ name }: Link) => name)].map(
      (name) => `ipv${family}/conf/${name}/forwarding`,
    ),
    ...settings
      .map(([key]) => key)
      .filter((key) => key.startsWith(`ipv${family}/`) && key !== FORWARDING[family]),
  ]
  return keys.flatMap((key): Sysctl[] => {
    const value = host.readSysctl(key)
    return value === undefined ? [] : [[key, value]]
  })
}
