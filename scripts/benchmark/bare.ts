import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { compileExecutable } from '../executable.ts'
import { installAnew } from './networks.ts'
import type { Program } from './processes.ts'

/** What stands beside ours to show what is the runtime's. */
export const BARE = 'bare program'

/** `bare_program.ts`, made as ours is made when it is first asked for, and installed anew as ours is each time. */
export function installBare(work: string): Program {
  const [made, path] = [join(work, 'bare.made'), join(work, 'bare')]
  if (!existsSync(made)) compileExecutable(join(import.meta.dirname, 'bare_program.ts'), made, work)
  installAnew(made, path)
  return { path, env: {}, input: '{"cniVersion":"1.0.0"}' }
}
