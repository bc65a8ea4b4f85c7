import type { Locks } from '../../../attachment/locks.ts'
import type { AttachmentRecord } from '../../../attachment/record.ts'
import type { AttachmentStore } from '../../../attachment/store.ts'
import type { NetworkConfig } from '../../../cni/config.ts'
import { type Cidr, contains, formatCidr, networkOf, parseCidr, sameCidr } from '../../../core/address.ts'
import { withAction } from '../../../core/errors.ts'
import { type AttachmentId, deriveNames, isSameAttachment } from '../../../core/names.ts'
import type { UndoStack } from '../../../core/undo.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import type { Desired } from '../../../state/desired.ts'
import type { PodSpec } from '../../spec.ts'
import type { NodePorts, PodFeature } from '../feature.ts'
import { assertNftables } from '../nftables.ts'
import { listFormer, removalOfFormer, removeFormerMaps } from './former.ts'
import {
  hasMasquerade,
  holdsMasquerade,
  isMasqueraded,
  listMasquerade,
  type MasqueradedSubnet,
  masqueradedSubnet,
  masqueradeObjects,
  removeUnusedMasquerade,
  replaceMasquerade,
} from './subnets.ts'

/*
 * A subnet is masqueraded as long as a record of this boot names it. Changes hold a lock; to ask needs none:
 *   an ADD      writes its record, looks for an announced removal, and asks the kernel if there is none
 *   a removal   announces itself, reads the records, changes the kernel, and takes the announcement back
 * An ADD that finds no announcement has written its record before any later removal reads the records, and asks the
 * kernel after any earlier removal has changed it. An ADD that finds an announcement takes the lock. An announcement that
 * a killed removal left costs each ADD that lock, until the next removal takes it back.
 */

/** Hides pods behind the node's address when they speak to anything outside their subnet. */
export function masquerade(node: NodePorts): PodFeature {
  return new Masquerading(node)
}

class Masquerading implements PodFeature {
  readonly #kernel: Kernel
  readonly #store: AttachmentStore
  readonly #locks: Locks

  constructor({ kernel, store, locks }: NodePorts) {
    this.#kernel = kernel
    this.#store = store
    this.#locks = locks
  }

  remember({ ipMasq }: NetworkConfig, addresses: readonly Cidr[]): Partial<AttachmentRecord> {
    return ipMasq && addresses.length > 0 ? { masquerade: addresses.map(formatCidr) } : {}
  }

