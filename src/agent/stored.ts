import { toFault } from '../core/errors.ts'
import { ensuringDirectory, type Files } from '../core/files.ts'
import type { AgentLog } from './log.ts'

type Ports = {
  readonly files: Pick<Files, 'read' | 'replace' | 'remove' | 'ensureDirectory'>
  readonly log: Pick<AgentLog, 'warn'>
}

/** Writes a file that only a later start needs, or removes it: what fails is logged, and stops nothing. `use`: what it is for. */
export function storeFor(use: string, { files, log }: Ports, path: string, text: string | undefined): void {
  const directory = path.slice(0, path.lastIndexOf('/'))
  try {
    if (text === undefined) files.remove(path)
    else if (files.read(path) !== text) ensuringDirectory(files, directory, () => files.replace(path, text))
  } catch (error) {
    const { message, hint } = toFault(error)
    log.warn({ hint }, `not stored for ${use}: ${message}`)
  }
}
