import type { PluginRunner } from '../../cni/delegate.ts'
import { Fault } from '../../core/errors.ts'
import { statusAt } from './disk.ts'

const MAX_OUTPUT_BYTES = 1 << 20
const TIMEOUT_MS = 120_000

/** Starts plugins through Bun: node:child_process alone would cost the plugin path more than a millisecond. */
export function createPluginRunner(): PluginRunner {
  return {
    isExecutable,
    run(path, env, stdin) {
      const child = Bun.spawnSync([path], {
        env,
        stdin: new Blob([stdin]),
        stdout: 'pipe',
        stderr: 'inherit',
        timeout: TIMEOUT_MS,
        maxBuffer: MAX_OUTPUT_BYTES,
      })
      if (child.exitedDueToTimeout)
        throw new Fault(`plugin ${path} did not end within ${TIMEOUT_MS / 1000} s`)
      return { exitCode: child.exitCode, stdout: child.stdout.toString() }
    },
  }
}

function isExecutable(path: string): boolean {
  const status = statusAt(path)
  // A link is followed by exec; whether its target can run shows then.
  return (
    typeof status !== 'number' &&
    (status.kind === 'link' || (status.kind === 'file' && (status.mode & 0o111) !== 0))
  )
}
