import type { Attachment } from '../../ipam/attachments.ts'
import type { Owner } from '../../ipam/leases.ts'
import { type Lease, openPool, type Pool } from '../../ipam/pool.ts'
import { type PoolStats, poolStats } from '../../ipam/pool_stats.ts'
import type { RangeSet } from '../../ipam/range_set.ts'
import type { PoolPlace } from '../../ipam/reconcile.ts'
import { type Locks, openLocks } from '../../src/attachment/locks.ts'
import { poolAttachments } from '../../src/attachment/pool_attachments.ts'
import type { AttachmentRecord } from '../../src/attachment/record.ts'
import { type AttachmentStore, openStore } from '../../src/attachment/store.ts'
import { formatAddress, parseAddress } from '../../src/core/address.ts'
import type { Files } from '../../src/core/files.ts'
import type { AttachmentId } from '../../src/core/names.ts'
import { UndoStack } from '../../src/core/undo.ts'
import type { Kernel } from '../../src/kernel/kernel.ts'
import { createFakeFiles, type FakeFiles, Killed } from '../fakes/files.ts'
import { plannedRanges, type RangeJson } from './planned_ranges.ts'

export const DATA_DIR = '/data'
export const RECORDS_DIR = '/records'
export const NETWORK = 'net'

/** A node with one network, on which addresses come and go in the order that ADD and DEL keep to. */
export class AddressNode {
  readonly files: FakeFiles = createFakeFiles()
  readonly records: AttachmentStore
  readonly locks: Locks
  readonly sets: RangeSet[]
  bootId = 'boot-1'
  /** Whether the pod of an attachment of this boot is gone for certain. */
  isDead: (owner: Owner) => boolean = () => false
  /** What is removed from the kernel when an attachment of this boot is reclaimed. */
  clear: (owner: Owner) => void = () => {}

  /** `ranges` as in the configuration; a text is short for a set with that one subnet. */
  constructor(...ranges: (string | RangeJson[])[]) {
    this.records = openStore(this.files, RECORDS_DIR)
    this.locks = openLocks(this.files, RECORDS_DIR, 0)
    this.sets = plannedRanges({
      ranges: ranges.map((one) => (typeof one === 'string' ? [{ subnet: one }] : one)),
    })
  }

  /** Does to the addresses what ADD does, and returns them. */
  add(
    containerId: string,
    { ifName = 'eth0', ips = [] }: { ifName?: string; ips?: string[] } = {},
  ): string[] {
    const id = idOf(containerId, ifName)
    return this.locks.withAttachment(id, () => {
      const before = this.records.read(id)
      if (before) this.#release(before)
      return this.#addLocked(id, ips)
    })
  }

  /** Does to the addresses what DEL does. True if it was the last attachment of the network. */
  del(containerId: string, ifName = 'eth0'): boolean {
    const id = idOf(containerId, ifName)
    return this.locks.withAttachment(id, () => {
      const record = this.records.read(id)
      if (record) this.#release(record)
      else this.withPool((pool) => pool.releaseAll(id))
      return this.records.remove(id)
    })
  }

  withPool<T>(work: (pool: Pool) => T): T {
    const pool = openPool(this.files, { ...this.place(), lockTimeoutMs: 0 })
    try {
      return work(pool)
    } finally {
      pool.close()
    }
  }

  stats(): PoolStats[] {
    return poolStats(this.files, this.place(), this.sets)
  }

  /** The texts of the lease files by address, empty ones too. */
  leases(): Record<string, string> {
    const dump = Object.entries(this.files.dump())
    const prefix = `${DATA_DIR}/${NETWORK}/`
    const isLease = (path: string) =>
      path.startsWith(prefix) && /^[0-9a-f]*[.:]/.test(path.slice(prefix.length))
    return Object.fromEntries(
      dump.flatMap(([path, text]) => (isLease(path) ? [[path.slice(prefix.length), text]] : [])),
    )
  }

  /** Puts a file in the network's directory the way that host-local would. */
  plant(name: string, text: string): void {
    plantFile(this.files, `${DATA_DIR}/${NETWORK}/${name}`, text)
  }

  /** All processes die, every namespace is gone, and the machine has a new boot id. */
  reboot(bootId: string): void {
    this.files.revive()
    this.bootId = bootId
  }

  #addLocked(id: AttachmentId, ips: readonly string[]): string[] {
    const undo = new UndoStack()
    try {
      const record = this.withPool((pool) => this.#acquire(pool, id, ips, undo))
      this.records.complete(record)
      return [...(record.leases?.addresses ?? [])]
    } catch (error) {
      undo.unwind()
      throw error
    }
  }

  #acquire(pool: Pool, id: AttachmentId, ips: readonly string[], undo: UndoStack): AttachmentRecord {
    const leases = pool.choose(this.sets, ips.map(parseAddress))
    const record: AttachmentRecord = {
      ...id,
      version: 1,
      bootId: this.bootId,
      complete: false,
      leases: { dataDir: DATA_DIR, addresses: textsOf(leases) },
    }
    undo.push(() => void this.records.remove(record))
    this.records.write(record)
    pool.take(id, leases)
    undo.push(() => this.#release(record))
    return record
  }

  #release(record: AttachmentRecord): void {
    const addresses = (record.leases?.addresses ?? []).map(parseAddress)
    this.withPool((pool) => pool.release(record, addresses))
  }

  /** What the pool of a network is opened with. */
  place(network = NETWORK): PoolPlace {
    const { bootId, records: store, locks } = this
    const kernel = { bootId: () => bootId } as unknown as Kernel
    const attachments = poolAttachments({ kernel, store, locks, features: [] }, network)
    return {
      dataDir: DATA_DIR,
      network,
      bootId,
      attachments: {
        ...attachments,
        isDead: (one) => this.isDead(one),
        reclaim: (one, free) => this.#reclaim(one, free),
      },
    }
  }

  /** As the product does, but for the kernel, which this node does not have. */
  #reclaim(attachment: Attachment, freeLeases: () => void): void {
    if (attachment.bootId === this.bootId) this.clear(attachment)
    freeLeases()
    this.records.remove(attachment as AttachmentRecord)
  }
}

export function idOf(containerId: string, ifName = 'eth0'): AttachmentId {
  return { network: NETWORK, containerId, ifName }
}

export function plantFile(files: Files, path: string, text: string): void {
  files.ensureDirectory(path.slice(0, path.lastIndexOf('/')))
  files.replace(path, text)
}

function textsOf(leases: readonly Lease[]): string[] {
  return leases.map(({ address }) => formatAddress(address.address))
}

/** Whether the process was killed: a step that collects faults has the kill for their cause. */
export function isKill(error: unknown): boolean {
  return error instanceof Error && (error instanceof Killed || isKill(error.cause))
}
