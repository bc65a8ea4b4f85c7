import { execaSync } from 'execa'
import { appendImage } from './elf.ts'
import { buildHost } from './host.ts'
import { copyModules } from './modules.ts'
import { NATIVE, TARGETS, type Target } from './targets.ts'

/**
 * Makes the executable in three steps: host and engine become a program (host.ts); that program evaluates our modules (modules.ts)
 * and writes its heap; the heap is appended to the program (elf.ts). `work` is a directory for what lies about meanwhile. The
 * same sources give the same bytes, wherever they are. Throws an ExecaSyncError if a compiler refuses.
 */
export function makeExecutable(target: Target, root: string, work: string): Uint8Array {
  const host = buildHost(target, root, work)
  const entry = copyModules(root, `${work}/modules`)
  const program = target === NATIVE ? [host] : [TARGETS[target].emulator, host]
  const [command = '', ...args] = [...program, 'write', entry, `${work}/heap`]
  execaSync(command, args, { cwd: `${work}/modules`, stdin: 'ignore' })
  return appendImage(host, `${work}/heap`)
}
