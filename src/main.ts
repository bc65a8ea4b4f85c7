import { allFiles } from './attachment/store.ts'
import type { CommandContext } from './cli/command.ts'
import type { runCommandLine } from './cli/command_line.ts'
import { Fault, isErrno } from './core/errors.ts'
import type { Kernel } from './kernel/kernel.ts'
import { createLinuxFiles } from './kernel/linux/files.ts'
import { createLinuxKernel } from './kernel/linux/kernel.ts'
import { getFromLoopback } from './kernel/linux/loopback.ts'
import { createMachine } from './kernel/linux/machine.ts'
import { createPluginRunner } from './kernel/linux/spawn.ts'
import { readStandardInput, writeStandardError, writeStandardOutput } from './kernel/linux/stdio.ts'
import { traceKernel } from './kernel/trace.ts'
import type { LogPort } from './plugin/call_log.ts'
import { runPlugin } from './plugin/dispatch.ts'
import { DEFAULT_PATHS, openPorts, type Ports } from './plugin/ports.ts'

/*
 * The composition root of the executable: the only file that knows both the commands and the Linux adapters. Every
 * module below is evaluated when the executable is built; a call begins with `main`. The commands for people are loaded when they
 * are needed: their bytecode takes a third of the room of an evaluated heap.
 */

/** The object that src/native/host.c puts into the global object. */
declare const host: { load(path: string): { readonly runCommandLine: typeof runCommandLine } }

/** None of these has touched the machine, so they are made with the executable: a call would need a twentieth of its JavaScript for them. */
const adapters = { kernel: createLinuxKernel(), files: createLinuxFiles(), plugins: createPluginRunner() }
const pluginPorts = openPorts(adapters)
const machine = createMachine()

/** Returns the exit code. With CNI_COMMAND in the environment this is a CNI plugin, else a command line of a person. */
export function main(args: readonly string[], variables: readonly string[]): number {
  const env = environmentOf(variables)
  try {
    if (env['CNI_COMMAND'] === undefined) {
      const people = host.load('src/cli/command_line.ts')
      return people.runCommandLine(args.slice(1), commandContext(env))
    }
    return runPlugin({
      env,
      calledAs: args[0] ?? '',
      readStdin: readStandardInput,
      writeStdout: writeStandardOutput,
      ports: pluginPorts,
      log: logPort(env),
    })
  } catch (error) {
    // Nobody reads stdout, so the error that could not be written there goes to people.
    if (!(error instanceof Fault)) throw error
    // A person's `| head` has seen enough.
    if (env['CNI_COMMAND'] === undefined && isErrno(error, 'EPIPE')) return 1
    writeStandardError(`bowline: ${error.message}`)
    return 1
  }
}

/** Opens the ports with another kernel than that of `adapters`. */
function portsWith(kernel: Kernel): Ports {
  return openPorts({ ...adapters, kernel })
}

function logPort(env: Record<string, string>): LogPort {
  return {
    ...machine,
    warn(line) {
      // A person reads the error itself.
      if (env['BOWLINE_STDERR'] !== 'none') writeStandardError(line)
    },
    tracedPorts: (tell) => portsWith(traceKernel(createLinuxKernel(), machine.now, tell)),
  }
}

function commandContext(env: Record<string, string>): CommandContext {
  const bootIdFile = env['BOWLINE_BOOT_ID_FILE']
  const ports = portsWith(createLinuxKernel({ isContainer: true, bootIdFile }))
  const { files, plugins, store } = ports
  return {
    files,
    plugins,
    ports,
    machine,
    env,
    isInContainer: bootIdFile !== undefined,
    recordsDir: DEFAULT_PATHS.recordsDir,
    countAttachments: () => allFiles(store).length,
    readStdin: readStandardInput,
    print: writeStandardOutput,
    warn: writeStandardError,
    getFromLoopback,
    callPlugin({ command, config, cniPath, mayRemove }) {
      const printed: string[] = []
      const exitCode = runPlugin({
        env: { CNI_COMMAND: command, CNI_PATH: cniPath },
        calledAs: '',
        readStdin: () => config,
        writeStdout: (text) => printed.push(text),
        ports,
        mayRemove,
      })
      return { exitCode, stdout: printed.join('') }
    },
  }
}

/** Reads `NAME=VALUE`. The first of two with one name counts, as for getenv(3). */
function environmentOf(variables: readonly string[]): Record<string, string> {
  const env = Object.create(null) as Record<string, string>
  for (const variable of variables) {
    const at = variable.indexOf('=')
    if (at > 0) env[variable.slice(0, at)] ??= variable.slice(at + 1)
  }
  return env
}
