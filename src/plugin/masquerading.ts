import type { AttachmentRecord } from '../attachment/record.ts'
import { type Cidr, contains, networkOf, parseCidr, sameCidr } from '../core/address.ts'
import type { AttachmentId } from '../core/names.ts'
import type { UndoStack } from '../core/undo.ts'
import { listFormer, removalOfFormer, removeFormerMaps } from '../pod/former_masquerade.ts'
import {
  hasMasquerade,
  holdsMasquerade,
  isMasqueraded,
  listMasquerade,
  type MasqueradedSubnet,
  masqueradedSubnet,
  removeUnusedMasquerade,
  replaceMasquerade,
} from '../pod/masquerade.ts'
import { LOCK_TIMEOUT_MS, type Ports } from './ports.ts'
import { recordsOf } from './records.ts'

/*
 * A subnet is masqueraded as long as a record of this boot names it. Changes hold a lock; to ask is free of it:
 *   an attachment   writes its record, looks for an announced removal, and asks the kernel if there is none
 *   a removal       announces itself, looks at the records, changes the kernel, and takes the announcement back
 * Who finds no announcement is seen by a removal that comes later, and sees the work of one that came before. Who finds one
 * takes the lock. An announcement that was left by a kill costs those who come no more than that, until the next removal.
 */

/** Masquerades the subnets of these addresses for an attachment whose record names them. */
export function ensureMasquerade(
  ports: Ports,
  id: AttachmentId,
  cidrs: readonly Cidr[],
  undo: UndoStack,
): void {
  const { kernel } = ports
  if (!recordsOf(ports).isRemovalAnnounced() && isMasqueraded(kernel, cidrs)) return
  undo.push(() => removeMasquerade(ports, id.network, { counts: (record) => !isOf(record, id) }))
  addSubnets(
    ports,
    cidrs.map((cidr) => masqueradedSubnet(cidr, id.network)),
  )
}

/**
 * Ends the masquerading that the network had for the subnets of these addresses when its config still said so: also of
 * its older pods. Where no network of the node was ever masqueraded, nothing is asked.
 */
export function endMasquerade(
  ports: Ports,
  { network }: AttachmentId,
  cidrs: readonly Cidr[],
  undo: UndoStack,
): void {
  const { kernel } = ports
  if (!recordsOf(ports).hasMasqueraded()) return
  const ended = cidrs.filter((cidr) => isMasqueraded(kernel, [cidr]))
  if (ended.length === 0) return
  const own = ended.map((cidr) => masqueradedSubnet(cidr, network))
  const before = listMasquerade(kernel).filter((one) => own.some((other) => isSame(one, other)))
  undo.push(() => addSubnets(ports, before))
  removeMasquerade(ports, network, { counts: (record) => record.network !== network, only: ended })
}

/** What a removal counts and touches; everything by default. */
export type RemovalOptions = {
  readonly counts?: (record: AttachmentRecord) => boolean
  readonly only?: readonly Cidr[]
  /** Subnets whose chains may have lost their elements. */
  readonly emptied?: readonly Cidr[]
}

/** Removes what was made for this network and no record names any more. Another network that shares a subnet inherits it. */
export function removeMasquerade(
  ports: Ports,
  network: string,
  { counts = () => true, only, emptied = [] }: RemovalOptions = {},
): void {
  const { kernel } = ports
  const isMeant = (one: MasqueradedSubnet) =>
    (one.network === '' || isSame(one, masqueradedSubnet(one.subnet, network))) &&
    (only === undefined || only.some((cidr) => sameCidr(networkOf(cidr), one.subnet)))
  const look = () => {
    const present = listMasquerade(kernel)
    const recorded = present.some(isMeant) ? recordedSubnets(ports, counts) : []
    return { present, left: present.flatMap((one) => (isMeant(one) ? heirsOf(one, recorded) : [one])) }
  }
  const seen = look()
  const isUnused = seen.present.length === 0 && (emptied.length > 0 || hasMasquerade(kernel))
  if (!isUnused && holdsMasquerade(seen.present, seen.left) && listFormer(kernel).length === 0) return
  withMasqueradeLock(ports, () =>
    recordsOf(ports).announceRemoval(() => {
      const { present, left } = look()
      if (replace(ports, present, left).length === 0) removeUnusedMasquerade(kernel, emptied)
    }),
  )
}

/** What is recorded within a subnet, of its own network first. */
function heirsOf(one: MasqueradedSubnet, recorded: readonly MasqueradedSubnet[]): MasqueradedSubnet[] {
  const within = recorded.filter(({ subnet }) => contains(one.subnet, subnet.address))
  return [
    ...within.filter(({ network }) => network === one.network),
    ...within.filter(({ network }) => network !== one.network),
  ]
}

function addSubnets(ports: Ports, subnets: readonly MasqueradedSubnet[]): void {
  withMasqueradeLock(ports, () => {
    const present = listMasquerade(ports.kernel)
    replace(ports, present, [...present, ...subnets])
  })
}

/** With what an older version made, which the subnets of all records replace. Returns what there is then. */
function replace(
  ports: Ports,
  present: readonly MasqueradedSubnet[],
  wanted: readonly MasqueradedSubnet[],
): MasqueradedSubnet[] {
  const { kernel } = ports
  const former = listFormer(kernel)
  const inherited = former.length > 0 ? recordedSubnets(ports) : []
  const all = [...wanted, ...inherited]
  replaceMasquerade(kernel, present, all, removalOfFormer(kernel, former))
  if (former.length > 0) removeFormerMaps(kernel)
  return all
}

function recordedSubnets(
  ports: Ports,
  counts: (record: AttachmentRecord) => boolean = () => true,
): MasqueradedSubnet[] {
  const records = recordsOf(ports)
  const bootId = ports.kernel.bootId()
  return records
    .networks()
    .flatMap((network) => records.list(network))
    .filter((record) => record.bootId === bootId && counts(record))
    .flatMap(({ network, masquerade = [] }) =>
      masquerade.map((text) => masqueradedSubnet(parseCidr(text), network)),
    )
}

function withMasqueradeLock(ports: Ports, work: () => void): void {
  const lock = recordsOf(ports).lockMasquerade(LOCK_TIMEOUT_MS)
  try {
    work()
  } finally {
    lock.release()
  }
}

function isSame(a: MasqueradedSubnet, b: MasqueradedSubnet): boolean {
  return a.network === b.network && sameCidr(a.subnet, b.subnet)
}

function isOf(record: AttachmentId, id: AttachmentId): boolean {
  return record.network === id.network && record.containerId === id.containerId && record.ifName === id.ifName
}
