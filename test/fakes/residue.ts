import { DEFAULT_PATHS } from '../../src/plugin/ports.ts'
import type { FakeDelegate } from './delegate.ts'
import type { FakeFiles } from './files.ts'
import type { FakeKernel, KernelDump } from './kernel.ts'

/** All of a node that a failed call must leave as it found it. */
export type NodeSnapshot = {
  readonly host: KernelDump['host']
  readonly nft: KernelDump['nft']
  readonly pods: Record<string, object>
  readonly files: Record<string, string>
  readonly delegate: Record<string, string>
}

/**
 * Left out are lock files, and what only says in which order addresses are handed out (the order and the cursor),
 * with the directories that these are in; and the loopback of a pod, which is not ours to take down: other plugins bring it
 * up too, at the same time.
 */
export function snapshotOf(kernel: FakeKernel, files: FakeFiles, delegate: FakeDelegate): NodeSnapshot {
  const { host, nft, namespaces } = kernel.dump()
  const pods = Object.entries(namespaces).map(([path, { links, routes, sysctls }]) => {
    return [path, { links: links.filter(({ name }) => name !== 'lo'), routes, sysctls }]
  })
  const kept = Object.entries(files.dump()).filter(([path]) => !isPermanent(path))
  return {
    host,
    nft,
    pods: Object.fromEntries(pods),
    files: Object.fromEntries(kept),
    delegate: Object.fromEntries(delegate.leases),
  }
}

/** Everything that belongs to a pod, in words. A bridge and the gateways of VLANs on it are the node's, and stay. */
export function residueOf(kernel: FakeKernel, files: FakeFiles, delegate: FakeDelegate): string[] {
  const { host, nft, files: left, delegate: leases } = snapshotOf(kernel, files, delegate)
  return [
    ...host.links.filter(({ kind }) => kind === 'veth' || kind === 'ifb').map(({ name }) => `link ${name}`),
    ...Object.keys(nft).map((table) => `nftables table ${table}`),
    ...Object.keys(left),
    ...Object.entries(leases).map(([address, owner]) => `${address} of ${owner}`),
  ]
}

function isPermanent(path: string): boolean {
  if (path.endsWith('/')) return !isRecordsOfNetwork(path)
  const isOrder = path.includes('/.bowline/') || path.includes('last_reserved_ip')
  return path.includes('/.locks/') || path.endsWith('/lock') || isOrder
}

/** A directory of records goes with the last of them. */
function isRecordsOfNetwork(path: string): boolean {
  const [above, name = ''] = path.split(`${DEFAULT_PATHS.recordsDir}/`)
  return above === '' && /^[^.]/.test(name)
}