  /** Last: the record names the subnets by then. A change of the config holds for the older pods of a subnet as well. */
  afterLink({ id, config, ips }: PodSpec, undo: UndoStack): void {
    const cidrs = ips.map(({ cidr }) => cidr)
    if (cidrs.length === 0) return
    if (config.ipMasq) withAction('masquerade the pod', () => this.#ensure(id, cidrs, undo))
    else withAction('end the masquerading of the subnet', () => this.#end(id, cidrs, undo))
  }

  nodeObjects({ id, config, ips }: PodSpec): Desired[] {
    const cidrs = ips.map(({ cidr }) => cidr)
    return config.ipMasq && cidrs.length > 0 ? masqueradeObjects(this.#kernel, id.network, cidrs) : []
  }

  /** Removes nothing where a valid attachment has no record that this release can read: its subnet is not known. */
  removeOrphans(network: string, valid: readonly AttachmentId[]): void {
    const recorded = new Set(this.#store.list(network).map((record) => deriveNames(record).key))
    if (valid.every((one) => recorded.has(deriveNames(one).key))) this.#removeUnneeded(network)
  }

  precheck({ ipMasq }: NetworkConfig): void {
    if (ipMasq) assertNftables(this.#kernel, 'ipMasq')
  }

  /** Masquerades the subnets of these addresses for an attachment whose record names them. */
  #ensure(id: AttachmentId, cidrs: readonly Cidr[], undo: UndoStack): void {
    if (!this.#locks.isMasqueradeRemovalAnnounced() && isMasqueraded(this.#kernel, cidrs)) return
    undo.push(() => this.#removeUnneeded(id.network, { counts: (record) => !isSameAttachment(record, id) }))
    this.#add(cidrs.map((cidr) => masqueradedSubnet(cidr, id.network)))
  }

  /**
   * Ends the masquerading that the network had for the subnets of these addresses when its config still said so: also for
   * its older pods. Asks nothing where no network of the node was ever masqueraded.
   */
  #end({ network }: AttachmentId, cidrs: readonly Cidr[], undo: UndoStack): void {
    if (!this.#locks.wasMasqueradeLocked()) return
    const ended = cidrs.filter((cidr) => isMasqueraded(this.#kernel, [cidr]))
    if (ended.length === 0) return
    const own = ended.map((cidr) => masqueradedSubnet(cidr, network))
    const before = listMasquerade(this.#kernel).filter((one) => own.some((other) => isSame(one, other)))
    undo.push(() => this.#add(before))
    this.#removeUnneeded(network, { counts: (record) => record.network !== network, only: ended })
  }

  /**
   * The record of an ADD that was killed before its addresses were known names no subnet, while an ADD before it may have
   * masqueraded one. So masquerading is looked for on every node that ever had any.
   */
  removeShared({ network }: AttachmentId, record?: AttachmentRecord): void {
    if (record && !record.masquerade && !this.#locks.wasMasqueradeLocked()) return
    this.#removeUnneeded(network, { emptied: (record?.masquerade ?? []).map(parseCidr) })
  }

  /**
   * Removes what was made for this network and no record names. Another network that shares a subnet inherits it. Nothing is
   * removed while there are records that only a later release can read.
   */
  #removeUnneeded(network: string, { counts = () => true, only, emptied = [] }: RemovalOptions = {}): void {
    const isMeant = (one: MasqueradedSubnet) =>
      (one.network === '' || isSame(one, masqueradedSubnet(one.subnet, network))) &&
      (only === undefined || only.some((cidr) => sameCidr(networkOf(cidr), one.subnet)))
    const look = () => {
      const present = listMasquerade(this.#kernel)
      const recorded = present.some(isMeant) ? this.#recorded(counts) : []
      return { present, left: present.flatMap((one) => (isMeant(one) ? heirsOf(one, recorded) : [one])) }
    }
    const seen = look()
    const isUnused = seen.present.length === 0 && (emptied.length > 0 || hasMasquerade(this.#kernel))
    const isDone = () => holdsMasquerade(seen.present, seen.left) && listFormer(this.#kernel).length === 0
    if ((!isUnused && isDone()) || this.#store.hasNewer()) return
    this.#locks.withMasquerade(() =>
      this.#locks.announceMasqueradeRemoval(() => {
        const { present, left } = look()
        if (this.#replace(present, left).length === 0) removeUnusedMasquerade(this.#kernel, emptied)
      }),
    )
  }

  #add(subnets: readonly MasqueradedSubnet[]): void {
    this.#locks.withMasquerade(() => {
      const present = listMasquerade(this.#kernel)
      this.#replace(present, [...present, ...subnets])
    })
  }

  /** Replaces what an older version made as well, by the subnets of all records. Returns what is masqueraded then. */
  #replace(present: readonly MasqueradedSubnet[], wanted: readonly MasqueradedSubnet[]): MasqueradedSubnet[] {
    const former = listFormer(this.#kernel)
    const all = [...wanted, ...(former.length > 0 ? this.#recorded() : [])]
    replaceMasquerade(this.#kernel, present, all, removalOfFormer(this.#kernel, former))
    if (former.length > 0) removeFormerMaps(this.#kernel)
    return all
  }

  #recorded(counts: (record: AttachmentRecord) => boolean = () => true): MasqueradedSubnet[] {
    const bootId = this.#kernel.bootId()
    return this.#store
      .list()
      .filter((record) => record.bootId === bootId && counts(record))
      .flatMap(({ network, masquerade = [] }) =>
        masquerade.map((text) => masqueradedSubnet(parseCidr(text), network)),
      )
  }
}

/** Which records a removal counts, and which subnets it touches; all by default. */
type RemovalOptions = {
  readonly counts?: (record: AttachmentRecord) => boolean
  readonly only?: readonly Cidr[]
  /** Subnets whose chains may have lost their elements. */
  readonly emptied?: readonly Cidr[]
}

/** Returns what is recorded within a subnet, of its own network first. */
function heirsOf(one: MasqueradedSubnet, recorded: readonly MasqueradedSubnet[]): MasqueradedSubnet[] {
  const within = recorded.filter(({ subnet }) => contains(one.subnet, subnet.address))
  return [
    ...within.filter(({ network }) => network === one.network),
    ...within.filter(({ network }) => network !== one.network),
  ]
}

function isSame(a: MasqueradedSubnet, b: MasqueradedSubnet): boolean {
  return a.network === b.network && sameCidr(a.subnet, b.subnet)
}
