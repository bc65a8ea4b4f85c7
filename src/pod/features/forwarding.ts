import type { Family } from '../../core/address.ts'
import { Code, Fault } from '../../core/errors.ts'
import { isSameAttachment } from '../../core/names.ts'
import { type Sysctl, sysctlName } from '../../core/shell.ts'
import type { UndoStack } from '../../core/undo.ts'
import type { Link, Netns } from '../../kernel/kernel.ts'
import type { Place } from '../../state/desired.ts'
import { type Difference, sysctlStep } from '../../state/explain.ts'
import { diagnoseFirewall } from '../diagnose_firewall.ts'
import { noIpv6 } from '../ipv6.ts'
import { acceptRaKey, advertisementListeners } from '../router_advertisements.ts'
import { forwardedFamilies, needsForwarding, type PodSpec } from '../spec.ts'
import { isWritable, restoreSysctl, writingSysctls } from '../sysctls.ts'
import { type Uplink, uplinksOf } from '../uplink.ts'
import type { NodePorts, PodFeature } from './feature.ts'

/** The node's own switch of forwarding. DEL leaves it on: other programs may rely on it by then. */
const FORWARDING = { 4: 'ipv4/ip_forward', 6: 'ipv6/conf/all/forwarding' }

/** Lets the node forward what pods send, as far as it must. CHECK also names filters of other programs that stop it. */
export function forwarding({ kernel, store }: NodePorts): PodFeature {
  return {
    beforeLink(spec, undo) {
      // A record without a mode is of addresses only, for a plugin that makes its own interface.
      const isOnlyPod = (): boolean =>
        store.list().every((record) => isSameAttachment(record, spec.id) || !record.mode)
      ensureForwarding(kernel.host(), forwardedFamilies(spec), isOnlyPod, undo)
    },
    diagnose(spec, onHost, entry) {
      const uplinks = forwardedFamilies(spec).length > 0 ? uplinksOf(onHost.netns, spec) : []
      return [
        ...findDisabled(onHost, spec, entry?.name, uplinks),
        ...diagnoseFirewall(kernel, spec, entry, uplinks),
      ]
    },
    precheck(config, families) {
      if (needsForwarding(config)) assertForwardable(kernel.host(), families)
    },
  }
}

/** An ADD that has turned this on and fails later turns it off again, unless another pod is there, which may rely on it. */
function ensureForwarding(
  host: Netns,
  forwarded: readonly Family[],
  isOnlyPod: () => boolean,
  undo: UndoStack,
): void {
  const families = forwarded.filter((family) => !forwards(host, family))
  if (families.length === 0) return
  const settings = families.flatMap((family) => forwardingSettings(host, family))
  const before = families.flatMap((family) => settingsBefore(host, family, settings))
  undo.push(() => {
    if (isOnlyPod()) for (const [key, value] of before) restoreSysctl(host, key, value)
  })
  writeForwarding(families, settings, () => {
    for (const [key, value] of settings) host.writeSysctl(key, value)
  })
}

/** Returns whether the node forwards a family. Throws a Fault on a node that can't. */
function forwards(host: Netns, family: Family): boolean {
  const value = host.readSysctl(FORWARDING[family])
  if (value !== undefined) return value !== '0'
  if (family === 6) throw noIpv6(Number.POSITIVE_INFINITY)
  throw new Fault(`${sysctlName(FORWARDING[family])} is missing`, {
    code: Code.io,
    hint: 'Mount /proc for the container runtime.',
  })
}

/**
 * Returns the settings that make the node forward a family, in the order of writing. The node must not lose what it has by
 * router advertisements: links with routes or addresses from them go on believing them where the node forwards.
 */
function forwardingSettings(host: Netns, family: Family): Sysctl[] {
  const listeners = family === 6 ? advertisementListeners(host) : []
  return [...listeners.map(({ name }): Sysctl => [acceptRaKey(name), '2']), [FORWARDING[family], '1']]
}

/** Throws a Fault if forwarding of one of these families is off and can't be switched on. */
function assertForwardable(host: Netns, families: readonly Family[]): void {
  const off = families.filter((family) => !forwards(host, family))
  const fixed = off.find((family) => !isWritable(host, FORWARDING[family]))
  if (fixed === undefined) return
  const settings = off.flatMap((family) => forwardingSettings(host, family))
  writeForwarding(off, settings, () => host.probeSysctl(FORWARDING[fixed]))
}

function writeForwarding(families: readonly Family[], settings: readonly Sysctl[], work: () => void): void {
  const names = families.map((family) => `IPv${family}`).join(' and ')
  writingSysctls(`let the node forward ${names}`, 'on the node', settings, work)
}

/**
 * Returns the values of all that the settings change, in the order of restoring. The node's switch sets that of every link
 * and of new links, and in family 4 `accept_redirects`. `accept_ra` comes last: it is needed until the node forwards no more.
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

/**
 * Finds the switches that are off. Family 4 asks the link that a packet comes in by, whose switch follows the node's unless it
 * was set: the pod's for what it sends, and the uplink's for the answers.
 */
function findDisabled(
  place: Place,
  spec: PodSpec,
  entry: string | undefined,
  uplinks: readonly Uplink[],
): Difference[] {
  const host = place.netns
  const isOff = (key: string): boolean => host.readSysctl(key) === '0'
  const names = uplinks.filter(({ route }) => route.dst.address.family === 4).map(({ link }) => link.name)
  const links = [...new Set([...(entry === undefined ? [] : [entry]), ...names])]
  return forwardedFamilies(spec).flatMap((family): Difference[] => {
    const what = `the node does not forward IPv${family}`
    if (isOff(FORWARDING[family])) {
      return [{ what, steps: [sysctlStep(place, ...forwardingSettings(host, family))] }]
    }
    return (family === 4 ? links : []).flatMap((name) => {
      const key = `ipv4/conf/${name}/forwarding`
      return isOff(key) ? [{ what: `${what} from ${name}`, steps: [sysctlStep(place, [key, '1'])] }] : []
    })
  })
}
