import { formatAddress, formatCidr, parseAddress, parseCidr } from '../core/address.ts'
import { ensuringDirectory, type Files } from '../core/files.ts'
import type { ClusterNode } from './cluster.ts'

/*
 * The last known cluster, on disk: an agent that starts while the API server is away joins the network all the same. The file may be of any
 * age, so nothing is removed on its word.
 */

type Stored = {
  readonly name: string
  readonly addresses: readonly string[]
  readonly podCidrs: readonly string[]
}

/** Returns the stored cluster; undefined if there is none, or none that can be read. */
export function readCluster(files: Pick<Files, 'read'>, path: string): ClusterNode[] | undefined {
  const text = files.read(path)
  if (text === undefined) return undefined
  try {
    return (JSON.parse(text) as Stored[]).map(clusterNode)
  } catch {
    return undefined
  }
}

/** Stores the cluster, whole or not at all. */
export function writeCluster(files: Files, path: string, cluster: readonly ClusterNode[]): void {
  const text = JSON.stringify(cluster.map(storedNode))
  const directory = path.slice(0, path.lastIndexOf('/'))
  ensuringDirectory(files, directory, () => files.replace(path, text))
}

/** Returns a node from its texts. Throws a Fault if one of them is no address or range. */
export function clusterNode({ name, addresses, podCidrs }: Stored): ClusterNode {
  return { name, addresses: addresses.map(parseAddress), podCidrs: podCidrs.map(parseCidr) }
}

function storedNode({ name, addresses, podCidrs }: ClusterNode): Stored {
  return { name, addresses: addresses.map(formatAddress), podCidrs: podCidrs.map(formatCidr) }
}
