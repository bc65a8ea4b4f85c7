import {
  type Address,
  type Cidr,
  contains,
  formatAddress,
  parseAddress,
  sameAddress,
} from '../src/core/address.ts'
import { Code, collectFaults, Fault, isErrno } from '../src/core/errors.ts'
import { ensuringDirectory, type FileLock, type Files, lockUnlessUnwritable } from '../src/core/files.ts'
import { textBytes } from '../src/core/text.ts'
import { UndoStack } from '../src/core/undo.ts'
import { leasedAddresses, leasePath, leaseText, meaningOf, type Owner } from './leases.ts'
import { nextFree } from './next_free.ts'
import {
  asHint,
  cursorPath,
  isUntouched,
  type Order,
  parseCursor,
  readCursor,
  readOrder,
  rememberReleased,
  removeFreeLists,
  without,
  writeOrder,
} from './order.ts'
import { type Holdings, poolExhausted } from './pool_errors.ts'
import { PoolView, refuseBadPlace } from './pool_view.ts'
import { capacityOf, formatRangeSet, isGateway, type RangeSet, rangeOf } from './range_set.ts'
import {
  type Held,
  leaseDirOf,
  type PoolPlace,
  reclaimIfGone,
  reconcile,
  restoreLeases,
  stateDirOf,
} from './reconcile.ts'

export type PoolOptions = PoolPlace & {
  /** How long to wait for another process that uses the pool. */
  readonly lockTimeoutMs: number
  /** To release, nothing is made: a network without a directory has no leases. Default: to lease. */
  readonly purpose?: 'lease' | 'release'
}

/** An address for a pod. */
export type Lease = {
  /** With the prefix length of its subnet. */
  readonly address: Cidr
  readonly gateway?: Address
}

/**
 * Locks the pool of a network. Throws a Fault: code 11 when the lock can't be had in time, `Code.invalidConfig` for
 * a path or name that could lead elsewhere.
 */
export function openPool(files: Files, options: PoolOptions): Pool {
  refuseBadPlace(options)
  const lock = options.purpose === 'release' ? lockToRelease : lockToLease
  return new Pool(files, options, lock(files, leaseDirOf(options), options.lockTimeoutMs))
}

/** Which address `choose` has found for a set, and the text of the set's cursor before. */
type Choice = { readonly set: RangeSet; readonly address: Address; readonly cursorBefore: string }

/**
 * The addresses of one network, held with host-local's own lock. A disk that refuses is a Fault with an errno.
 * An ADD chooses, writes its record down, then takes; a DEL releases what its record names.
 */
export class Pool extends PoolView {
  readonly #place: PoolPlace
  readonly #lock: FileLock
  readonly #stateDir: string
  #choices: Choice[] = []
  #order: Order
  #areRestored = false

  constructor(files: Files, place: PoolPlace, lock: FileLock) {
    super(files, leaseDirOf(place))
    this.#place = place
    this.#lock = lock
    this.#stateDir = stateDirOf(place)
    this.#order = { bootId: place.bootId, cursors: [], released: [] }
  }

