import type { Address } from '../src/core/address.ts'
import { Code, Fault } from '../src/core/errors.ts'
import { type Files, isPlainPath, PATH_RULE } from '../src/core/files.ts'
import { isCniName } from '../src/core/names.ts'
import {
  type LeaseOwner,
  leasedAddresses,
  leasePath,
  type Owner,
  type Ownership,
  ownerOf,
  ownershipOf,
} from './leases.ts'
import { leaseDirOf, type PoolPlace } from './reconcile.ts'

/** What can be asked of a pool, with or without its lock. */
export class PoolView {
  protected readonly files: Files
  protected readonly dir: string

  constructor(files: Files, dir: string) {
    this.files = files
    this.dir = dir
  }

  /** Returns whether every one of these addresses is leased to this owner. */
  held(owner: Owner, addresses: readonly Address[]): boolean {
    return addresses.every((address) => this.ownership(owner, address).startsWith('ours'))
  }

  /** Returns who holds an address, by its lease alone; undefined if nobody does. */
  ownerOf(address: Address): LeaseOwner | undefined {
    return ownerOf(address, this.files.read(leasePath(this.dir, address)) ?? '')
  }

  /** Returns the addresses that are leased. */
  addresses(): Address[] {
    return leasedAddresses(this.files, this.dir)
  }

  /** Returns who holds what, for a GC: reads every lease. */
  owners(): LeaseOwner[] {
    return this.addresses().flatMap((address) => this.ownerOf(address) ?? [])
  }

  protected ownership(owner: Owner, address: Address): Ownership {
    return ownershipOf(this.files.read(leasePath(this.dir, address)), owner)
  }
}

/** Returns a pool to look at, without its lock. Throws as `refuseBadPlace` does. */
export function viewPool(files: Files, place: Pick<PoolPlace, 'dataDir' | 'network'>): PoolView {
  refuseBadPlace(place)
  return new PoolView(files, leaseDirOf(place))
}

/** Throws a Fault (invalid config) for a path or name that could lead elsewhere. */
export function refuseBadPlace({ dataDir, network }: Pick<PoolPlace, 'dataDir' | 'network'>): void {
  if (!isPlainPath(dataDir)) {
    throw new Fault(
      `key "ipam.dataDir": ${JSON.stringify(dataDir)} is not an absolute path without ".." (${PATH_RULE})`,
      { code: Code.invalidConfig, hint: 'Write it like /var/lib/cni/networks.' },
    )
  }
  if (isCniName(network)) return
  throw new Fault(`key "name": ${JSON.stringify(network)} is not a network name`, {
    code: Code.invalidConfig,
    hint: 'Use letters, digits, ".", "_" and "-", and begin with a letter or digit.',
  })
}
