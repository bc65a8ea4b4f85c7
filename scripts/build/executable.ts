import { execaSync } from 'execa'
import { appendImage } from './elf.ts'
import { buildHost, compileProgram } from './host.ts'
import { NATIVE, TARGETS, type Target } from './targets.ts'

/**
 * Makes the executable in four steps: our modules become bytecode, host and engine become a program (host.ts); that program
 * evaluates the bytecode and writes its heap; the heap is appended to the program (elf.ts). `work` is a directory for temporary
 * files. The same sources give the same bytes, wherever they are. Throws an ExecaSyncError if a compiler refuses.
 */
export function makeExecutable(target: Target, root: string, work: string): Uint8Array {
  const program = compileProgram(root, work)
  const host = buildHost(target, root, work)
  const run = target === NATIVE ? [host] : [TARGETS[target].emulator, host]
  const [command = '', ...args] = [...run, 'write', program, `${work}/heap`]
  execaSync(command, args, { stdin: 'ignore' })
  return appendImage(host, `${work}/heap`)
}
