import type { Locks } from '../../../attachment/locks.ts'
import type { AttachmentRecord } from '../../../attachment/record.ts'
import { type AttachmentStore, areRecorded } from '../../../attachment/store.ts'
import type { NetworkConfig } from '../../../cni/config.ts'
import { type Cidr, contains, formatCidr, networkOf, parseCidr, sameCidr } from '../../../core/address.ts'
import { withAction } from '../../../core/errors.ts'
import { type AttachmentId, isSameAttachment } from '../../../core/names.ts'
import { distinct } from '../../../core/text.ts'
import type { UndoStack } from '../../../core/undo.ts'
import type { Kernel } from '../../../kernel/kernel.ts'
import { apply } from '../../../state/apply.ts'
import type { Desired } from '../../../state/desired.ts'
import { difference } from '../../../state/difference.ts'
import { observe } from '../../../state/observe.ts'
import type { PodSpec } from '../../spec.ts'
import type { ConfigOf, NodePorts, PodFeature } from '../feature.ts'
import { assertNftables } from '../nftables.ts'
import { listFormer, removalOfFormer, removeFormerMaps } from './former.ts'
import {
  type Contribution,
  type MasqueradedSubnet,
  type MasqueradeSettings,
  recordedSettings,
  rememberedSettings,
  rulesFor,
  rulesOf,
  settingsOf,
  USUAL,
} from './settings.ts'
import { baseObject, hasMasquerade, LOCK } from './shared.ts'
import {
  digestOf,
  holdsMasquerade,
  isInMap,
  isMasqueraded,
  isSameSubnet,
  listMasquerade,
  masqueradedSubnet,
  outermost,
  type PresentSubnet,
  removeUnusedMasquerade,
  replaceMasquerade,
  subnetObjects,
  type WantedSubnet,
  withRules,
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

  remember(config: NetworkConfig, addresses: readonly Cidr[]): Partial<AttachmentRecord> {
    if (!config.ipMasq || addresses.length === 0) return {}
    return { masquerade: addresses.map(formatCidr), ...rememberedSettings(settingsOf(config)) }
  }

  /** Last: the record names the subnets by then. A change of the config holds for the older pods of a subnet as well. */
  afterLink({ id, config, ips }: PodSpec, undo: UndoStack): void {
    const cidrs = ips.map(({ cidr }) => cidr)
    if (cidrs.length === 0) return
    if (config.ipMasq) withAction('masquerade the pod', () => this.#ensure(ownOf(id, cidrs, config), undo))
    else withAction('end the masquerading of the subnet', () => this.#end(id, cidrs, undo))
  }

  nodeObjects({ id, config, ips }: PodSpec): Desired[] {
    const cidrs = ips.map(({ cidr }) => cidr)
    if (!config.ipMasq || cidrs.length === 0) return []
    const present = listMasquerade(this.#kernel)
    const own = ownOf(id, cidrs, config)
    const outer = outermost([...present, ...own.subnets])
    const used = outer.filter(({ subnet }) => cidrs.some(({ address }) => contains(subnet, address)))
    const alone = used.map((one) => withRules(one, rulesOf(one, [own])))
    const wanted = isMasqueraded(this.#kernel, alone)
      ? alone
      : this.#settle(used, present, this.#recorded(), own)
    return [baseObject(), ...wanted.flatMap((one) => subnetObjects(one, present))]
  }

  /** Removes nothing where a valid attachment has no record that this release can read: its subnet is not known. */
  removeOrphans(network: string, valid: readonly AttachmentId[]): void {
    if (areRecorded(this.#store, network, valid)) this.#removeUnneeded(network)
  }

  /** A network whose config no longer asks for it has ended it for its older pods, whatever their records say. */
  restore(configOf: ConfigOf): readonly string[] {
    if (!this.#locks.wasFeatureLocked(LOCK)) return []
    const seen = this.#lookForLosses(configOf)
    if (seen.losses.length === 0) return []
    let restored: readonly string[] = []
    this.#locks.withFeature(LOCK, () => {
      const { present, wanted, losses } = this.#lookForLosses(configOf)
      // All that is wholly lost comes back in one transaction.
      this.#replace(present, wanted)
      const { losses: left, observed } = this.#lookForLosses(configOf)
      apply(this.#kernel, left, observed)
      restored = losses.map(({ what }) => what)
    })
    return restored
  }

  precheck({ ipMasq }: NetworkConfig): void {
    if (ipMasq) assertNftables(this.#kernel, 'ipMasq')
  }

  /** Masquerades the subnets of an attachment whose record names them. */
  #ensure(own: Own, undo: UndoStack): void {
    const alone = own.subnets.map((one) => withRules(one, rulesOf(one, [own])))
    if (!this.#locks.isMasqueradeRemovalAnnounced() && isMasqueraded(this.#kernel, alone)) return
    undo.push(() =>
      this.#removeUnneeded(own.id.network, { counts: (record) => !isSameAttachment(record, own.id) }),
    )
    this.#add(own.subnets, own)
  }

  /**
   * Ends the masquerading that the network had for the subnets of these addresses when its config still said so: also for
   * its older pods. Asks nothing where no network of the node was ever masqueraded.
   */
  #end({ network }: AttachmentId, cidrs: readonly Cidr[], undo: UndoStack): void {
    if (!this.#locks.wasFeatureLocked(LOCK)) return
    const ended = cidrs.filter((cidr) => isInMap(this.#kernel, networkOf(cidr)))
    if (ended.length === 0) return
    const own = ended.map((cidr) => masqueradedSubnet(cidr, network))
    const before = listMasquerade(this.#kernel).filter((one) => own.some((other) => isSameSubnet(one, other)))
    undo.push(() => this.#add(before))
    this.#removeUnneeded(network, { counts: (record) => record.network !== network, only: ended })
  }

  /**
   * The record of an ADD that was killed before its addresses were known names no subnet, while an ADD before it may have
   * masqueraded one. So masquerading is looked for on every node that ever had any.
   */
  removeShared({ network }: AttachmentId, record?: AttachmentRecord): void {
    if (record && !record.masquerade && !this.#locks.wasFeatureLocked(LOCK)) return
    const emptied = (record ? recordedSubnets(record) : []).flatMap(({ one, settings }) =>
      [settings, {}].map((each) => withRules(one, rulesOf(one, [{ network, settings: each }]))),
    )
    this.#removeUnneeded(network, { emptied })
  }

  /**
   * Removes what was made for this network and no record names. Another network that shares a subnet inherits it. Nothing is
   * removed while there are records that only a later release can read.
   */
  #removeUnneeded(network: string, { counts = () => true, only, emptied = [] }: RemovalOptions = {}): void {
    const isMeant = (one: MasqueradedSubnet) =>
      (one.network === '' || isSameSubnet(one, masqueradedSubnet(one.subnet, network))) &&
      (only === undefined || only.some((cidr) => sameCidr(networkOf(cidr), one.subnet)))
    // A network that does not name the subnet may have added to its rules.
    const isConcerned = (one: PresentSubnet) => isMeant(one) || digestOf(one) !== USUAL
    const look = () => {
      const present = listMasquerade(this.#kernel)
      const recorded = present.some(isConcerned) ? this.#recorded(counts) : []
      const named = present.flatMap((one) => (isMeant(one) ? heirsOf(one, recorded) : [one]))
      return { present, left: this.#settle(named, present, recorded) }
    }
    const seen = look()
    const isUnused = seen.present.length === 0 && (emptied.length > 0 || hasMasquerade(this.#kernel))
    const isDone = () => holdsMasquerade(seen.present, seen.left) && listFormer(this.#kernel).length === 0
    if ((!isUnused && isDone()) || this.#store.hasNewer()) return
    this.#locks.withFeature(LOCK, () =>
      this.#locks.announceMasqueradeRemoval(() => {
        const { present, left } = look()
        if (this.#replace(present, left).length === 0) removeUnusedMasquerade(this.#kernel, emptied)
      }),
    )
  }

  #add(subnets: readonly MasqueradedSubnet[], own?: Own): void {
    this.#locks.withFeature(LOCK, () => {
      const present = listMasquerade(this.#kernel)
      this.#replace(present, this.#settle([...present, ...subnets], present, this.#recorded(), own))
    })
  }

  /** Replaces what an older version made as well, by the subnets of all records. Returns what is masqueraded then. */
  #replace(present: readonly PresentSubnet[], wanted: readonly WantedSubnet[]): readonly WantedSubnet[] {
    const former = listFormer(this.#kernel)
    const recorded = former.length > 0 ? this.#recorded() : []
    const all =
      recorded.length > 0
        ? this.#settle([...wanted, ...recorded.map(({ one }) => one)], present, recorded)
        : wanted
    replaceMasquerade(this.#kernel, present, all, removalOfFormer(this.#kernel, former))
    if (former.length > 0) removeFormerMaps(this.#kernel)
    return all
  }

  /** Returns the outermost of these subnets, each with the rules that the networks in it ask for. One that no record names stays as it is. */
  #settle(
    named: readonly MasqueradedSubnet[],
    present: readonly PresentSubnet[],
    recorded: readonly RecordedSubnet[],
    own?: Own,
  ): WantedSubnet[] {
    return outermost(named).map((one) => {
      const there = present.find(({ subnet }) => sameCidr(subnet, one.subnet))
      const contributions = contributionsTo(one, recorded, own)
      if (contributions.length === 0 && there && isSameSubnet(there, one)) return there
      const before = there ?? ('chain' in one ? (one as PresentSubnet) : undefined)
      return withRules(one, rulesFor(one, contributions, before && digestOf(before)))
    })
  }

  #lookForLosses(configOf: ConfigOf) {
    const recorded = this.#recorded(({ network }) => configOf(network)?.ipMasq !== false, configOf)
    const present = recorded.length > 0 ? listMasquerade(this.#kernel) : []
    const named = [...present, ...recorded.map(({ one }) => one)]
    const wanted = this.#settle(named, present, recorded)
    const objects = wanted.flatMap((one) => subnetObjects(one, present))
    const desired = objects.length > 0 ? [baseObject(), ...objects] : []
    const observed = observe(this.#kernel, desired)
    return { present, wanted, losses: difference(desired, observed), observed }
  }

  /** With `configOf`, a network has the settings of its config, if that is known. */
  #recorded(
    counts: (record: AttachmentRecord) => boolean = () => true,
    configOf: ConfigOf = () => undefined,
  ): RecordedSubnet[] {
    const bootId = this.#kernel.bootId()
    return this.#store
      .list()
      .filter((record) => record.bootId === bootId && counts(record))
      .flatMap((record) => recordedSubnets(record, configOf(record.network)))
  }
}

/** The attachment of a call: its network says what its config says now, whatever older records say. */
type Own = Contribution & { readonly id: AttachmentId; readonly subnets: readonly MasqueradedSubnet[] }

type RecordedSubnet = { readonly one: MasqueradedSubnet; readonly settings: MasqueradeSettings }

/** Which records a removal counts, and which subnets it touches; all by default. */
type RemovalOptions = {
  readonly counts?: (record: AttachmentRecord) => boolean
  readonly only?: readonly Cidr[]
  /** Subnets whose chains may have lost their elements. */
  readonly emptied?: readonly PresentSubnet[]
}

function ownOf(id: AttachmentId, cidrs: readonly Cidr[], config: NetworkConfig): Own {
  const subnets = cidrs.map((cidr) => masqueradedSubnet(cidr, id.network))
  return { id, subnets, network: subnets[0]?.network ?? '', settings: settingsOf(config) }
}

function recordedSubnets(record: AttachmentRecord, config?: NetworkConfig): RecordedSubnet[] {
  const { network, masquerade = [] } = record
  const settings = config ? settingsOf(config) : recordedSettings(record)
  return masquerade.map((text) => ({ one: masqueradedSubnet(parseCidr(text), network), settings }))
}

/** Returns what the networks in a subnet say of it, each once, that of the subnet's own network first. */
function contributionsTo(
  { subnet, network }: MasqueradedSubnet,
  recorded: readonly RecordedSubnet[],
  own: Own | undefined,
): Contribution[] {
  const isWithin = (one: MasqueradedSubnet) => contains(subnet, one.subnet.address)
  const others = recorded
    .filter(({ one }) => isWithin(one) && one.network !== own?.network)
    .map(({ one, settings }) => ({ network: one.network, settings }))
  const all = [...(own?.subnets.some(isWithin) ? [own] : []), ...others]
  const first = all.filter((one) => one.network === network)
  const ordered = [...first, ...all.filter((one) => one.network !== network)]
  return distinct(ordered, (one) => `${one.network} ${JSON.stringify(rememberedSettings(one.settings))}`)
}

/** Returns what is recorded within a subnet, of its own network first. */
function heirsOf(one: MasqueradedSubnet, recorded: readonly RecordedSubnet[]): MasqueradedSubnet[] {
  const within = recorded
    .map((record) => record.one)
    .filter(({ subnet }) => contains(one.subnet, subnet.address))
  return [
    ...within.filter(({ network }) => network === one.network),
    ...within.filter(({ network }) => network !== one.network),
  ]
}
