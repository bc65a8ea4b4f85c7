import { removeNetns } from '../../test/support/sandbox.ts'
import type { NetworkShape, Subject } from './networks.ts'
import { createNodePair, type Node } from './nodes.ts'
import type { Network } from './plugin_calls.ts'

/** A subject with a node that is nobody else's: so that nobody meets the rules and bridges of another. */
export type Bench = {
  readonly subject: Subject
  readonly node: Node
  /** The other host of the pair. */
  readonly other: Node
  /** The subject's network on the node. */
  readonly network: (shape: NetworkShape) => Network
}

let serial = 0

/** A pair of nodes for each subject. `remove` takes them away again, with all that is attached to them. */
export function createBenches(subjects: readonly Subject[]): {
  readonly benches: Bench[]
  readonly remove: () => void
} {
  const benches = subjects.map((subject) => {
    serial += 1
    const [node, other] = createNodePair(`bench${serial}`)
    return {
      subject,
      node,
      other,
      network: (shape: NetworkShape) => ({ subject, node, shape, name: node.name }),
    }
  })
  return {
    benches,
    remove: () => {
      for (const { node, other } of benches) for (const { name } of [node, other]) removeNetns(name)
    },
  }
}
