import { isAliasOfNetwork, ownerOfAlias } from '../attachment/alias.ts'
import { removeLink } from '../attachment/detach.ts'
import { isDerivedName, isNamedByAlias } from '../attachment/identity.ts'
import { isNewer, recordIn, type StoredRecord, soundRecords } from '../attachment/store.ts'
import { throwCollected } from '../attachment/teardown.ts'
import type { ValidAttachments } from '../cni/valid_attachments.ts'
import { collectFaults } from '../core/errors.ts'
import { deriveNames, hostIfNameOf } from '../core/names.ts'
import type { Link } from '../kernel/kernel.ts'
import type { Ports } from './ports.ts'

const HOST_IF_NAME = /^veth([0-9a-f]{11})$/

type OrphanPorts = Pick<Ports, 'kernel' | 'store' | 'locks' | 'pools'>

/**
 * What GC finds of a network without a sound record: of a store that was lost or damaged, or of another program. Each
 * orphan is removed only when no valid attachment can have made it, and nobody works on what it belongs to. Each method
 * goes on after a failure, then throws one Fault.
 */
export class Orphans {
  readonly #ports: OrphanPorts
  readonly #network: string
  readonly #valid: ValidAttachments

  constructor(ports: OrphanPorts, network: string, valid: ValidAttachments) {
    this.#ports = ports
    this.#network = network
    this.#valid = valid
  }

  /**
   * Removes records that can't be read, and the link that their key leads to. Leases and elements are orphans from then on.
   * Those of a later release stay: only that release can undo what they name.
   */
  removeDamaged(): void {
    const { kernel, store, locks } = this.#ports
    const host = kernel.host()
    const validKeys = new Set(this.#validNames().map(({ key }) => key))
    const damaged = store
      .readFiles(this.#network)
      .filter((stored) => 'damage' in stored && !validKeys.has(stored.key))
    this.#removeEach(damaged, 'damaged records', ({ key }) => {
      const place = { network: this.#network, key }
      locks.whenIdle(key, () => {
        const now = store.readFile(place)
        if (recordIn(now)) return
        // The name of a link may be used again: its alias must lead to the same key.
        const name = hostIfNameOf(key)
        const link = host.link({ name })
        if (link && this.#givenName(link) === name) removeLink(host, { index: link.index })
        store.remove(place)
      })
    })
  }

  /** Removes host ends that say that they are this network's, by whatever name, and that no record knows. */
  removeLinks(): void {
    const { kernel, store, locks } = this.#ports
    const host = kernel.host()
    const validNames = new Set(this.#validNames().map(({ hostIfName }) => hostIfName))
    const orphans = host.links().flatMap((link) => {
      const given = this.#givenName(link)
      return given === undefined || validNames.has(given) ? [] : [{ given, index: link.index }]
    })
    this.#removeEach(orphans, 'links', ({ given, index }) => {
      locks.whenIdle(HOST_IF_NAME.exec(given)?.[1] ?? '', () => {
        const isKnown = store
          .readFiles(this.#network)
          .some((one) => isKept(one) && hostIfNameOf(one.key) === given)
        if (!isKnown) removeLink(host, { index })
      })
    })
  }

  /**
   * Frees leases that no record names. Reads the records under the pool's lock: an ADD writes its record before its
   * leases, so the record of each lease is there by then.
   */
  freeLeases(dataDir: string | undefined): void {
    const { pools, store } = this.#ports
    pools.hold(this.#network, dataDir, 'release', (pool) => {
      const kept = store.readFiles(this.#network).filter(isKept)
      const keys = new Set(kept.map(({ key }) => key))
      const recorded = soundRecords(kept)
      const isRecorded = (containerId: string, ifName: string | undefined) =>
        ifName === undefined
          ? recorded.some((one) => one.containerId === containerId)
          : keys.has(deriveNames({ network: this.#network, containerId, ifName }).key)
      const orphans = pool
        .owners()
        .filter(
          ({ containerId, ifName }) =>
            !this.#valid.has(containerId, ifName) && !isRecorded(containerId, ifName),
        )
        .map(({ containerId, ifName = '', address }) => ({ owner: { containerId, ifName }, address }))
      this.#removeEach([orphans], 'leases', (all) => pool.releaseEach(all))
    })
  }

  /** Returns the name that this network gave the link, if it is one of its host ends. An alias that was cut counts by its start. */
  #givenName(link: Link): string | undefined {
    const owner = ownerOfAlias(link.alias)
    if (owner) {
      const isOurs = owner.network === this.#network && isNamedByAlias(link, owner)
      return isOurs ? deriveNames(owner).hostIfName : undefined
    }
    return isAliasOfNetwork(link.alias, this.#network) && isDerivedName(link.name) ? link.name : undefined
  }

  #validNames() {
    return this.#valid.all.map((one) => deriveNames({ ...one, network: this.#network }))
  }

  #removeEach<T>(orphans: readonly T[], what: string, remove: (orphan: T) => void): void {
    const faults = collectFaults(orphans.map((orphan) => () => remove(orphan)))
    throwCollected(faults, `${what} of network ${this.#network}`, 'GC')
  }
}

/** Returns whether what a file of the store names is no orphan: that of a later release is that release's to remove. */
function isKept(stored: StoredRecord): boolean {
  return 'record' in stored || isNewer(stored)
}
