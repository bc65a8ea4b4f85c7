import { copyFileSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { BOWLINE } from '../node/plugin.ts'
import { type Cluster, podCidrOf } from './cluster.ts'
import type { ClusterNode } from './node.ts'

export const CONFLIST = '10-bowline.conflist'

/** The network of another program. */
export const OTHER_NETWORK = {
  cniVersion: '1.0.0',
  name: 'other',
  plugins: [{ type: 'ptp', ipam: { type: 'host-local', subnet: '10.99.0.0/24' } }],
}

type Conflist = { readonly plugins: readonly Record<string, unknown>[] }

/** Puts the plugin on the node, the executable first, then conf/10-bowline.conflist with the node's range and nothing of others. */
export async function installBowline(
  { api }: Cluster,
  node: ClusterNode,
  change: (conflist: Conflist) => Conflist = (conflist) => conflist,
): Promise<void> {
  const programs = `${node.root}/opt/cni/bin`
  copyFileSync(BOWLINE, `${programs}/.new`)
  renameSync(`${programs}/.new`, `${programs}/bowline`)
  rmSync(`${programs}/bowline-ipam`, { force: true })
  symlinkSync('bowline', `${programs}/bowline-ipam`)
  const podCidr = await podCidrOf(api, node)
  const shipped = readFileSync(resolve(import.meta.dirname, '../../../conf', CONFLIST), 'utf8')
  const conflist = change(JSON.parse(shipped.replace('10.244.0.0/24', `${podCidr}`)))
  writeConflist(node, CONFLIST, conflist)
}

/** Writes a file into the node's /etc/cni/net.d under another name first: the runtime reads whatever it finds there. */
export function writeConflist(node: ClusterNode, name: string, conflist: unknown): void {
  const directory = `${node.root}/etc/cni/net.d`
  writeFileSync(`${directory}/.new`, JSON.stringify(conflist))
  renameSync(`${directory}/.new`, `${directory}/${name}`)
}
