import type { Address, Cidr } from '../core/address.ts'
import type { FileLock, LockKind } from '../core/files.ts'
import type { UndoStack } from '../core/undo.ts'
import type { Link } from '../kernel/kernel.ts'

/** What one attachment must know of the others on this node. */
export type NodeState = {
  /**
   * The lock of a bridge: shared by all who attach a pod to it as it is, held alone by who changes or removes it. So
   * nobody joins a bridge between the look at its ports and its removal.
   */
  lockBridge(name: string, kind: LockKind): FileLock
  /** Whether this attachment is the only one of a pod that is written down on this node. */
  isOnlyPod(): boolean
  /** The pod of another network that has this address and may live, in words; undefined if there is none. */
  holderOf(address: Address): string | undefined
  /** The same with less work, as far as the address is leased. */
  leaseHolderOf(address: Address): string | undefined
  /** Whether Bowline made the link, or has pods on it. */
  isOwnLink(link: Link): boolean
  /** Writes down, before it is made, that this attachment has a route of its own to the address over the link. */
  noteHostRoute(linkName: string, address: Address): void
  /** Masquerades the subnets of these addresses, which all pods in them share. */
  ensureMasquerade(cidrs: readonly Cidr[], undo: UndoStack): void
  /** Ends what an earlier config of this network said of them. */
  endMasquerade(cidrs: readonly Cidr[], undo: UndoStack): void
}
