import { join } from 'node:path'
import { execaSync } from 'execa'
import { buildEngine } from './engine.ts'
import { copyModules } from './modules.ts'
import { NATIVE, TARGETS, type Target } from './targets.ts'

const HOST = ['host', 'heap', 'sha256']
const DEFINES = '-D_GNU_SOURCE'
const WARNINGS = ['-std=c17', '-Wall', '-Wextra', '-Wshadow', '-Werror']
/** Padding between pieces of code would add 35 kB, and makes no measurable difference. */
const UNPADDED = ['-falign-functions=1', '-falign-loops=1', '-falign-jumps=1']
const OPTIMIZED = [
  '-O2',
  ...UNPADDED,
  '-fno-asynchronous-unwind-tables',
  '-ffunction-sections',
  '-fdata-sections',
  DEFINES,
]
/** The image of a heap contains addresses of functions: so no PIE. All other hardening is on. */
const HARDENED = ['-fstack-protector-strong', '-Wl,-z,relro,-z,now,-z,noexecstack']
const LINKED = ['-static', '-s', '-Wl,--build-id=none', '-Wl,--gc-sections']
const SANITIZED = ['-O1', '-g', '-fno-omit-frame-pointer', '-fsanitize=address', DEFINES]

/** Builds the program to which an image can be appended; returns its path in `work`. */
export function buildHost(target: Target, root: string, work: string): string {
  const flags = [...OPTIMIZED, '-fno-pie']
  const own = [...HARDENED, ...LINKED, `-Wl,-T,${root}/src/native/heap.ld`]
  return link(TARGETS[target].compiler, HOST, flags, own, root, `${work}/host`)
}

/** Builds the host with address and undefined-behaviour sanitizers, to run programs with; it takes no image. */
export function buildSanitizedHost(root: string, work: string): string {
  const own = ['-fsanitize=undefined', '-fno-sanitize-recover=undefined', `-Wl,-T,${root}/src/native/heap.ld`]
  return link('gcc', HOST, [...SANITIZED, '-fno-pie'], own, root, `${work}/host`)
}

/**
 * Compiles the modules that `main` needs into a program that each host can run; returns its path in `work`. The bytecode is the
 * same for all processors.
 */
export function compileProgram(root: string, work: string, main?: string): string {
  const flags = [...OPTIMIZED, '-fno-pie']
  const compiler = link(TARGETS[NATIVE].compiler, ['compile'], flags, LINKED, root, `${work}/compile`)
  const [entry, ...later] = copyModules(root, `${work}/modules`, main)
  execaSync(compiler, [entry, `${work}/program`, ...later], { cwd: `${work}/modules` })
  return `${work}/program`
}

/** Compiles and links C files of ours with the engine. `flags` are for the engine too, which is compiled once for each set of them. */
function link(
  compiler: string,
  names: readonly string[],
  flags: readonly string[],
  own: readonly string[],
  root: string,
  output: string,
): string {
  const { includes, objects } = buildEngine(compiler, flags)
  const sources = names.map((name) => join(root, `src/native/${name}.c`))
  const where = [`-I${join(root, 'src/native')}`, '-isystem', includes, '-no-pie']
  execaSync(compiler, [...WARNINGS, ...flags, ...own, ...where, ...sources, ...objects, '-lm', '-o', output])
  return output
}
