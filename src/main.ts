import { aboutText } from './cli/command_line.ts'
import { Fault } from './core/errors.ts'
import { createLinuxFiles } from './kernel/linux/files.ts'
import { createLinuxKernel } from './kernel/linux/kernel.ts'
import { createPluginRunner } from './kernel/linux/spawn.ts'
import { readStandardInput, writeStandardError, writeStandardOutput } from './kernel/linux/stdio.ts'
import { runPlugin } from './plugin/dispatch.ts'
import { DEFAULT_PATHS } from './plugin/ports.ts'

/*
 * The composition root of the executable: the only file that knows both the commands and the Linux adapters. Every module below
 * is evaluated when the executable is built; a call begins with `main`.
 */

/** Returns the exit code. With CNI_COMMAND in the environment this is a CNI plugin. */
export function main(args: readonly string[], variables: readonly string[]): number {
  const env = environmentOf(variables)
  if (env['CNI_COMMAND'] === undefined) {
    writeStandardError(aboutText())
    return 0
  }
  try {
    return runPlugin({
      env,
      calledAs: args[0] ?? '',
      readStdin: readStandardInput,
      writeStdout: writeStandardOutput,
      ports: {
        kernel: createLinuxKernel(),
        files: createLinuxFiles(),
        plugins: createPluginRunner(),
        paths: DEFAULT_PATHS,
      },
    })
  } catch (error) {
    // Nobody reads stdout, so the error that could not be written there goes to people.
    if (!(error instanceof Fault)) throw error
    writeStandardError(`bowline: ${error.message}`)
    return 1
  }
}

/** From `NAME=VALUE`; of two with one name the first counts, as it does for getenv(3). */
function environmentOf(variables: readonly string[]): Record<string, string> {
  const env = Object.create(null) as Record<string, string>
  for (const variable of variables) {
    const at = variable.indexOf('=')
    if (at > 0) env[variable.slice(0, at)] ??= variable.slice(at + 1)
  }
  return env
}
