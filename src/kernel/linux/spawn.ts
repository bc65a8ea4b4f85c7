import { type PluginEnd, type PluginRunner, RESULT_CURE } from '../../cni/delegate.ts'
import { Code, Fault } from '../../core/errors.ts'
import { statusBehind } from './disk.ts'

const MAX_OUTPUT_BYTES = 1 << 20
const TIMEOUT_MS = 120_000

/** Starts plugins through Bun: node:child_process alone would cost the plugin path more than a millisecond. */
export function createPluginRunner(timeoutMs = TIMEOUT_MS): PluginRunner {
  return {
    isExecutable,
    run(path, env, stdin) {
      const child = start(path, () =>
        Bun.spawnSync([path], {
          env,
          stdin: new Blob([stdin]),
          stdout: 'pipe',
          stderr: 'inherit',
          timeout: timeoutMs,
          maxBuffer: MAX_OUTPUT_BYTES,
          // Bun waits for the end of one that takes no notice of SIGTERM.
          killSignal: 'SIGKILL',
        }),
      )
      return endOf(path, child, timeoutMs)
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
    const { syscall, code = '', message } = error as { syscall?: string; code?: string; message: string }
    throw new Fault(`start plugin ${path}: ${code || message}`, {
      code: Code.io,
      ...(syscall === 'posix_spawn' && { errno: code }),
      cure: /^(EAGAIN|ENOMEM|E[MN]FILE)$/.test(code)
        ? 'The node is short of processes, memory or open files; mend that and call again.'
        : 'See that it is a program for this machine, and that it and the interpreter in its first line may be executed.',
    })
  }
}

function endOf(path: string, child: Bun.SyncSubprocess<'pipe', 'inherit'>, timeoutMs: number): PluginEnd {
  const { exitCode, signalCode, stdout, exitedDueToTimeout, exitedDueToMaxBuffer } = child
  if (exitedDueToTimeout) {
    throw new Fault(`plugin ${path} did not end within ${timeoutMs / 1000} s`, {
      cure: 'Find out what it waits for, such as a lock or a server that does not answer.',
    })
  }
  if (exitedDueToMaxBuffer) {
    throw new Fault(`plugin ${path} printed more than ${MAX_OUTPUT_BYTES} bytes`, {
      cure: RESULT_CURE,
    })
  }
  return { ...(signalCode ? { signal: `${signalCode}` } : { exitCode }), stdout: stdout.toString() }
}
