import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { NATIVE } from '../../../scripts/build/targets.ts'
import { imageArchive } from '../../../scripts/image/archive.ts'
import { IMAGE_NAME } from '../../../scripts/image/name.ts'
import { rootFiles } from '../../../scripts/image/rootfs.ts'
import type { TarFile } from '../../../scripts/image/tar.ts'
import type { Cluster } from './cluster.ts'

const ROOT = new URL('../../..', import.meta.url).pathname

/** Makes the image of conf/bowline.yaml from dist/ in the directory `work`, and known to all nodes; perhaps with another program. */
export async function importAgentImage(
  { nodes }: Cluster,
  work: string,
  name = IMAGE_NAME,
  program?: TarFile[],
): Promise<void> {
  const [base = [], ours = []] = rootFiles(ROOT, 'dist', NATIVE)
  const architecture = NATIVE === 'x64' ? 'amd64' : 'arm64'
  const platforms = [{ architecture, layers: [base, program ?? ours] }] as const
  const path = join(work, `${name.replaceAll(/[^a-z0-9.]/g, '-')}.tar`)
  writeFileSync(path, imageArchive({ name, version: '', entrypoint: '/bowline-agent', platforms }))
  await Promise.all(nodes.map((one) => one.importImages(path)))
}
