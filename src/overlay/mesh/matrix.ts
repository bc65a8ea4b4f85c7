import type { Cell } from './cell.ts'
import { type Answer, type NodeId, shortIdOf } from './packet.ts'

/*
 * What other nodes measure, as they have said in their answers. For a cluster of up to MATRIX_LIMIT nodes each node has the whole matrix;
 * beyond that it keeps of each node only how many others that one does not reach, as the matrix grows with the square of the cluster.
 */

export const MATRIX_LIMIT = 128

/** What one node measures of all others. */
export type Row = {
  readonly peers: number
  readonly unreachable: number
  /** When this was heard, by the clock of the caller. */
  readonly heardMs: number
  /** By short id. */
  readonly cells: ReadonlyMap<string, readonly Cell[]>
}

export class Matrix {
  readonly #rows = new Map<NodeId, Row>()
  #known: ReadonlySet<string> = new Set()
  #isWhole = true

  /** Takes the nodes that there are. What others have said of nodes that are gone is forgotten. */
  setNodes(ids: readonly NodeId[]): void {
    this.#isWhole = ids.length <= MATRIX_LIMIT
    this.#known = new Set(this.#isWhole ? ids.map(shortIdOf) : [])
    const kept = new Set(ids)
    for (const [id, row] of this.#rows) {
      if (kept.has(id)) this.#rows.set(id, { ...row, cells: new Map(this.#fitting([...row.cells])) })
      else this.#rows.delete(id)
    }
  }

  /** Whether there may be a row of every node. */
  get isWhole(): boolean {
    return this.#isWhole
  }

  /** Adds a part of the row of a node. The caller vouches for the sender. */
  learn({ sender, peers, unreachable, entries }: Answer, nowMs: number): void {
    const cells = new Map(this.#rows.get(sender)?.cells)
    for (const [shortId, heard] of this.#fitting(entries.map(({ shortId, cells }) => [shortId, cells]))) {
      cells.set(shortId, heard)
    }
    this.#rows.set(sender, { peers, unreachable, heardMs: nowMs, cells })
  }

  row(id: NodeId): Row | undefined {
    return this.#rows.get(id)
  }

  #fitting(entries: (readonly [string, readonly Cell[]])[]): (readonly [string, readonly Cell[]])[] {
    return entries.filter(([shortId]) => this.#known.has(shortId))
  }
}

/** Returns the part of a row that the next answer carries: `count` entries from `at`, around the end. */
export function sliceOf<T>(row: readonly T[], at: number, count: number): T[] {
  if (row.length <= count) return [...row]
  return Array.from({ length: count }, (_, i) => row[(at + i) % row.length] as T)
}
