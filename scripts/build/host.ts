import { join } from 'node:path'
import { execaSync } from 'execa'
import { buildEngine } from './engine.ts'
import { TARGETS, type Target } from './targets.ts'

const SOURCES = ['host', 'heap', 'sha256']
const DEFINES = '-D_GNU_SOURCE'
const WARNINGS = ['-std=c17', '-Wall', '-Wextra', '-Wshadow', '-Werror']
/** No tables for debuggers, and no padding between pieces of code. */
const SMALL = ['-fno-asynchronous-unwind-tables', '-falign-functions=1', '-falign-loops=1', '-falign-jumps=1']
const OPTIMIZED = ['-O2', ...SMALL, '-ffunction-sections', '-fdata-sections', DEFINES]
/** The image of a heap has addresses of functions in it: so no PIE. Everything else that hardens a program is on. */
const HARDENED = ['-fstack-protector-strong', '-Wl,-z,relro,-z,now,-z,noexecstack']
const LINKED = ['-static', '-s', '-Wl,--build-id=none', '-Wl,--gc-sections']
const SANITIZED = ['-O1', '-g', '-fno-omit-frame-pointer', '-fsanitize=address', DEFINES]

/** Compiles and links the program to which an image can be appended; returns its path in `work`. */
export function buildHost(target: Target, root: string, work: string): string {
  const { compiler } = TARGETS[target]
  return compile(compiler, [...OPTIMIZED, '-fno-pie'], [...HARDENED, ...LINKED], root, `${work}/host`)
}

/** The same with address and undefined-behaviour sanitizers, to run modules with; it takes no image. */
export function buildSanitizedHost(root: string, work: string): string {
  const own = ['-fsanitize=undefined', '-fno-sanitize-recover=undefined']
  return compile('gcc', [...SANITIZED, '-fno-pie'], own, root, `${work}/host`)
}

/** `flags` are for the engine too, which is compiled once for each set of them. */
function compile(compiler: string, flags: string[], own: string[], root: string, output: string): string {
  const { includes, objects } = buildEngine(compiler, flags)
  const native = join(root, 'src/native')
  const sources = SOURCES.map((name) => join(native, `${name}.c`))
  const where = [`-I${native}`, '-isystem', includes, `-Wl,-T,${join(native, 'heap.ld')}`, '-no-pie']
  execaSync(compiler, [...WARNINGS, ...flags, ...own, ...where, ...sources, ...objects, '-lm', '-o', output])
  return output
}
