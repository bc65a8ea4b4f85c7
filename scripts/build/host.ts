import { join } from 'node:path'
import { execaSync } from 'execa'
import { buildEngine } from './engine.ts'
import { TARGETS, type Target } from './targets.ts'

/** No PIE: the heap's image contains addresses of functions. Everything else that hardens a program is on. */
const COMMON = [
  '-O2',
  '-fno-pie',
  '-fno-asynchronous-unwind-tables',
  '-ffunction-sections',
  '-fdata-sections',
  '-D_GNU_SOURCE',
]
const OWN = ['-std=c17', '-Wall', '-Wextra', '-Wshadow', '-Werror', '-fstack-protector-strong']
const LINK = [
  '-static',
  '-no-pie',
  '-s',
  '-Wl,-z,relro,-z,now,-z,noexecstack',
  '-Wl,--build-id=none',
  '-Wl,--gc-sections',
]
const SOURCES = ['host', 'heap', 'sha256']

/** Compiles and links the program that an image can be appended to; returns its path. */
export function buildHost(target: Target, root: string, work: string): string {
  const { compiler } = TARGETS[target]
  const engine = buildEngine(compiler, COMMON)
  const native = join(root, 'src/native')
  const sources = SOURCES.map((name) => join(native, `${name}.c`))
  const output = join(work, 'host')
  const script = `-Wl,-T,${join(native, 'heap.ld')}`
  execaSync(compiler, [
    ...COMMON,
    ...OWN,
    ...LINK,
    `-I${native}`,
    '-isystem',
    engine.includes,
    ...sources,
    ...engine.objects,
    '-lm',
    script,
    '-o',
    output,
  ])
  return output
}

/** What has to stand before a program of this target to run it here. */
export function evaluatorOf(target: Target, native: Target): string[] {
  return target === native ? [] : [TARGETS[target].emulator]
}
