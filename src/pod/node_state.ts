import type { LeaseOwner } from '../../ipam/leases.ts'
import { isOwnAlias } from '../attachment/alias.ts'
import { mayLive } from '../attachment/liveness.ts'
import type { Locks } from '../attachment/locks.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import type { AttachmentStore } from '../attachment/store.ts'
import { type Address, type Cidr, formatAddress, parseCidr } from '../core/address.ts'
import type { FileLock, LockKind } from '../core/files.ts'
import { type AttachmentId, deriveBridgeMac, isSameAttachment } from '../core/names.ts'
import { distinct } from '../core/text.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Kernel, Link } from '../kernel/kernel.ts'
import type { Masquerading } from './masquerading.ts'

/** What one attachment must know of the others on this node, and what it shares with them. */
export type NodeState = {
  /**
   * Takes the lock of a bridge: a shared one to attach a pod to the bridge as it is, an exclusive one to change or remove
   * it. So nobody joins a bridge between the look at its ports and its removal.
   */
  lockBridge(name: string, kind: LockKind): FileLock
  /** Returns whether no other attachment of a pod is written down on this node. */
  isOnlyPod(): boolean
  /** Returns the pod of another network that has this address and may live, in words; undefined if there is none. */
  holderOf(address: Address): string | undefined
  /** The same with less work, as far as the address is leased. */
  leaseHolderOf(address: Address): string | undefined
  /** Returns whether Bowline made the link, or has pods on it. */
  isOwnLink(link: Link): boolean
  /** Writes down, before it is made, that this attachment has a route of its own to the address over the link. */
  noteHostRoute(linkName: string, address: Address): void
  /** Masquerades the subnets of these addresses, which all pods in them share. */
  ensureMasquerade(cidrs: readonly Cidr[], undo: UndoStack): void
  /** Ends what an earlier config of this network said of them. */
  endMasquerade(cidrs: readonly Cidr[], undo: UndoStack): void
}

/** Where the state of the node is. */
type Sources = {
  readonly kernel: Kernel
  readonly store: AttachmentStore
  readonly locks: Locks
  readonly masquerading: Masquerading
}

/** Returns what an attachment must know of the others. `leaseOwner` returns who has an address in a network's pool. */
export function nodeStateOf(
  { kernel, store, locks, masquerading }: Sources,
  id: AttachmentId,
  leaseOwner: (network: string, address: Address) => LeaseOwner | undefined,
): NodeState {
  const otherNetworks = () => store.networks().filter((name) => name !== id.network)
  const describeLive = (record: AttachmentRecord | undefined) =>
    record && mayLive(kernel, record)
      ? `${record.containerId} ${record.ifName} of network ${record.network}`
      : undefined
  return {
    lockBridge: (name, kind) => locks.lockBridge(name, kind),
    // A record without a mode is of addresses only, for a plugin that makes its own interface.
    isOnlyPod: () => store.list().every((record) => isSameAttachment(record, id) || !record.mode),
    holderOf: (address) =>
      firstOf(otherNetworks(), (network) => {
        const having = store.list(network).filter((record) => hasAddress(record, address))
        return firstOf(having, describeLive)
      }),
    leaseHolderOf: (address) =>
      firstOf(otherNetworks(), (network) => {
        const { containerId, ifName } = leaseOwner(network, address) ?? {}
        if (containerId === undefined || ifName === undefined) return undefined
        return describeLive(store.read({ network, containerId, ifName }))
      }),
    isOwnLink: (link) => isOwnLink(kernel, store, link),
    noteHostRoute: (link, address) => {
      const record = store.read(id)
      if (!record) return
      const addresses = distinct(
        [...(record.hostRoutes?.addresses ?? []), formatAddress(address)],
        (one) => one,
      )
      store.write({ ...record, hostRoutes: { link, addresses } })
    },
    ensureMasquerade: (cidrs, undo) => masquerading.ensure(id, cidrs, undo),
    endMasquerade: (cidrs, undo) => masquerading.end(id, cidrs, undo),
  }
}

function firstOf<T>(all: readonly T[], find: (one: T) => string | undefined): string | undefined {
  for (const one of all) {
    const found = find(one)
    if (found !== undefined) return found
  }
  return undefined
}

/** An address that another IPAM plugin gave stands in the record only if it is masqueraded. */
function hasAddress({ leases, masquerade = [], chained }: AttachmentRecord, address: Address): boolean {
  const text = formatAddress(address)
  return (
    leases?.addresses.includes(text) ||
    chained?.addresses.includes(text) ||
    masquerade.some((cidr) => formatAddress(parseCidr(cidr).address) === text)
  )
}

/** A bridge that was there before is ours as long as a record names it; a VLAN link goes with its bridge. */
function isOwnLink(kernel: Kernel, store: AttachmentStore, link: Link): boolean {
  if (isOwnAlias(link.alias)) return true
  if (link.vlan?.parent !== undefined) {
    const parent = kernel.host().link({ index: link.vlan.parent })
    return parent !== undefined && isOwnLink(kernel, store, parent)
  }
  if (link.kind !== 'bridge') return false
  if (link.mac === deriveBridgeMac(link.name, kernel.bootId())) return true
  return store.list().some(({ bridge }) => bridge === link.name)
}
