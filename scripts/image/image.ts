import { chmodSync, mkdirSync, renameSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { execaSync } from 'execa'
import { VERSION } from '../../src/core/version.ts'
import { isTarget, NATIVE, TARGETS, type Target } from '../build/targets.ts'
import { imageArchive } from './archive.ts'
import { IMAGE_NAME } from './name.ts'
import { rootFiles } from './rootfs.ts'

/*
 * npm run image [-- --target x64|arm64] [--directory DIR]: builds the programs and makes dist/image.tar, for both processors unless one is
 * named. No container engine is needed. With --directory the files of one processor's image are written below DIR instead.
 */

const ARCHITECTURES = { x64: 'amd64', arm64: 'arm64' } as const satisfies Record<Target, string>

const root = new URL('../..', import.meta.url).pathname

function main(): void {
  const options = { target: { type: 'string' }, directory: { type: 'string' } } as const
  const { target, directory } = parseArgs({ options }).values
  if (target !== undefined && !isTarget(target))
    throw new Error(`--target ${target}: use ${Object.keys(TARGETS).join(' or ')}`)
  if (directory !== undefined) writeDirectory(directory, target ?? NATIVE)
  else writeArchive(target)
}

function writeArchive(target: Target | undefined): void {
  const others = (Object.keys(TARGETS) as Target[]).filter((one) => one !== NATIVE)
  const targets = target ? [target] : [NATIVE, ...others]
  const platforms = targets.map((one) => ({ architecture: ARCHITECTURES[one], layers: build(one) }))
  const bytes = imageArchive({ name: IMAGE_NAME, version: VERSION, entrypoint: '/bowline-agent', platforms })
  const path = `${root}dist/image.tar`
  writeFileSync(`${path}.${process.pid}`, bytes)
  renameSync(`${path}.${process.pid}`, path)
  const names = platforms.map(({ architecture }) => architecture).join(', ')
  console.log(`dist/image.tar: ${IMAGE_NAME} for ${names}, ${(bytes.length / 1e6).toFixed(1)} MB`)
}

function build(target: Target): ReturnType<typeof rootFiles> {
  execaSync('npm', ['run', 'build', '--', '--target', target], { cwd: root, stdio: 'inherit' })
  return rootFiles(root, target === NATIVE ? 'dist' : `dist/${target}`, target)
}

function writeDirectory(directory: string, target: Target): void {
  for (const { path, mode, bytes } of build(target).flat()) {
    const place = join(directory, path)
    mkdirSync(dirname(place), { recursive: true })
    writeFileSync(place, bytes)
    chmodSync(place, mode)
  }
}

main()
