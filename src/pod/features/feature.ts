import type { AttachedFeature } from '../../attachment/feature.ts'
import type { Locks } from '../../attachment/locks.ts'
import type { AttachmentRecord } from '../../attachment/record.ts'
import type { AttachmentStore } from '../../attachment/store.ts'
import type { NetworkConfig } from '../../cni/config.ts'
import type { CniInterface } from '../../cni/result.ts'
import type { Cidr, Family } from '../../core/address.ts'
import type { AttachmentId } from '../../core/names.ts'
import type { UndoStack } from '../../core/undo.ts'
import type { Kernel, Link, Netns } from '../../kernel/kernel.ts'
import type { Desired, OnLink, Place } from '../../state/desired.ts'
import type { Difference } from '../../state/explain.ts'
import type { PodSpec } from '../spec.ts'

/** What features reach of the node. */
export type NodePorts = {
  readonly kernel: Kernel
  readonly store: AttachmentStore
  readonly locks: Locks
}

export type ConfigOf = (network: string) => NetworkConfig | undefined

/** The pod's end of its link. */
export type PodEnd = { readonly netns: Netns; readonly link: Link }

/**
 * Something that pods get besides a link with addresses and routes. A feature reads its own keys from the config, and does
 * nothing where they do not ask for it. The commands call all features of the registry, in its order, and name none. The
 * members are in the order of their calls; `remove` and `removeShared` come with DEL.
 */
export interface PodFeature extends AttachedFeature {
  /** Keys that change the interface in the pod. They are refused behind a plugin that has made it. */
  readonly podKeys?: readonly (keyof NetworkConfig)[]
  /** Returns what `remove` needs, for the record. Called with no addresses as well, before ADD has got them. */
  remember?(config: NetworkConfig, addresses: readonly Cidr[]): Partial<AttachmentRecord>
  /** Returns the config with what the runtime asked for this attachment, as the record has it: later calls need not say it again. */
  recall?(config: NetworkConfig, record: AttachmentRecord): NetworkConfig
  /** Makes what must be there before the pod has a link, or before its link joins the bridge. */
  beforeLink?(spec: PodSpec, undo: UndoStack): void
  /** Returns what the host's end of a routed pod needs, from what it needs without the feature. */
  hostEnd?(spec: PodSpec, objects: readonly Desired[]): readonly Desired[]
  /** Returns what the host's end needs as a port of the bridge. */
  port?(spec: PodSpec, on: OnLink): Desired[]
  /** Makes what must be there before the pod's end gets an address. */
  beforeAddresses?(spec: PodSpec, pod: PodEnd): void
  /** Returns what the pod's end needs, from what it needs without the feature. */
  podEnd?(spec: PodSpec, objects: readonly Desired[]): readonly Desired[]
  /** Finishes when the pod is connected. `pod` is absent where an earlier plugin has made the pod's interface. */
  afterLink?(spec: PodSpec, undo: UndoStack, pod?: PodEnd): void
  /** Returns the links that the feature has made on the node, for the result. */
  hostLinks?(spec: PodSpec): CniInterface[]
  /** Returns what the node needs, for CHECK. */
  nodeObjects?(spec: PodSpec): Desired[]
  /**
   * Returns what makes the feature fail though all of its objects are there, for CHECK. `entry` is the link by which the node
   * gets what the pod sends.
   */
  diagnose?(spec: PodSpec, onHost: Place, entry: Link | undefined): Difference[]
  /** Removes what no record knows and no valid attachment of this network can have, for GC. Goes on after a failure. */
  removeOrphans?(network: string, valid: readonly AttachmentId[]): void
  /**
   * Makes again what attachments of this boot have on the node and somebody has removed, for a process that stays. Returns what that
   * was, in words. `configOf` returns the present config of a network, if it is known.
   */
  restore?(configOf: ConfigOf): readonly string[]
  /** Throws a Fault if an ADD for pods of these families would fail for it, for STATUS. Changes nothing. */
  precheck?(config: NetworkConfig, families: readonly Family[]): void
}

/** Returns what all features need in the record of an attachment. */
export function remembered(
  features: readonly PodFeature[],
  config: NetworkConfig,
  addresses: readonly Cidr[],
): Partial<AttachmentRecord> {
  return Object.assign({}, ...features.map((feature) => feature.remember?.(config, addresses)))
}

/** Returns the config as it was for the ADD of a recorded attachment, with what the runtime asked for then. */
export function recalled(
  features: readonly PodFeature[],
  config: NetworkConfig,
  record: AttachmentRecord,
): NetworkConfig {
  return features.reduce((known, feature) => feature.recall?.(known, record) ?? known, config)
}
