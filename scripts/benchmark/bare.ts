import { join } from 'node:path'
import { run } from '../../test/support/private_namespaces.ts'
import { compileExecutable } from '../executable.ts'
import type { Program } from './processes.ts'

/** What stands beside ours to show what is the runtime's. */
export const BARE = 'bare program'

/** Makes `bare_program.ts` as ours is made. */
export function compileBare(work: string): Program {
  const path = join(work, 'bare')
  compileExecutable(join(import.meta.dirname, 'bare_program.ts'), path, work)
  // Pages that wait to be written would count as the memory of whoever maps them.
  run(`sync '${path}'`)
  return { path, env: {}, input: '{"cniVersion":"1.0.0"}' }
}
