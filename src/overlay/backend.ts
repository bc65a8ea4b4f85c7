import type { Address, Cidr, Family } from '../core/address.ts'
import type { NftRule } from '../kernel/nftables/objects.ts'
import type { Desired, DesiredFdbEntry, DesiredNeighbour, DesiredRoute, Place } from '../state/desired.ts'
import type { ClusterNode, UnderlayLink } from './cluster.ts'
import type { OverlayConfig } from './config.ts'

/*
 * A backend is one way to bring packets to the pods of another node. It says which kernel objects that takes, and touches none itself.
 *
 * Three kinds of backend have been thought of beside those that are here, and each fits without a change to them:
 * - An encrypted one (WireGuard) has a key that peers cannot derive. Its link is an object like that of VXLAN, which outlives the agent
 *   and keeps the private key. What it publishes is an annotation of the own Node, which the account may write through the status, and comes
 *   back as a field of each ClusterNode; a peer without one is a problem of that peer.
 * - One with a link for all peers but no entry for each (IP-in-IP) returns a route and no more.
 * - One that needs a program beside the agent (a tunnel through UDP, BGP) names that as a further member of this interface: what it is to
 *   know follows from the plan, as the kernel objects do.
 */
export interface Backend {
  /** The links that only this backend creates. Whatever else has such a name is replaced. */
  readonly links: readonly string[]
  /** Returns how this node reaches a range of pods of a peer, or why it cannot. */
  reach(range: Cidr, peer: ClusterNode, node: LocalNode): Reach
  /** Returns one of `links`, and the addresses on it. */
  link(name: string, node: LocalNode): Desired[]
  /** Returns the rules that keep strangers from sending packets through its links, where one of them is needed. */
  guard?(node: LocalNode): GuardRules
}

/** The rules of each chain of a guard, by its name: see guard.ts. */
export type GuardRules = Readonly<Record<string, readonly NftRule[]>>

/** This node, and what a backend may configure. */
export type LocalNode = ClusterNode & {
  readonly place: Place
  readonly underlay: readonly UnderlayLink[]
  readonly config: OverlayConfig
}

export type PeerEntry = DesiredNeighbour | DesiredFdbEntry

export type Reach =
  | {
      /** One of the backend's links, which must be there. */
      readonly link?: string
      /** What must be there before the route, or packets would wait for it. The same entry may be named for two ranges of a peer. */
      readonly entries: readonly PeerEntry[]
      readonly route?: DesiredRoute
    }
  | {
      /** Why the range is out of reach, such as `it has no IPv4 address`. */
      readonly problem: string
      /** The remedy: one imperative sentence. */
      readonly hint: string
    }

/** Returns the address of a node by which nodes of this family are reached. */
export function addressOf({ addresses }: ClusterNode, family: Family): Address | undefined {
  return addresses.find((address) => address.family === family)
}
