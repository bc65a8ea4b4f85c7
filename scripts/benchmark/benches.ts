import { run } from '../../test/support/private_namespaces.ts'
import type { Netns } from '../../test/support/sandbox.ts'
import { type NetworkShape, REFERENCE, type Subject } from './networks.ts'
import { createNodePair, createPods, type Node, removeNamespaces } from './nodes.ts'
import type { Network } from './plugin_calls.ts'
import { pause } from './processes.ts'

/** A subject with a node that is nobody else's: so that nobody meets the rules and bridges of another. */
export type Bench = {
  readonly subject: Subject
  /** Name and base of a contender that is this subject: all but the reference are compared with the reference. */
  readonly contender: { readonly name: string; readonly base?: string }
  readonly node: Node
  /** The other host of the pair. */
  readonly other: Node
  /** The subject's network on one of the nodes. */
  readonly network: (shape: NetworkShape, node?: Node) => Network
  /** Pods that are attached to nothing. */
  readonly pods: (count: number) => Netns[]
}

/** Removed namespaces keep the kernel busy for a while. */
const REMOVAL_MS = 500

let serial = 0

/** A pair of nodes for each subject. `remove` takes them away again, with pods and stores. */
export function createBenches(subjects: readonly Subject[]): {
  readonly benches: Bench[]
  readonly remove: () => void
} {
  const namespaces: string[] = []
  const benches = subjects.map((subject) => createBench(subject, namespaces))
  return {
    benches,
    remove: () => {
      removeNamespaces(namespaces)
      run('rm -rf /var/lib/cni/*')
      pause(REMOVAL_MS)
    },
  }
}

function createBench(subject: Subject, namespaces: string[]): Bench {
  serial += 1
  const pair = createNodePair(`bench${serial}`)
  const [node, other] = pair
  namespaces.push(...pair.map(({ name }) => name))
  return {
    subject,
    contender: subject.name === REFERENCE ? { name: REFERENCE } : { name: subject.name, base: REFERENCE },
    node,
    other,
    network: (shape, where = node) => ({ subject, node: where, shape, name: where.name }),
    pods: (count) => {
      const pods = createPods(`${node.name}-pod${namespaces.length}`, count)
      namespaces.push(...pods.map(({ name }) => name))
      return pods
    },
  }
}
