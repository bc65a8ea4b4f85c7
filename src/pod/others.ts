import type { FileLock, LockKind } from '../core/files.ts'
import type { Yield } from './masquerade.ts'

/** What one attachment must know of the others on this node. */
export type Others = {
  /**
   * The lock of a bridge: shared by all who attach a pod to it as it is, held alone by who changes or removes it. So
   * nobody joins a bridge between the look at its ports and its removal.
   */
  lockBridge(name: string, kind: LockKind): FileLock
  /** Whether this attachment is the only one of a pod that is written down on this node. */
  isOnlyPod(): boolean
  /** Whether the pod of another network that has the masquerading of an address can do without. */
  readonly yields: Yield
}
