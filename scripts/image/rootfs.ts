import { readFileSync } from 'node:fs'
import { execaSync } from 'execa'
import type { Target } from '../build/targets.ts'
import type { TarFile } from './tar.ts'

/*
 * What is in the image: the two programs, and the C library that Bun in bowline-agent is linked with. No shell, no package manager, no
 * file that could be run but these.
 */

/** Where the C library is on the machine that builds, and where its loader and itself have to be in the image. */
const LIBRARIES = {
  x64: {
    from: '/lib/x86_64-linux-gnu',
    loader: 'lib64/ld-linux-x86-64.so.2',
    to: 'lib/x86_64-linux-gnu',
  },
  arm64: {
    from: process.arch === 'arm64' ? '/lib/aarch64-linux-gnu' : '/usr/aarch64-linux-gnu/lib',
    loader: 'lib/ld-linux-aarch64.so.1',
    to: 'lib/aarch64-linux-gnu',
  },
} as const satisfies Record<Target, { from: string; loader: string; to: string }>

/** The files of the image for a processor, of which npm run build has made the programs. The larger ones, which change less, come first. */
export function rootFiles(root: string, dist: string, target: Target): TarFile[][] {
  const agent = `${root}${dist}/bowline-agent`
  return [
    [...librariesOf(agent, target), file('bowline-agent', agent, 0o755)],
    [file('bowline', `${root}${dist}/bowline`, 0o755)],
  ]
}

function librariesOf(program: string, target: Target): TarFile[] {
  const { from, loader, to } = LIBRARIES[target]
  const { stdout } = execaSync('readelf', ['--dynamic', '--wide', program])
  const names = [...stdout.matchAll(/\(NEEDED\).*\[(.+)\]/g)].map(([, name = '']) => name)
  return names.sort().map((name) => {
    const path = loader.endsWith(`/${name}`) ? loader : `${to}/${name}`
    return file(path, `${from}/${name}`, 0o755)
  })
}

function file(path: string, source: string, mode: number): TarFile {
  return { path, mode, bytes: readFileSync(source) }
}
