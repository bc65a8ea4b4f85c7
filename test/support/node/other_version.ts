import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeExecutable } from '../../../scripts/build/executable.ts'
import { NATIVE } from '../../../scripts/build/targets.ts'

const ROOT = new URL('../../..', import.meta.url).pathname

/** Builds the executable with another version, from a copy of the sources in `work`; returns its bytes. */
export function buildVersion(version: string, work: string): Uint8Array {
  const sources = join(work, `sources-${version}`)
  for (const name of ['src', 'ipam', 'scripts'])
    cpSync(join(ROOT, name), join(sources, name), { recursive: true })
  for (const name of ['package.json', 'node_modules']) symlinkSync(join(ROOT, name), join(sources, name))
  const file = join(sources, 'src/core/version.ts')
  writeFileSync(file, readFileSync(file, 'utf8').replace(/'.*'/, `'${version}'`))
  mkdirSync(join(sources, 'work'))
  return makeExecutable(NATIVE, `${sources}/`, join(sources, 'work'))
}
