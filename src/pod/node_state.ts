import type { LeaseOwner } from '../../ipam/leases.ts'
import { isOwnAlias } from '../attachment/alias.ts'
import { mayLive } from '../attachment/liveness.ts'
import type { Locks } from '../attachment/locks.ts'
import type { AttachmentRecord } from '../attachment/record.ts'
import { type AttachmentStore, isNewer, recordIn } from '../attachment/store.ts'
import { type Address, formatAddress, parseCidr } from '../core/address.ts'
import type { FileLock, LockKind } from '../core/files.ts'
import { type AttachmentId, deriveBridgeMac, deriveNames } from '../core/names.ts'
import { distinct } from '../core/text.ts'
import type { Kernel, Link } from '../kernel/kernel.ts'
import type { PodFeature } from './features/feature.ts'

/** What an attachment must know of the other attachments on this node. */
export type NodeState = {
  readonly features: readonly PodFeature[]
  /**
   * Takes the lock of a bridge: a shared one to attach a pod to the bridge as it is, an exclusive one to change or remove
   * it. So nobody joins a bridge between the look at its ports and its removal.
   */
  lockBridge(name: string, kind: LockKind): FileLock
  /** Returns the pod of another network that has this address and may live, in words; undefined if there is none. */
  holderOf(address: Address): string | undefined
  /** Returns the same with fewer reads, but only of an address that our IPAM has leased. */
  leaseHolderOf(address: Address): string | undefined
  /** Returns whether Bowline made the link, or has pods on it. */
  isOwnLink(link: Link): boolean
  /** Writes down, before it is made, that this attachment has a route of its own to the address over the link. */
  noteHostRoute(linkName: string, address: Address): void
}

/** Where the state of the node is. */
export type NodeSources = {
  readonly kernel: Kernel
  readonly store: AttachmentStore
  readonly locks: Locks
  readonly features: readonly PodFeature[]
}

/** Returns what an attachment must know of the others. `leaseOwner` returns who has an address in a network's pool. */
export function nodeStateOf(
  { kernel, store, locks, features }: NodeSources,
  id: AttachmentId,
  leaseOwner: (network: string, address: Address) => LeaseOwner | undefined,
): NodeState {
  const otherNetworks = () => store.networks().filter((name) => name !== id.network)
  const describeLive = (record: AttachmentRecord | undefined) =>
    record && mayLive(kernel, record) ? describe(record) : undefined
  return {
    features,
    lockBridge: (name, kind) => locks.lockBridge(name, kind),
    holderOf: (address) =>
      firstOf(otherNetworks(), (network) => {
        const having = store.list(network).filter((record) => hasAddress(record, address))
        return firstOf(having, describeLive)
      }),
    leaseHolderOf: (address) =>
      firstOf(otherNetworks(), (network) => {
        const { containerId, ifName } = leaseOwner(network, address) ?? {}
        if (containerId === undefined || ifName === undefined) return undefined
        const id = { network, containerId, ifName }
        const stored = store.readFile({ network, key: deriveNames(id).key })
        return stored && isNewer(stored) ? describe(id) : describeLive(recordIn(stored))
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
  }
}

function describe({ containerId, ifName, network }: AttachmentId): string {
  return `${containerId} ${ifName} of network ${network}`
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
