import type { LeaseOwner } from '../../ipam/leases.ts'
import { openPool, type Pool } from '../../ipam/pool.ts'
import { type PoolView, viewPool } from '../../ipam/pool_view.ts'
import type { PoolPlace } from '../../ipam/reconcile.ts'
import { LOCK_TIMEOUT_MS, type Locks } from '../attachment/locks.ts'
import { poolAttachments } from '../attachment/pool_attachments.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import type { AttachmentPorts } from '../attachment/teardown.ts'
import { type Address, parseAddress } from '../core/address.ts'
import type { Files } from '../core/files.ts'
import type { AttachmentId } from '../core/names.ts'

/** The address pools of the node's networks. */
export class Pools {
  readonly #files: Files
  readonly #ports: AttachmentPorts & { readonly locks: Locks }
  readonly #defaultDir: string

  /** `defaultDir` is where the leases are when the key `ipam.dataDir` says nothing. */
  constructor(files: Files, ports: AttachmentPorts & { readonly locks: Locks }, defaultDir: string) {
    this.#files = files
    this.#ports = ports
    this.#defaultDir = defaultDir
  }

  /** Returns where the leases of all networks with this `ipam.dataDir` are. Here and below, undefined means the default. */
  dirOf(dataDir: string | undefined): string {
    return dataDir ?? this.#defaultDir
  }

  /** Returns what a network's pool works on. */
  place(network: string, dataDir: string | undefined): PoolPlace {
    return {
      dataDir: this.dirOf(dataDir),
      network,
      bootId: this.#ports.kernel.bootId(),
      attachments: poolAttachments(this.#ports, network),
    }
  }

  /** Runs `work` with the lock of a network's pool. To lease, the network's directory is made if it is missing. */
  hold<T>(
    network: string,
    dataDir: string | undefined,
    purpose: 'lease' | 'release',
    work: (pool: Pool) => T,
  ): T {
    const place = this.place(network, dataDir)
    const pool = openPool(this.#files, { ...place, lockTimeoutMs: LOCK_TIMEOUT_MS, purpose })
    try {
      return work(pool)
    } finally {
      pool.close()
    }
  }

  /** Returns a network's pool to look at, without its lock. */
  view(network: string, dataDir: string | undefined): PoolView {
    return viewPool(this.#files, { network, dataDir: this.dirOf(dataDir) })
  }

  /** Returns what looks up who has an address in a network's pool, for pools that are all below one `dataDir`. */
  ownersIn(dataDir: string | undefined): (network: string, address: Address) => LeaseOwner | undefined {
    return (network, address) => this.view(network, dataDir).ownerOf(address)
  }

  /** Frees the addresses that a record names, as far as its attachment still holds them. */
  release(record: AttachmentRecord): void {
    const { leases, network } = record
    if (!leases || leases.addresses.length === 0) return
    this.hold(network, leases.dataDir, 'release', (pool) =>
      pool.release(record, leases.addresses.map(parseAddress)),
    )
  }

  /** Frees all addresses of an attachment without a sound record. */
  releaseAll(id: AttachmentId, dataDir: string | undefined): void {
    this.hold(id.network, dataDir, 'release', (pool) => pool.releaseAll(id))
  }
}
