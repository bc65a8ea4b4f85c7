import { isAliasOfNetwork, ownerOfAlias } from '../attachment/alias.ts'
import { removeLink } from '../attachment/detach.ts'
import { isDerivedName, isNamedByAlias } from '../attachment/identity.ts'
import type { ValidAttachments } from '../cni/valid_attachments.ts'
import { collectFaults, type Fault } from '../core/errors.ts'
import { deriveNames, hostIfNameOf } from '../core/names.ts'
import type { Link, Netns } from '../kernel/kernel.ts'
import { listMacChecks, removeMacCheck } from '../pod/mac_check.ts'
import { withPool } from './addresses.ts'
import { removeMasquerade } from './masquerading.ts'
import type { Ports } from './ports.ts'
import { recordsOf, soundRecord } from './records.ts'
import type { Request } from './request.ts'
import { throwCollected } from './teardown.ts'

/*
 * What GC finds without a sound record: of a store that was lost or damaged, or of another program. Each is only taken
 * when no valid attachment can have made it, and nobody is at work on what it belongs to.
 */

const HOST_IF_NAME = /^veth([0-9a-f]{11})$/

/** Records that can't be read, with the link that their key leads to. Leases and elements are strays from then on. */
export function removeDamaged(ports: Ports, network: string, valid: ValidAttachments): Fault[] {
  const records = recordsOf(ports)
  const validKeys = new Set(valid.all.map((one) => deriveNames({ ...one, network }).key))
  const keys = records.listDamaged(network).filter((key) => !validKeys.has(key))
  return collectFaults(
    keys.map((key) => () => {
      whenIdle(ports, key, () => {
        const now = records.readKey(network, key)
        if (!now || 'record' in now) return
        removeHostEndOf(ports.kernel.host(), network, key)
        records.removeDamaged(network, key)
      })
    }),
  )
}

/** The name of a link may be used again: its alias must lead to the same key. */
function removeHostEndOf(host: Netns, network: string, key: string): void {
  const name = hostIfNameOf(key)
  const link = host.link({ name })
  if (link && givenNameOf(link, network) === name) removeLink(host, { index: link.index })
}

/** Host interfaces that say that they are this network's, by whatever name, and that no record knows. */
export function removeStrayLinks(ports: Ports, network: string, valid: ValidAttachments): void {
  const host = ports.kernel.host()
  const validNames = new Set(valid.all.map((one) => deriveNames({ ...one, network }).hostIfName))
  const strays = host.links().flatMap((link) => {
    const given = givenNameOf(link, network)
    return given === undefined || validNames.has(given) ? [] : [{ given, index: link.index }]
  })
  const faults = collectFaults(
    strays.map(({ given, index }) => () => {
      whenIdle(ports, HOST_IF_NAME.exec(given)?.[1] ?? '', () => {
        const isKnown = recordsOf(ports)
          .list(network)
          .some((record) => deriveNames(record).hostIfName === given)
        if (!isKnown) removeLink(host, { index })
      })
    }),
  )
  throwCollected(faults, `links of network ${network}`, 'GC')
}

/** The name that this network gave the link, if it is a host end of its; an alias that was cut is taken by its beginning. */
function givenNameOf(link: Link, network: string): string | undefined {
  const owner = ownerOfAlias(link.alias)
  if (owner) {
    return owner.network === network && isNamedByAlias(link, owner)
      ? deriveNames(owner).hostIfName
      : undefined
  }
  return isAliasOfNetwork(link.alias, network) && isDerivedName(link.name) ? link.name : undefined
}

/**
 * Leases that no record names. The records are read under the pool's lock: an ADD writes its record before its leases,
 * so none that has a lease by then can be missed.
 */
export function freeStrayLeases({ config }: Request, ports: Ports, valid: ValidAttachments): void {
  const network = config.name
  withPool(ports, network, config.ipam?.dataDir, (pool) => {
    const recorded = recordsOf(ports).list(network)
    const isRecorded = (containerId: string, ifName: string | undefined) =>
      recorded.some(
        (one) => one.containerId === containerId && (ifName === undefined || one.ifName === ifName),
      )
    const strays = pool
      .owners()
      .filter(
        ({ containerId, ifName }) => !valid.has(containerId, ifName) && !isRecorded(containerId, ifName),
      )
    const leases = strays.map(({ containerId, ifName = '', address }) => ({
      owner: { containerId, ifName },
      address,
    }))
    const faults = collectFaults([() => pool.releaseEach(leases)])
    throwCollected(faults, `leases of network ${network}`, 'GC')
  })
}

/**
 * Masquerading that no record names. Left as it is where a valid attachment has no record: its subnet is not known.
 */
export function removeStrayMasquerade(ports: Ports, network: string, valid: ValidAttachments): void {
  if (valid.all.every((one) => soundRecord(ports, { ...one, network }))) removeMasquerade(ports, network)
}

/**
 * Checks of hardware addresses that no record of any network knows (whose they are they do not say), and whose link is
 * gone: for as long as it is there, its pod could send unchecked.
 */
export function removeStrayMacChecks(ports: Ports): void {
  const { kernel } = ports
  const checks = listMacChecks(kernel)
  // Read after that: an ADD writes its record first.
  const known = keysOf(ports)
  const strays = checks.filter(
    ({ key, hostIfName }) => !known.has(key) && kernel.host().link({ name: hostIfName }) === undefined,
  )
  const faults = collectFaults(
    strays.map((names) => () => {
      whenIdle(ports, names.key, () => keysOf(ports).has(names.key) || removeMacCheck(kernel, names))
    }),
  )
  throwCollected(faults, 'checks of hardware addresses', 'GC')
}

/** The keys of all records of this node, damaged ones too. */
function keysOf(ports: Ports): Set<string> {
  const records = recordsOf(ports)
  return new Set(records.networks().flatMap((name) => records.readAll(name).map(({ key }) => key)))
}

/** Runs `work` under the lock that belongs to a key. Not at all while somebody holds it. */
function whenIdle(ports: Ports, key: string, work: () => unknown): void {
  const lock = recordsOf(ports).tryLockKey(key)
  if (!lock) return
  try {
    work()
  } finally {
    lock.release()
  }
}
