import type { PluginRunner } from '../../cni/delegate.ts'
import { Code, Fault } from '../../core/errors.ts'
import { statusBehind } from './disk.ts'

const MAX_OUTPUT_BYTES = 1 << 20
const TIMEOUT_MS = 120_000

/** Starts plugins through Bun: node:child_process alone would cost the plugin path more than a millisecond. */
export function createPluginRunner(): PluginRunner {
  return {
    isExecutable,
    run(path, env, stdin) {
      const child = start(path, () =>
        Bun.spawnSync([path], {
          env,
          stdin: new Blob([stdin]),
          stdout: 'pipe',
          stderr: 'inherit',
          timeout: TIMEOUT_MS,
          maxBuffer: MAX_OUTPUT_BYTES,
        }),
      )
      if (child.exitedDueToTimeout)
        throw new Fault(`plugin ${path} did not end within ${TIMEOUT_MS / 1000} s`)
      return { exitCode: child.exitCode, stdout: child.stdout.toString() }
    },
  }
}

function isExecutable(path: string): boolean {
  const status = statusBehind(path)
  return typeof status !== 'number' && status.kind === 'file' && (status.mode & 0o111) !== 0
}

/** What Bun throws has `syscall` and `code` when the kernel has refused to start a process. */
function start<T>(path: string, spawn: () => T): T {
  try {
    return spawn()
  } catch (error) {
    const { syscall, code, message } = error as { syscall?: string; code?: string; message: string }
    const errno = syscall === 'posix_spawn' ? code : undefined
    throw new Fault(`start plugin ${path}: ${errno ?? message}`, {
      code: Code.io,
      ...(errno && { errno }),
      cure: SHORTAGES.includes(errno ?? '')
        ? 'The node is short of processes, memory or open files; mend that and call again.'
        : 'See that it is a program for this machine, and that it and the interpreter in its first line may be executed.',
    })
  }
}

const SHORTAGES = ['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE']
