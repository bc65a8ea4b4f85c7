import { type Address, parseAddress, parseCidr } from '../core/address.ts'
import { type AttachmentId, deriveNames, isSameAttachment } from '../core/names.ts'
import type { Kernel } from '../kernel/kernel.ts'
import type { Identity, Marks } from './identity.ts'
import type { AttachmentRecord } from './record.ts'
import type { AttachmentStore } from './store.ts'

/* What shows that an interface is an attachment's, see `identity.ts`: gathered from records, leases and the runtime. */

/** What the runtime says, in a call about this very attachment, of its interface. */
export type RuntimeMarks = {
  /** The path of the namespace; '' if it did not say. */
  readonly netns: string
  /** The hardware addresses that it remembers of the pod's end. */
  readonly podMacs: readonly string[]
}

/** Where marks are looked for. */
type Sources = { readonly kernel: Kernel; readonly store: AttachmentStore }

/** Returns the marks of a recorded attachment. `runtime` is undefined when others remove it. */
export function recordedMarks(
  { kernel, store }: Sources,
  record: AttachmentRecord,
  runtime?: RuntimeMarks,
): Marks {
  const { netns, mode, podMac, leases, masquerade = [], bootId } = record
  // Where our IPAM served another plugin, only a DEL that the runtime now sends to us removes what that plugin made.
  const isOurs = bootId === kernel.bootId() && (mode !== undefined || runtime !== undefined)
  const paths = new Set([netns?.path ?? '', runtime?.netns ?? ''])
  const identity = netns && { device: netns.device, inode: netns.inode }
  return {
    id: record,
    namespaces: [...paths]
      .filter((path) => path !== '' && isOurs)
      .map((path) => ({ path, ...(identity && { identity }) })),
    podMacs: [...(mode ? [podMac ?? deriveNames(record).podMac] : []), ...(runtime?.podMacs ?? [])],
    addresses: () => [
      ...(leases?.addresses ?? []).map(parseAddress),
      ...masquerade.map((text) => parseCidr(text).address),
    ],
    wasMade: () => true,
    isClaimed: claimsBeside(store, kernel, record),
  }
}

/**
 * Returns the marks of an attachment without a sound record: another plugin made it, or its record is lost. `leased`
 * returns the addresses that are leased to it, and is called at most once.
 */
export function unrecordedMarks(
  { kernel, store }: Sources,
  id: AttachmentId,
  runtime: RuntimeMarks,
  leased: () => readonly Address[],
): Marks {
  let known: readonly Address[] | undefined
  const addresses = (): readonly Address[] => {
    known ??= leased()
    return known
  }
  return {
    id,
    namespaces: runtime.netns ? [{ path: runtime.netns }] : [],
    podMacs: [deriveNames(id).podMac, ...runtime.podMacs],
    addresses,
    wasMade: () => addresses().length > 0,
    isClaimed: claimsBeside(store, kernel, id),
  }
}

/** Reads the records of all networks, at most once, and only when nothing stronger shows whose an interface is. */
function claimsBeside(store: AttachmentStore, kernel: Kernel, id: AttachmentId): Marks['isClaimed'] {
  let others: readonly AttachmentRecord[] | undefined
  return (namespace: Identity, ifName?: string) => {
    others ??= otherRecords(store, kernel.bootId(), id)
    return others.some(
      ({ netns, ...one }) =>
        netns?.inode === namespace.inode &&
        netns.device === namespace.device &&
        (ifName === undefined ? one.containerId !== id.containerId : one.ifName === ifName),
    )
  }
}

/** Returns the records of this boot of all other attachments of the node. */
export function otherRecords(store: AttachmentStore, bootId: string, id: AttachmentId): AttachmentRecord[] {
  return store.list().filter((one) => one.bootId === bootId && !isSameAttachment(one, id))
}
