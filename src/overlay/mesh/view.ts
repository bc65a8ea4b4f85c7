import type { Cell, WayState } from './cell.ts'

/* What the agent tells of the mesh: the JSON of `GET /mesh`, from which `bowline nodes`, `bowline doctor` and the page are drawn. */

/** Where the agent answers by HTTP, on loopback. */
export const AGENT_PORT = 19474

export type MeshView = {
  /** The name of the node that says all this. */
  readonly node: string
  readonly version: string
  /** Unix time, in ms. */
  readonly now: number
  readonly backend: string
  /** UDP. */
  readonly probePort: number
  /** One peer is measured in this time; 0: none is. */
  readonly intervalMs: number
  /** Whether `rows` may hold those of other nodes; else the cluster is too large for that. */
  readonly isWhole: boolean
  /** How many nodes the cluster has. */
  readonly size: number
  /** All nodes, or in a large cluster this one and those with which something is wrong. */
  readonly nodes: readonly NodeSummary[]
  /** By the index of the node that measures: for each node as many cells as there are WAYS. Empty: nothing has been heard of it. */
  readonly rows: readonly (readonly Cell[])[]
  /** What this node measures. */
  readonly peers: readonly PeerView[]
  readonly findings: readonly MeshFinding[]
}

export type NodeSummary = {
  readonly name: string
  readonly addresses: readonly string[]
  readonly podCidrs: readonly string[]
  /** How old its row is, in ms; null if nothing has been heard of it. */
  readonly ageMs: number | null
  /** How many others it does not reach, as it says. */
  readonly unreachable: number
}

export type PeerView = {
  readonly name: string
  readonly ways: readonly WayView[]
}

export type WayView = {
  readonly network: 'underlay' | 'pods'
  readonly family: 4 | 6
  readonly address: string
  /** `direct`, or what encapsulates the packets. */
  readonly path: string
  readonly state: WayState
  readonly rttMs: number | null
  /** From 0 to 1, of the last 16 probes. */
  readonly loss: number
  /** Unix time in ms; null: never. */
  readonly lastSeen: number | null
  /** Bytes: what this node sends at most. */
  readonly mtu: number
  /** Bytes: the largest packet that has arrived, if `mtu` does not. */
  readonly carries?: number
}

/** Something that is wrong, and what to do. */
export type MeshFinding = {
  readonly check: 'mesh' | 'path-mtu' | 'overlay'
  readonly level: 'error' | 'warning'
  /** The peer; absent if it concerns the whole overlay. */
  readonly peer?: string
  readonly message: string
  readonly hint: string
}

/**
 * What stands in place of a view where no overlay is configured, and where the agent waits for a valid configuration or for the Node of
 * this machine.
 */
export type NoMesh = { readonly overlay: false | 'waiting'; readonly findings: readonly MeshFinding[] }

export const NO_MESH: NoMesh = { overlay: false, findings: [] }
