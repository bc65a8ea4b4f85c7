import { runtime } from '#runtime'
import { type PluginEnd, type PluginRunner, RESULT_HINT } from '../../cni/delegate.ts'
import { Code, Fault } from '../../core/errors.ts'
import { readText } from '../../core/text.ts'
import type { SpawnEnd } from '../../runtime/runtime.ts'
import { statusBehind } from './disk.ts'
import { errnoName } from './errno.ts'

const MAX_OUTPUT_BYTES = 1 << 20
const TIMEOUT_MS = 120_000

/** Runs other plugins. */
export function createPluginRunner(timeoutMs = TIMEOUT_MS): PluginRunner {
  return {
    isExecutable,
    run(path, env, stdin) {
      const end = runtime.spawn({ path, env, stdin, timeoutMs, maxOutputBytes: MAX_OUTPUT_BYTES })
      return pluginEnd(path, end, timeoutMs)
    },
  }
}

function isExecutable(path: string): boolean {
  const status = statusBehind(path)
  return typeof status !== 'number' && status.kind === 'file' && (status.mode & 0o111) !== 0
}

function pluginEnd(path: string, end: SpawnEnd, timeoutMs: number): PluginEnd {
  switch (end.end) {
    case 'exit':
      return { exitCode: end.exitCode, stdout: readText(end.stdout) }
    case 'signal':
      return { signal: signalName(end.signal), stdout: readText(end.stdout) }
    case 'notStarted':
      throw startFault(path, errnoName(end.errno))
    case 'timeout':
      throw new Fault(`plugin ${path} did not end within ${timeoutMs / 1000} s`, {
        hint: 'Find out what it waits for, such as a lock or a server that does not answer.',
      })
    case 'tooMuchOutput':
      throw new Fault(`plugin ${path} printed more than ${MAX_OUTPUT_BYTES} bytes`, { hint: RESULT_HINT })
  }
}

function startFault(path: string, errno: string): Fault {
  return new Fault(`start plugin ${path}: ${errno}`, {
    code: Code.io,
    errno,
    hint: /^(EAGAIN|ENOMEM|E[MN]FILE)$/.test(errno)
      ? 'The node is short of processes, memory or open files; mend that and call again.'
      : 'See that it is a program for this machine, and that it and the interpreter in its first line may be executed.',
  })
}

/** Signals that end a program, by number; the same on x86-64 and arm64. Source: asm-generic/signal.h. */
const SIGNALS: Record<number, string> = {
  1: 'SIGHUP',
  2: 'SIGINT',
  3: 'SIGQUIT',
  4: 'SIGILL',
  6: 'SIGABRT',
  7: 'SIGBUS',
  8: 'SIGFPE',
  9: 'SIGKILL',
  11: 'SIGSEGV',
  13: 'SIGPIPE',
  15: 'SIGTERM',
  31: 'SIGSYS',
}

function signalName(signal: number): string {
  return SIGNALS[signal] ?? `signal ${signal}`
}
