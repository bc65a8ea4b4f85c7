import { parseAddress, parseCidr } from '../core/address.ts'
import { toFault } from '../core/errors.ts'
import type { Files } from '../core/files.ts'
import { isObject } from '../core/json.ts'
import type { ClusterNode } from './cluster.ts'

/*
 * The last known cluster, on disk: an agent that starts while the API server is away joins the network all the same. The file may be of any
 * age, so nothing is removed on its word.
 */

/** A node as the API server has it, in text. */
export type NodeTexts = {
  readonly name: string
  readonly internalIps: readonly string[]
  readonly podCidrs: readonly string[]
}

/** Returns the stored nodes; undefined if there are none, or none that can be read. */
export function readCluster(files: Pick<Files, 'read'>, path: string): NodeTexts[] | undefined {
  const text = files.read(path)
  if (text === undefined) return undefined
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) && value.every(isNodeTexts) ? value : undefined
  } catch {
    return undefined
  }
}

/** Returns the text of the file. */
export function printCluster(nodes: readonly NodeTexts[]): string {
  return JSON.stringify(nodes, ['name', 'internalIps', 'podCidrs'])
}

/** Returns a node from its texts. One that is no address or range is a mistake of this node, and concerns no other. */
export function clusterNode({ name, internalIps, podCidrs }: NodeTexts): ClusterNode {
  const mistakes: NonNullable<ClusterNode['mistakes']>[number][] = []
  const hint = `Correct the Node object: kubectl get node ${name} -o yaml.`
  const readable = <T>(texts: readonly string[], parse: (text: string) => T, isRange: boolean): T[] =>
    texts.flatMap((text) => {
      try {
        return [parse(text)]
      } catch (error) {
        mistakes.push({ ...(isRange && { range: text }), problem: toFault(error).message, hint })
        return []
      }
    })
  const addresses = readable(internalIps, parseAddress, false)
  const ranges = readable(podCidrs, parseCidr, true)
  return { name, addresses, podCidrs: ranges, ...(mistakes.length > 0 && { mistakes }) }
}

function isNodeTexts(value: unknown): value is NodeTexts {
  if (!isObject(value)) return false
  const { name, internalIps, podCidrs } = value
  const lists = [internalIps, podCidrs]
  return (
    typeof name === 'string' &&
    lists.every((list) => Array.isArray(list) && list.every((one) => typeof one === 'string'))
  )
}