  /**
   * Returns one lease for each range set: the requested address of the set, or else the next free one, see `nextFree`.
   * Makes no lease. Throws a Fault: `Code.addressInUse` when a requested address is held, `Code.invalidConfig` when
   * it can't be given, `Code.poolExhausted` when a set has no free address. Addresses within `avoided` are passed over, but
   * not refused.
   */
  choose(sets: readonly RangeSet[], requested: readonly Address[], avoided: readonly Cidr[] = []): Lease[] {
    const wishes = assignRequested(sets, requested)
    const texts = sets.map(({ index }) => readCursor(this.files, this.dir, index))
    const cursors = texts.map(parseCursor)
    this.#order = this.#orderOfBoot(cursors)
    this.#choices = sets.map((set, i) => {
      const wish = wishes[i]
      if (wish) this.#reclaim(wish)
      return { set, address: wish ?? this.#firstFree(set, cursors[i], avoided), cursorBefore: texts[i] ?? '' }
    })
    return this.#choices.map(({ set, address }) => leaseOf(set, address))
  }

  /** Makes the leases that were chosen, all or none. */
  take(owner: Owner, leases: readonly Lease[]): void {
    const undo = new UndoStack()
    try {
      for (const { address } of leases) {
        const path = leasePath(this.dir, address.address)
        this.#make(path, leaseText(owner))
        undo.push(() => void this.files.remove(path))
      }
    } catch (error) {
      undo.unwind()
      throw error
    }
    this.#remember()
  }

  /** Leases an address again whose lease was deleted while its pod runs. Throws a Fault if another owner has it by now. */
  restore(owner: Owner, address: Address): void {
    if (!this.held(owner, [address])) this.#make(leasePath(this.dir, address), leaseText(owner))
  }

  /** Frees those of these addresses that the owner holds; goes on after a failure, then throws. */
  release(owner: Owner, addresses: readonly Address[]): void {
    this.releaseEach(addresses.map((address) => ({ owner, address })))
  }

  /** The same for leases of many owners. */
  releaseEach(leases: readonly { readonly owner: Owner; readonly address: Address }[]): void {
    const freed: Address[] = []
    const faults = collectFaults(
      leases.map(({ owner, address }) => () => {
        if (this.#free(owner, address)) freed.push(address)
      }),
    )
    asHint(() => rememberReleased(this.files, this.#stateDir, freed))
    if (faults[0]) throw incomplete(faults, faults[0])
  }

  /** Frees all that the owner holds, by reading every lease, and returns it. For a DEL without a record. */
  releaseAll(owner: Owner): Address[] {
    const owned = leasedAddresses(this.files, this.dir).map((address) => ({
      address,
      ownership: this.ownership(owner, address),
    }))
    const ours = owned.filter(({ ownership }) => ownership === 'ours')
    // As host-local does: the old form names no interface, so it only counts when nothing else is found.
    const found =
      ours.length > 0 ? ours : owned.filter(({ ownership }) => ownership === 'ours in the old form')
    const addresses = found.map(({ address }) => address)
    this.release(owner, addresses)
    return addresses
  }

  close(): void {
    this.#lock.release()
  }

  /** Returns the order. In the first call of a boot it reconciles all leases before. */
  #orderOfBoot(cursors: readonly (Address | undefined)[]): Order {
    const order = readOrder(this.files, this.#stateDir)
    const { bootId } = this.#place
    if (order?.bootId === bootId) return order
    const trustAdopted = isUntouched(order, cursors)
    reconcile(this.files, this.#place, { trustAdopted, isFirst: true, reclaimDead: false })
    removeFreeLists(this.files, this.#stateDir)
    const now = { bootId, cursors: order?.cursors ?? [], released: order?.released ?? [] }
    asHint(() => this.files.ensureDirectory(this.#stateDir))
    writeOrder(this.files, this.#stateDir, now)
    return now
  }

  #firstFree(set: RangeSet, cursor: Address | undefined, avoided: readonly Cidr[]): Address {
    const address = this.#nextFree(set, cursor, avoided)
    if (address) return address
    const held = reconcile(this.files, this.#place, {
      trustAdopted: false,
      isFirst: false,
      reclaimDead: true,
    })
    const inSet = held.filter((one) => rangeOf(set, one.address) && !isGateway(set, one.address))
    const found = BigInt(inSet.length) < capacityOf(set) ? this.#nextFree(set, cursor, avoided) : undefined
    if (found) return found
    throw poolExhausted(this.#place.network, set, countsOf(inSet), avoided)
  }

  #nextFree(set: RangeSet, cursor: Address | undefined, avoided: readonly Cidr[]): Address | undefined {
    const isAvoided = (name: string): boolean =>
      avoided.length > 0 && avoided.some((cidr) => contains(cidr, parseAddress(name)))
    return nextFree(set, cursor, this.#order.released, {
      isFree: (name) => !isAvoided(name) && this.#isFree(name),
      names: () => {
        const names = new Set(this.files.list(this.dir))
        return { has: (name) => names.has(name) || isAvoided(name) }
      },
    })
  }

  /** Decides whether a lease is there. An empty one may be that of a pod whose lease somebody has damaged: it is restored. */
  #isFree(name: string): boolean {
    const read = () => this.files.read(`${this.dir}/${name}`)
    const text = read()
    if (text === undefined || meaningOf(text) !== '') return text === undefined
    this.#restoreLeases()
    return meaningOf(read()) === ''
  }

  /** Once is enough, however many leases are empty: the pool is locked from the first look to the last. */
  #restoreLeases(): void {
    if (this.#areRestored) return
    this.#areRestored = true
    restoreLeases(this.files, this.#place)
  }

  /** Frees a requested address of a pod that is gone for certain. Throws a Fault if its pod may live. */
  #reclaim(address: Address): void {
    const owner = this.#isFree(formatAddress(address)) ? undefined : this.ownerOf(address)
    if (!owner) return
    const { containerId, ifName } = owner
    const holder = ifName === undefined ? undefined : this.#place.attachments.find({ containerId, ifName })
    const isHolder = holder?.leases?.addresses.includes(formatAddress(address))
    if (holder && isHolder && reclaimIfGone(this.files, this.#place, holder, true)) return
    throw new Fault(
      `network ${this.#place.network}: the requested address ${formatAddress(address)} is held by container ${containerId}`,
      { code: Code.addressInUse, hint: 'Remove that container first, or ask for another address.' },
    )
  }

  #make(path: string, text: string): void {
    try {
      this.files.create(path, text)
    } catch (error) {
      if (!isErrno(error, 'EEXIST')) throw error
      if (meaningOf(this.files.read(path)) !== '') throw snatched(path)
      this.files.remove(path)
      this.files.create(path, text)
    }
  }

  /** Writes down what was chosen and taken, for us and for host-local. */
  #remember(): void {
    const cursors = this.#choices.map(({ address }) => formatAddress(address))
    for (const [i, { set, cursorBefore }] of this.#choices.entries()) {
      asHint(() => this.#writeCursor(set.index, cursors[i] ?? '', cursorBefore))
    }
    const released = without(this.#order.released, cursors)
    writeOrder(this.files, this.#stateDir, { bootId: this.#order.bootId, cursors, released })
  }

  /** In place where the text covers the one before: on ext4 a new file costs a hundred times as much. */
  #writeCursor(index: number, text: string, before: string): void {
    const path = cursorPath(this.dir, index)
    if (before.length <= text.length) this.files.writeAt(path, 0, textBytes(text))
    else this.files.replace(path, text)
  }

  /** Reports whether the address was the owner's, or nobody's with an empty file, and is free now. */
  #free(owner: Owner, address: Address): boolean {
    return this.ownership(owner, address) !== 'another' && this.files.remove(leasePath(this.dir, address))
  }
}

function lockToLease(files: Files, dir: string, timeoutMs: number): FileLock {
  return ensuringDirectory(files, dir, () => files.lock(`${dir}/lock`, timeoutMs), 0o755)
}

function lockToRelease(files: Files, dir: string, timeoutMs: number): FileLock {
  try {
    return lockUnlessUnwritable(() => files.lock(`${dir}/lock`, timeoutMs))
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return { release() {} }
    throw error
  }
}

/**
 * Returns for each set the requested address that it is to give, if any. Throws a Fault (`Code.invalidConfig`) for one that
 * finds no set, or is not for pods.
 */
function assignRequested(sets: readonly RangeSet[], requested: readonly Address[]): (Address | undefined)[] {
  const left = requested.filter((one, i) => requested.findIndex((other) => sameAddress(one, other)) === i)
  const assigned = sets.map((set) => {
    const index = left.findIndex((address) => rangeOf(set, address))
    const [address] = index < 0 ? [] : left.splice(index, 1)
    if (address && isGateway(set, address)) throw refuseGateway(address)
    return address
  })
  if (left.length === 0) return assigned
  const ranges = sets.map(formatRangeSet).join(' and ')
  throw new Fault(
    `the requested address ${left.map(formatAddress).join(', ')} can't be given from ${ranges}`,
    {
      code: Code.invalidConfig,
      hint: 'Ask for at most one address of each range set, and for one that lies inside.',
    },
  )
}

function refuseGateway(address: Address): Fault {
  return new Fault(
    `the requested address ${formatAddress(address)} is the gateway, or a router of "ipam.routes"`,
    {
      code: Code.invalidConfig,
      hint: 'Ask for another address, or move the gateway with the key "gateway" of the range.',
    },
  )
}

function leaseOf(set: RangeSet, address: Address): Lease {
  const range = rangeOf(set, address)
  if (!range) throw new Fault(`${formatAddress(address)} is outside ${formatRangeSet(set)}`)
  const { subnet, gateway } = range
  return { address: { address, prefix: subnet.prefix }, ...(gateway && { gateway }) }
}

function countsOf(held: readonly Held[]): Holdings {
  const unrecorded = held.filter(({ by }) => by === 'unrecorded').length
  return { attachments: held.length - unrecorded, unrecorded }
}

function snatched(path: string): Fault {
  return new Fault(`lease ${path} was made by a program that does not keep to the lock`, {
    code: Code.tryLater,
    hint: 'Try again; give each IPAM plugin a "dataDir" or network name of its own.',
  })
}

function incomplete(faults: readonly Fault[], first: Fault): Fault {
  return new Fault(faults.map(({ message }) => message).join('; '), { cause: first })
}
